"""Heat maps laid over their pictures."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError

if TYPE_CHECKING:
    from learnkit.plots.figure import Figure

__all__ = ["heat_map_figure", "heat_map_over"]

COLOURS = "inferno"  # rises in lightness all along, so that it can be read without seeing hues
MOST_OPAQUE = 0.7  # where the heat is 1; where it is 0 the picture stays as it is


def heat_map_over(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """A picture, uint8 (H, W, 3), with its heat map, (H, W) from 0 to 1: the hotter, the brighter and more opaque.

    Raises:
        UsageError: a heat map of another size than the picture.
    """
    import matplotlib

    if picture.shape[:2] != heat.shape:
        raise UsageError("heat: the shape", got=heat.shape, expected=f"{picture.shape[:2]}, that of the picture")
    colours = matplotlib.colormaps[COLOURS](heat)[..., :3] * 255
    opacity = MOST_OPAQUE * heat[..., None]
    mixed: npt.NDArray[np.uint8] = np.rint(picture * (1 - opacity) + colours * opacity).astype(np.uint8)
    return mixed


def heat_map_figure(picture: npt.NDArray[np.uint8], heat: npt.NDArray[np.floating], title: str) -> "Figure":
    """A picture, and beside it the same with its heat map and a title such as "cat, p 0.93"."""
    from learnkit.plots.images import image_grid

    return image_grid([picture, heat_map_over(picture, heat)], ["", title], columns=2)
