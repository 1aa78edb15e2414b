"""Masks laid over their pictures, a colour a class."""

import colorsys

import numpy as np
import numpy.typing as npt

__all__ = ["class_colours", "overlaid"]

OPACITY = 0.55
TURN = 0.61803398875  # of the hue circle from a class to the next: neighbours differ, and it never repeats


def class_colours(n: int) -> npt.NDArray[np.uint8]:
    """n colours, uint8 (n, 3); the first ones do not depend on n."""
    shades = [
        colorsys.hsv_to_rgb((number * TURN) % 1, 0.85 if number % 2 else 0.65, 0.95 if number % 3 else 0.75)
        for number in range(n)
    ]
    colours: npt.NDArray[np.uint8] = np.rint(np.array(shades).reshape(n, 3) * 255).astype(np.uint8)
    return colours


def overlaid(
    picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.integer], ignored: int | None = None
) -> npt.NDArray[np.uint8]:
    """A picture, uint8 (H, W, 3), with the colours of its class numbers, (H, W); ignored pixels stay as they are."""
    colours = class_colours(int(mask.max(initial=0)) + 1)[mask]
    mixed = np.rint(picture * (1 - OPACITY) + colours * OPACITY).astype(np.uint8)
    return mixed if ignored is None else np.where((mask == ignored)[..., None], picture, mixed)
