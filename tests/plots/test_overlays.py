"""Heat maps, masks and mistakes laid over images."""

import colorsys

import numpy as np
import pytest

from learnkit.plots.images import heat_map_figure
from learnkit.plots.overlays import class_colors, heat_map_over, mistakes_over, overlaid
from tests.doubles import refused


def image(height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_without_heat_an_image_does_not_change() -> None:
    assert np.array_equal(heat_map_over(image(), np.zeros((4, 6))), image())


def test_the_hotter_the_brighter_over_a_dark_image() -> None:
    heat = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    over = heat_map_over(np.zeros((4, 6, 3), np.uint8), heat).astype(int) @ (2126, 7152, 722)
    assert (np.diff(over.ravel()) >= 0).all()
    assert heat_map_over(image(), heat).dtype == np.uint8


def test_a_map_of_another_size_is_refused() -> None:
    with refused("heat: the shape", got=(6, 4)):
        heat_map_over(image(), np.zeros((6, 4)))


def test_the_figure_shows_the_image_and_the_map() -> None:
    heat = np.full((4, 6), 0.5)
    plain, over = heat_map_figure(image(), heat, "cat, p 0.93").axes
    assert np.array_equal(plain.get_images()[0].get_array(), image())
    assert np.array_equal(over.get_images()[0].get_array(), heat_map_over(image(), heat))
    assert over.get_title() == "cat, p 0.93"


def test_wrong_pixels_are_vermilion_right_ones_faint_and_ignored_ones_gray() -> None:
    target = np.zeros((4, 6), np.uint8)
    target[0], target[1] = 1, 255
    drawn = mistakes_over(image(), np.zeros((4, 6), np.uint8), target, ignored=255).astype(int)
    red, green, blue = (drawn[0, :, channel] for channel in range(3))
    assert (red > green + 50).all()
    assert (green > blue).all()
    assert (drawn[1] == 128).all()
    assert drawn[2:].min() >= 140
    assert (np.ptp(drawn[2:], axis=2) == 0).all()


def test_wrong_pixels_are_distinguishable_from_right_ones_on_any_image() -> None:
    for value in (0, 128, 255):
        both = mistakes_over(np.full((1, 2, 3), value, np.uint8), np.array([[0, 1]]), np.array([[0, 0]])).astype(int)
        assert np.abs(both[0, 0] - both[0, 1]).sum() > 100


def test_the_hottest_place_keeps_three_tenths_of_its_image() -> None:
    over = heat_map_over(image(), np.ones((4, 6)))
    hottest = np.array([252, 255, 164])  # the last color of inferno
    assert np.abs(over - (0.3 * image() + 0.7 * hottest)).max() < 1


def test_a_mask_is_mixed_from_the_image_and_the_colors_of_its_classes() -> None:
    mask = np.arange(24).reshape(4, 6) % 3
    expected = 0.45 * image() + 0.55 * class_colors(3)[mask]
    assert np.abs(overlaid(image(), mask) - expected).max() <= 0.5 + 1e-9
    ignoring = overlaid(image(), mask, ignored=1)
    assert np.array_equal(ignoring[mask == 1], image()[mask == 1])
    assert np.array_equal(ignoring[mask != 1], overlaid(image(), mask)[mask != 1])


@pytest.mark.parametrize(("n", "degrees"), [(12, 25), (24, 12)])
def test_hues_of_classes_do_not_come_again(n: int, degrees: float) -> None:
    hues = sorted(360 * colorsys.rgb_to_hsv(*(color / 255))[0] for color in class_colors(n))
    gaps = np.diff([*hues, hues[0] + 360])
    assert gaps.min() > degrees


def test_colors_of_classes_differ_and_do_not_depend_on_their_number() -> None:
    colors = class_colors(30).astype(int)
    assert np.array_equal(colors[:5], class_colors(5))
    distances = np.abs(colors[:, None] - colors).sum(2)[~np.eye(30, dtype=bool)]
    assert distances.min() > 10
    assert np.abs(np.diff(colors, axis=0)).sum(1).min() > 100  # neighbors
