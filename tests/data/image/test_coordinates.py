"""Coordinates: from pixels of an image to what is seen of it, and back."""

from typing import Any

import numpy as np
import pytest

from learnkit.data.image.coordinates import from_view, in_pixels, of_pixels, to_view, visible
from learnkit.data.image.resize import Resize, View

METHODS: tuple[Any, ...] = ("crop", "squish", "pad")


@pytest.mark.parametrize(
    ("view", "pixel", "expected"),
    [
        (View((0, 0, 4, 4), (4, 4)), (0, 0), (-0.75, -0.75)),  # the center of the first of four pixels
        (View((0, 0, 4, 4), (4, 4)), (3, 1.5), (0.75, 0)),
        (View((0, 0, 4, 2), (8, 8)), (1.5, 0.5), (0, 0)),  # the center stays the center
        (View((2, 0, 4, 2), (8, 8)), (1.5, -0.5), (-1, -1)),  # the left top corner of the box
        (View((0, 0, 4, 2), (2, 4), (1, 0), (4, 4)), (-0.5, -0.5), (-1, -0.5)),  # a row of padding above
    ],
)
def test_by_hand(view: View, pixel: Any, expected: Any) -> None:
    np.testing.assert_allclose(to_view(np.array(pixel, dtype=float), view), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("height", "width"), [(40, 40), (30, 70), (90, 20)])
def test_a_bright_pixel_is_where_its_coordinates_say(method: Any, height: int, width: int) -> None:
    image = np.zeros((height, width), np.uint8)
    y, x = height // 2 + 3, width // 2 - 4
    image[y - 1 : y + 2, x - 1 : x + 2] = 255
    view = Resize((50, 60), method).view(height, width)
    seen = view.extract(image).astype(float)
    across, down = in_pixels(to_view(np.array([x, y], dtype=float), view), 50, 60)
    center = [(seen.sum(axis) * np.arange(n)).sum() / seen.sum() for axis, n in ((0, 60), (1, 50))]
    assert [across, down] == pytest.approx(center, abs=0.3)


@pytest.mark.parametrize("method", METHODS)
def test_back_again(method: Any) -> None:
    points = np.random.default_rng(0).uniform(-5, 80, (7, 2))
    view = Resize((33, 57), method).view(41, 70)
    np.testing.assert_allclose(from_view(to_view(points, view), view), points)


def test_only_points_inside_are_visible() -> None:
    points = np.array([[0.5, -1], [1.01, 0], [0, np.nan]])
    np.testing.assert_equal(visible(points), [[0.5, -1], [np.nan, np.nan], [np.nan, np.nan]])


def test_of_pixels_is_by_the_edges_of_the_image() -> None:
    corners = np.array([[-0.5, -0.5], [3.5, 1.5], [1.5, 0.5]])  # left top, right bottom, center of 4 x 2 pixels
    np.testing.assert_allclose(of_pixels(corners, 2, 4), [[-1, -1], [1, 1], [0, 0]])
    np.testing.assert_allclose(in_pixels(of_pixels(corners, 2, 4), 2, 4), corners)
