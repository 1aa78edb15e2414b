"""Overlays of images: heat maps, masks with one color per class, and where a predicted mask is wrong."""

import colorsys

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError

__all__ = ["class_colors", "heat_map_over", "mistakes_over", "overlaid"]

HEAT_COLORS = "inferno"  # rises monotonically in lightness, so that it can be read without seeing hues
MAX_HEAT_OPACITY = 0.7  # where the heat is 1; where it is 0 the image does not change
MASK_OPACITY = 0.55
HUES = 12  # different ones before they come again, between those before and less saturated
HUE_STEP = 5  # from a class to the next, in twelfths of the hue circle: neighbors differ

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
    """n colors, uint8 (n, 3), the first 12 of 12 hues; the first ones do not depend on n."""
    shades = np.array([_shade(number) for number in range(n)])
    colors: npt.NDArray[np.uint8] = np.rint(shades.reshape(n, 3) * 255).astype(np.uint8)
    return colors


def _shade(number: int) -> tuple[float, float, float]:
    """Red, green and blue of a class; hues that are neighbors on the circle differ in lightness too."""
    turn, place = divmod(number, HUES)
    hue = place * HUE_STEP % HUES
    between = int(f"{turn:08b}"[::-1], 2) / 256  # 0, 1/2, 1/4, 3/4 of a step, ...: the van der Corput sequence
    return colorsys.hsv_to_rgb((hue + between) / HUES, (0.9, 0.45)[turn % 2], (0.95, 0.65)[(hue + turn) % 2])


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
