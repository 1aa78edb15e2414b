"""Images and masks at one size: which part is taken, at what size, and where it is put."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageLike", "Interpolation", "Method", "Resize", "View", "shape_of"]

Method = Literal["crop", "squish", "pad"]
Interpolation = Literal["bilinear", "bicubic"]
ImageLike: TypeAlias = "Image | npt.NDArray[Any]"  # a Pillow image, or an array (H, W) or (H, W, C)


class View(NamedTuple):
    """A part of an image at a size; the same view of an image and of its mask show the same."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image
    shape: tuple[int, int]  # height and width that the part is brought to
    padding: tuple[int, int] = (0, 0)  # rows above and columns to the left, in a canvas of `size`
    size: tuple[int, int] | None = None  # the canvas; None for `shape`
    interpolation: Interpolation = "bilinear"

    def extract(self, image: ImageLike, *, nearest: bool = False, fill: int = 0) -> npt.NDArray[Any]:
        """The view as an array (H, W[, C]); `nearest` makes up no values between those of a mask."""
        height, width = shape_of(image)
        if self.box == (0, 0, width, height) and self.shape == (height, width):
            pixels = np.asarray(image)
        else:
            pixels = _resize(image, self.box, self.shape, "nearest" if nearest else self.interpolation)
        if self.size is None or self.size == pixels.shape[:2]:
            return pixels
        canvas = np.full((*self.size, *pixels.shape[2:]), fill, dtype=pixels.dtype)
        (top, left), (rows, columns) = self.padding, pixels.shape[:2]
        canvas[top : top + rows, left : left + columns] = pixels
        return canvas


@dataclass(frozen=True)
class Resize:
    """An image at one size, always in the same way: nothing here is random.

    Args:
        size: height and width in pixels.
        method: "crop" keeps the proportions and the center, "squish" keeps everything and bends the proportions, "pad"
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
        """The view of an image of this shape."""
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


def shape_of(image: ImageLike) -> tuple[int, int]:
    """(height, width)."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    return image.height, image.width


def _resize(image: ImageLike, box: Sequence[float], shape: tuple[int, int], how: str) -> npt.NDArray[Any]:
    from PIL import Image

    if isinstance(image, np.ndarray):
        is_rgb = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
        if image.ndim == 3 and not is_rgb:  # channel by channel: a fourth is no transparency
            planes = np.ascontiguousarray(np.moveaxis(image, 2, 0))
            return np.stack([_resize(plane, box, shape, how) for plane in planes], axis=2)
        image = Image.fromarray(image)
    filters = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}
    pixels = np.asarray(image.resize(shape[::-1], filters[how], box=(box[0], box[1], box[2], box[3])))
    overshoots = how == "bicubic" and np.issubdtype(pixels.dtype, np.floating)
    return pixels.clip(0, 1) if overshoots else pixels
