"""Overlays of images: heat maps, masks with one color per class, and where a predicted mask is wrong."""

import colorsys

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError

__all__ = ["class_colors", "heat_map_over", "mistakes_over", "overlaid"]

HEAT_COLORS = "inferno"  # rises monotonically in lightness, so that it can be read without seeing hues
MAX_HEAT_OPACITY = 0.7  # where the heat is 1; where it is 0 the image does not change
MASK_OPACITY = 0.55
TURN = 0.61803398875  # of the hue circle from a class to the next: neighbors differ, and it never repeats

WRONG = (213, 94, 0)  # vermilion of Okabe and Ito, which color-blind readers can distinguish from gray
IGNORED = (128, 128, 128)
FAINT = 0.55  # share of white where the mask is right
WRONG_OPACITY = 0.8


def heat_map_over(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """An image, uint8 (H, W, 3), with its heat map, (H, W) from 0 to 1: the hotter, the brighter and more opaque.

    Raises:
        UsageError: a heat map whose size is not that of the image.
    """
    import matplotlib

    if image.shape[:2] != heat.shape:
        raise UsageError("heat: the shape", got=heat.shape, expected=f"{image.shape[:2]}, that of the image")
    colors = matplotlib.colormaps[HEAT_COLORS](heat)[..., :3] * 255
    opacity = MAX_HEAT_OPACITY * heat[..., None]
    mixed: npt.NDArray[np.uint8] = np.rint(image * (1 - opacity) + colors * opacity).astype(np.uint8)
    return mixed


def class_colors(n: int) -> npt.NDArray[np.uint8]:
    """n colors, uint8 (n, 3); the first ones do not depend on n."""
    shades = [
        colorsys.hsv_to_rgb((number * TURN) % 1, 0.85 if number % 2 else 0.65, 0.95 if number % 3 else 0.75)
        for number in range(n)
    ]
    colors: npt.NDArray[np.uint8] = np.rint(np.array(shades).reshape(n, 3) * 255).astype(np.uint8)
    return colors


def overlaid(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.integer], ignored: int | None = None
) -> npt.NDArray[np.uint8]:
    """An image, uint8 (H, W, 3), with the colors of its class indices, (H, W); ignored pixels do not change."""
    colors = class_colors(int(mask.max(initial=0)) + 1)[mask]
    mixed = np.rint(image * (1 - MASK_OPACITY) + colors * MASK_OPACITY).astype(np.uint8)
    return mixed if ignored is None else np.where((mask == ignored)[..., None], image, mixed)


def mistakes_over(
    image: npt.NDArray[np.uint8],
    predicted: npt.NDArray[np.integer],
    target: npt.NDArray[np.integer],
    ignored: int | None = None,
) -> npt.NDArray[np.uint8]:
    """An image, uint8 (H, W, 3), faint and gray where its class indices (H, W) are right, vermilion where wrong.

    Pixels whose target is `ignored` are a uniform gray.
    """
    gray = image.mean(2, keepdims=True)
    faint = gray * (1 - FAINT) + 255 * FAINT
    strong = gray * (1 - WRONG_OPACITY) + np.array(WRONG) * WRONG_OPACITY
    mixed = np.where((predicted != target)[..., None], strong, faint)
    if ignored is not None:
        mixed = np.where((target == ignored)[..., None], IGNORED, mixed)
    drawn: npt.NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return drawn
