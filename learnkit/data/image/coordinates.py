"""Coordinates of points: in pixels of an image, and in [-1, 1] of what is seen of it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from learnkit.data.image.resize import View

__all__ = ["from_view", "in_pixels", "of_pixels", "to_view", "visible"]

Points = npt.NDArray[np.floating[Any]]


def to_view(points: Points, view: View) -> Points:
    """Points (..., 2) in pixels of an image as x and y in [-1, 1] of a view of it.

    Pixel (0, 0) is the center of the first pixel; -1 and 1 are the outer edges of the first and the last one.

    >>> import numpy as np
    >>> to_view(np.array([1.5, 0.5]), View((0, 0, 4, 2), (8, 16))).tolist()
    [0.0, 0.0]
    """
    origin, scale, padding, canvas = _geometry(view)
    return ((points + 0.5 - origin) * scale + padding) * 2 / canvas - 1


def from_view(points: Points, view: View) -> Points:
    """The inverse of `to_view`."""
    origin, scale, padding, canvas = _geometry(view)
    return ((points + 1) / 2 * canvas - padding) / scale + origin - 0.5


def in_pixels(points: Points, height: int, width: int) -> Points:
    """Points (..., 2) in [-1, 1] of an image of this size in its pixels."""
    return from_view(points, View((0, 0, width, height), (height, width)))


def of_pixels(points: Points, height: int, width: int) -> Points:
    """The inverse of `in_pixels`."""
    return to_view(points, View((0, 0, width, height), (height, width)))


def visible(points: Points) -> Points:
    """Points (..., 2) in [-1, 1], those outside the image replaced by nan."""
    return np.where((np.abs(points) <= 1).all(-1, keepdims=True), points, np.nan)


def _geometry(view: View) -> tuple[Points, Points, Points, Points]:
    """Of a view, in x and y: its left top corner, its magnification, its padding, and the size of its canvas."""
    left, top, right, bottom = view.box
    rows, columns = view.shape
    height, width = view.size or view.shape
    origin, padding = np.array([left, top]), np.array(view.padding[::-1])
    return origin, np.array([columns / (right - left), rows / (bottom - top)]), padding, np.array([width, height])
