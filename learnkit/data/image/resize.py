"""Pictures and masks at one size: which part is taken, at what size, and where it is put."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Interpolation", "Method", "Picture", "Resize", "View", "shape_of"]

Method = Literal["crop", "squish", "pad"]
Interpolation = Literal["bilinear", "bicubic"]
Picture: TypeAlias = "Image | npt.NDArray[Any]"  # a Pillow image, or an array (H, W) or (H, W, C)


class View(NamedTuple):
    """A part of a picture at a size; the same view of a picture and of its mask show the same."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture
    shape: tuple[int, int]  # height and width that the part is brought to
    padding: tuple[int, int] = (0, 0)  # rows above and columns to the left, in a canvas of `size`
    size: tuple[int, int] | None = None  # the canvas; None for `shape`
    interpolation: Interpolation = "bilinear"

    def of(self, picture: Picture, *, nearest: bool = False, fill: int = 0) -> npt.NDArray[Any]:
        """The view as an array (H, W[, C]); `nearest` makes up no values between those of a mask."""
        height, width = shape_of(picture)
        if self.box == (0, 0, width, height) and self.shape == (height, width):
            pixels = np.asarray(picture)
        else:
            pixels = _resized(picture, self.box, self.shape, "nearest" if nearest else self.interpolation)
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
        interpolation: between pixels, "bilinear" or "bicubic".
    """

    size: tuple[int, int]
    method: Method = "crop"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.method not in ("crop", "squish", "pad"):
            raise UsageError("resize", got=self.method, expected="'crop', 'squish' or 'pad'")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise UsageError("interpolation", got=self.interpolation, expected="'bilinear' or 'bicubic'")

    def view(self, height: int, width: int) -> View:
        """The view of a picture of this shape."""
        return self._view(height, width)._replace(interpolation=self.interpolation)

    def _view(self, height: int, width: int) -> View:
        if (height, width) == self.size or self.method == "squish":
            return View((0, 0, width, height), self.size)
        high, wide = self.size
        if self.method == "crop":
            scale = min(height / high, width / wide)
            part_h, part_w = min(height, high * scale), min(width, wide * scale)  # rounding may have gone above
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


def _resized(picture: Picture, box: Sequence[float], shape: tuple[int, int], how: str) -> npt.NDArray[Any]:
    from PIL import Image

    if isinstance(picture, np.ndarray):
        is_rgb = picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8
        if picture.ndim == 3 and not is_rgb:  # channel by channel: a fourth is no transparency
            planes = np.ascontiguousarray(np.moveaxis(picture, 2, 0))
            return np.stack([_resized(plane, box, shape, how) for plane in planes], axis=2)
        picture = Image.fromarray(picture)
    filters = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}
    pixels = np.asarray(picture.resize(shape[::-1], filters[how], box=(box[0], box[1], box[2], box[3])))
    overshoots = how == "bicubic" and np.issubdtype(pixels.dtype, np.floating)
    return pixels.clip(0, 1) if overshoots else pixels
