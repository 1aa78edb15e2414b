"""Key points on images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["PREDICTED", "TRUE", "points_over"]

Points = npt.NDArray[np.floating]
Color = tuple[int, int, int]

TRUE: Color = (0, 114, 178)  # blue and vermilion of Okabe and Ito, which color-blind readers can distinguish
PREDICTED: Color = (213, 94, 0)
MIN_SIDE = 200  # pixels of a drawn image, so that points are round
RADIUS = 0.02  # of a point, as a fraction of the longer side


def points_over(image: npt.NDArray[np.uint8], layers: Sequence[tuple[Points, Color]]) -> npt.NDArray[np.uint8]:
    """An image, uint8 (H, W, 3), enlarged if it is small, with points as discs in a white ring.

    Args:
        image: the image.
        layers: points (P, 2), x and y in [-1, 1] (nan is left out), and their color; later ones are smaller and on top.
    """
    times = -(-MIN_SIDE // max(image.shape[:2]))
    drawn = image.repeat(times, 0).repeat(times, 1)
    height, width = drawn.shape[:2]
    radius = 2 * max(2.0, RADIUS * max(height, width))
    rows, columns = np.ogrid[:height, :width]
    for points, color in layers:
        radius /= 2  # what is below shows as a ring
        for x, y in (np.asarray(points, dtype=float) + 1) / 2 * (width, height) - 0.5:
            distance = np.hypot(columns - x, rows - y)  # nan: no pixel is near
            drawn[distance < 1.4 * radius] = 255
            drawn[distance < radius] = color
    return drawn
