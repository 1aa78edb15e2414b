"""Decoding of a JPEG what is needed: a smaller image where that is enough, and plain ones by a faster decoder.

libjpeg makes an image of a half, a quarter or an eighth of the size from the lowest frequencies of each block, in a
third of the time of the whole (its `scale_denom`, Pillow's `draft`).
"""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from learnkit.data.image.resize import ImageLike, View, shape_of

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

__all__ = ["JPEGS", "Decoded", "plain_pixels", "shrunk"]

JPEGS = ("JPEG", "MPO")  # Pillow's names; the second has further pictures behind the first, as phones save them
RGB = 3  # torchvision.io.ImageReadMode
REVERSED_X, REVERSED_Y = (2, 3, 6, 7), (3, 4, 7, 8)  # orientations of EXIF that turn the last column, row to the first


class Decoded(NamedTuple):
    """An image as it was decoded, upright, and where it lies in the whole one."""

    image: ImageLike
    size: tuple[int, int]  # height and width of the whole image
    factor: int = 1  # how many times smaller `image` is
    origin: tuple[float, float] = (0.0, 0.0)  # x and y in `image` of the left top corner of the whole one

    @classmethod
    def whole(cls, image: ImageLike) -> "Decoded":
        return cls(image, shape_of(image))

    def extract(self, view: View) -> "npt.NDArray[Any]":
        """A view of the whole image, from what was decoded of it."""
        if self.factor == 1:
            return view.extract(self.image)
        (height, width), (x, y) = shape_of(self.image), self.origin
        left, top, right, bottom = (end / self.factor for end in view.box)
        box = (left + x, top + y, min(right + x, width), min(bottom + y, height))
        return view._replace(box=box).extract(self.image)


def shrunk(image: "ImageFile", size: tuple[int, int], factor: int, orientation: int) -> Decoded:
    """A JPEG of which a 1/2, 1/4 or 1/8 will be decoded; its pixels, not yet upright, are loaded later.

    The last block of a row or column may be cut: its part of a pixel is at the left or the top once it is upright.

    Args:
        image: opened, not loaded.
        size: height and width of the upright image.
        factor: 2, 4 or 8.
        orientation: of EXIF, 1 to 8.
    """
    image.draft(cast(str, None), (image.width // factor, image.height // factor))
    slack = [-(-side // factor) - side / factor for side in (size[1], size[0])]
    x = slack[0] if orientation in REVERSED_X else 0.0
    y = slack[1] if orientation in REVERSED_Y else 0.0
    return Decoded(image, size, factor, (x, y))


def plain_pixels(image: "ImageFile") -> "npt.NDArray[np.uint8] | None":
    """The pixels of a JPEG in RGB, uint8 (H, W, 3), the same bits as Pillow's; None for any that Pillow has to read.

    Pillow keeps four bytes a pixel, which are made and unmade at a quarter of the cost of decoding.
    """
    decode = _decoder()
    if decode is None or image.mode != "RGB" or image.format != "JPEG" or image.fp is None:
        return None
    image.fp.seek(0)
    try:
        pixels = decode(torch.frombuffer(bytearray(image.fp.read()), dtype=torch.uint8), RGB)
    except RuntimeError:  # a damaged file: Pillow says what is wrong
        return None
    return pixels.permute(1, 2, 0).numpy() if tuple(pixels.shape) == (3, image.height, image.width) else None


@functools.cache
def _decoder() -> Callable[..., torch.Tensor] | None:
    """torchvision's decoder; loaded alone, as importing torchvision takes as long as a thousand images."""
    spec = importlib.util.find_spec("torchvision")
    folders = [] if spec is None else map(Path, spec.submodule_search_locations or [])
    libraries = [file for folder in folders for file in folder.glob("image*") if file.suffix in (".so", ".pyd")]
    try:
        for library in libraries:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
        return cast(Callable[..., torch.Tensor], torch.ops.image.decode_jpeg)
    except (OSError, AttributeError, RuntimeError):  # built without it
        return None
