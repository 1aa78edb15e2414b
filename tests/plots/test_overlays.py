"""Heat maps and mistakes laid over pictures."""

import numpy as np
import pytest

from learnkit.errors import UsageError
from learnkit.plots.overlays import heat_map_figure, heat_map_over
from learnkit.plots.mistakes import mistakes_over


def picture(height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_without_heat_a_picture_stays_as_it_is() -> None:
    assert np.array_equal(heat_map_over(picture(), np.zeros((4, 6))), picture())


def test_the_hotter_the_brighter_over_a_dark_picture() -> None:
    heat = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    over = heat_map_over(np.zeros((4, 6, 3), np.uint8), heat).astype(int) @ (2126, 7152, 722)
    assert (np.diff(over.ravel()) >= 0).all()
    assert heat_map_over(picture(), heat).dtype == np.uint8


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"heat: the shape: got \(6, 4\), expected \(4, 6\)"):
        heat_map_over(picture(), np.zeros((6, 4)))


def test_the_figure_shows_the_picture_and_the_map() -> None:
    heat = np.full((4, 6), 0.5)
    plain, over = heat_map_figure(picture(), heat, "cat, p 0.93").axes
    assert np.array_equal(plain.get_images()[0].get_array(), picture())
    assert np.array_equal(over.get_images()[0].get_array(), heat_map_over(picture(), heat))
    assert over.get_title() == "cat, p 0.93"


def test_mistakes_are_vermilion_what_is_right_faint_and_what_is_ignored_gray() -> None:
    target = np.zeros((4, 6), np.uint8)
    target[0], target[1] = 1, 255
    drawn = mistakes_over(picture(), np.zeros((4, 6), np.uint8), target, ignored=255).astype(int)
    red, green, blue = (drawn[0, :, channel] for channel in range(3))
    assert (red > green + 50).all()
    assert (green > blue).all()
    assert (drawn[1] == 128).all()
    assert drawn[2:].min() >= 140
    assert (np.ptp(drawn[2:], axis=2) == 0).all()


def test_a_wrong_pixel_is_told_from_a_right_one_on_any_picture() -> None:
    for value in (0, 128, 255):
        both = mistakes_over(np.full((1, 2, 3), value, np.uint8), np.array([[0, 1]]), np.array([[0, 0]])).astype(int)
        assert np.abs(both[0, 0] - both[0, 1]).sum() > 100
