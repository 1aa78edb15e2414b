"""Pictures and masks at one size: which part is taken, at what size, and where it is put."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from learnkit.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Method", "Picture", "Resize", "View", "shape_of"]

Method = Literal["crop", "squish", "pad"]
Picture: TypeAlias = "Image | npt.NDArray[Any]"  # a Pillow image, or an array (H, W) or (H, W, C)


class View(NamedTuple):
    """A part of a picture at a size; the same view of a picture and of its mask show the same."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture
    shape: tuple[int, int]  # height and width that the part is brought to
    padding: tuple[int, int] = (0, 0)  # rows above and columns to the left, in a canvas of `size`
    size: tuple[int, int] | None = None  # the canvas; None for `shape`

    def of(self, picture: Picture, *, nearest: bool = False, fill: int = 0) -> npt.NDArray[Any]:
        """The view as an array (H, W[, C]); `nearest` makes up no values between those of a mask."""
        height, width = shape_of(picture)
        if self.box == (0, 0, width, height) and self.shape == (height, width):
            pixels = np.asarray(picture)
        elif isinstance(picture, np.ndarray) and not _pillow_holds(picture):
            pixels = _interpolated(picture, self.box, self.shape, nearest)
        else:
            pixels = _resized(picture, self.box, self.shape, nearest)
        if self.size is None or self.size == pixels.shape[:2]:
            return pixels
        canvas = np.full((*self.size, *pixels.shape[2:]), fill, dtype=pixels.dtype)
        (top, left), (rows, columns) = self.padding, pixels.shape[:2]
        canvas[top : top + rows, left : left + columns] = pixels
        return canvas


@dataclass(frozen=True)
class Resize:
    """A picture at one size, always in the same way: nothing here is random.

    Args:
        size: height and width in pixels.
        method: "crop" keeps the proportions and the centre, "squish" keeps everything and bends the proportions, "pad"
            keeps both and adds black borders.
    """

    size: tuple[int, int]
    method: Method = "crop"

    def __post_init__(self) -> None:
        if self.method not in ("crop", "squish", "pad"):
            raise UsageError("resize", got=self.method, expected="'crop', 'squish' or 'pad'")

    def view(self, height: int, width: int) -> View:
        """The view of a picture of this shape."""
        if (height, width) == self.size or self.method == "squish":
            return View((0, 0, width, height), self.size)
        high, wide = self.size
        if self.method == "crop":
            scale = min(height / high, width / wide)
            part_h, part_w = high * scale, wide * scale
            left, top = (width - part_w) / 2, (height - part_h) / 2
            return View((left, top, left + part_w, top + part_h), self.size)
        scale = min(high / height, wide / width)
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        return View((0, 0, width, height), shape, ((high - shape[0]) // 2, (wide - shape[1]) // 2), self.size)


def shape_of(picture: Picture) -> tuple[int, int]:
    """(height, width)."""
    if isinstance(picture, np.ndarray):
        return picture.shape[0], picture.shape[1]
    return picture.height, picture.width


def _pillow_holds(pixels: npt.NDArray[Any]) -> bool:
    return pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] in (1, 3, 4))


def _resized(picture: Picture, box: Sequence[float], shape: tuple[int, int], nearest: bool) -> npt.NDArray[Any]:
    from PIL import Image

    if isinstance(picture, np.ndarray):
        one_channel = picture.ndim == 3 and picture.shape[2] == 1
        resized = _resized(Image.fromarray(picture[..., 0] if one_channel else picture), box, shape, nearest)
        return resized[..., None] if one_channel else resized
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(picture.resize(shape[::-1], how, box=(box[0], box[1], box[2], box[3])))


def _interpolated(
    pixels: npt.NDArray[Any], box: Sequence[float], shape: tuple[int, int], nearest: bool
) -> npt.NDArray[Any]:
    """What Pillow does, for arrays of any channels and floats; the box is taken to whole pixels."""
    left, top = round(box[0]), round(box[1])
    right, bottom = max(left + 1, round(box[2])), max(top + 1, round(box[3]))
    part = pixels[top:bottom, left:right]
    planes = torch.from_numpy(np.ascontiguousarray(part)).float()
    planes = planes[None] if planes.ndim == 2 else planes.permute(2, 0, 1)
    how: dict[str, Any] = {"mode": "nearest-exact"} if nearest else {"mode": "bilinear", "antialias": True}
    resized = F.interpolate(planes[None], shape, **how)[0]
    if np.issubdtype(pixels.dtype, np.integer):
        resized = resized.round().clamp(0, np.iinfo(pixels.dtype).max)
    moved = resized[0] if pixels.ndim == 2 else resized.permute(1, 2, 0)
    return moved.numpy().astype(pixels.dtype)
