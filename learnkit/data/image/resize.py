"""Resizing images and masks: which box is taken, to what size it is resized, and how it is padded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from learnkit.checks import check_choice

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["HowSeen", "ImageLike", "Interpolation", "Method", "Resize", "View", "resize_pixels", "shape_of"]

Method = Literal["crop", "squish", "pad"]
Interpolation = Literal["bilinear", "bicubic"]
ImageLike: TypeAlias = "Image | npt.NDArray[Any]"  # a Pillow image, or an array (H, W) or (H, W, C)


class View(NamedTuple):
    """A box of an image, resized and padded; the same view of an image and of its mask show the same content."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels of the image
    shape: tuple[int, int]  # height and width that the box is resized to
    padding: tuple[int, int] = (0, 0)  # rows above and columns to the left, on a canvas of `size`
    size: tuple[int, int] | None = None  # of the canvas; None for `shape`
    interpolation: Interpolation | Literal["torch_bilinear"] = "bilinear"  # torch's is faster, and rounds otherwise

    def is_whole(self, height: int, width: int) -> bool:
        """Whether this is an image of this size, pixel for pixel, maybe on a canvas."""
        return self.box == (0, 0, width, height) and self.shape == (height, width)

    def factor(self, margin: float) -> int:
        """How many times smaller, 1, 2, 4 or 8, the image may be and its box have `margin` pixels a pixel of the view.

        >>> View((0, 0, 4000, 3000), (224, 224)).factor(2), View((0, 0, 500, 375), (224, 224)).factor(2)
        (4, 1)
        """
        left, top, right, bottom = self.box
        most = min((bottom - top) / self.shape[0], (right - left) / self.shape[1]) / margin
        return next((factor for factor in (8, 4, 2) if factor <= most), 1)

    def extract(self, image: ImageLike, *, nearest: bool = False, fill: int = 0) -> npt.NDArray[Any]:
        """The view of an image as an array (H, W[, C]); `nearest` creates no new values of a mask."""
        if self.is_whole(*shape_of(image)):
            pixels = np.asarray(image)
        else:
            pixels = _resize(image, self.box, self.shape, "nearest" if nearest else self.interpolation)
        if self.size is None or self.size == pixels.shape[:2]:
            return pixels
        canvas = np.full((*self.size, *pixels.shape[2:]), fill, dtype=pixels.dtype)
        (top, left), (rows, columns) = self.padding, pixels.shape[:2]
        canvas[top : top + rows, left : left + columns] = pixels
        return canvas


class HowSeen(Protocol):
    """What is seen of images, by their size."""

    margin: ClassVar[int]  # pixels, in each direction, that a large JPEG keeps for each one of the view

    def view(self, height: int, width: int) -> View:
        """The view of an image of this size."""


@dataclass(frozen=True)
class Resize:
    """Resizes images to one size; never random.

    Args:
        size: height and width in pixels.
        method: "crop" keeps the aspect ratio and the center, "squish" keeps everything and changes the aspect ratio,
            "pad" keeps both and adds black borders.
        interpolation: "bilinear" or "bicubic".
    """

    margin: ClassVar[int] = 2

    size: tuple[int, int]
    method: Method = "crop"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_choice("resize", self.method, ("crop", "squish", "pad"))
        check_choice("interpolation", self.interpolation, ("bilinear", "bicubic"))

    def view(self, height: int, width: int) -> View:
        """The view of an image of this size."""
        return self._view(height, width)._replace(interpolation=self.interpolation)

    def _view(self, height: int, width: int) -> View:
        if (height, width) == self.size or self.method == "squish":
            return View((0, 0, width, height), self.size)
        high, wide = self.size
        if self.method == "crop":
            scale = min(height / high, width / wide)
            box_h, box_w = min(height, high * scale), min(width, wide * scale)  # rounding may exceed the image
            left, top = (width - box_w) / 2, (height - box_h) / 2
            return View((left, top, left + box_w, top + box_h), self.size)
        scale = min(high / height, wide / width)
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        return View((0, 0, width, height), shape, ((high - shape[0]) // 2, (wide - shape[1]) // 2), self.size)


def shape_of(image: ImageLike) -> tuple[int, int]:
    """(height, width) of an image."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    return image.height, image.width


def resize_pixels(pixels: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """An image (H, W[, C]), uint8 or float32, resized by Pillow's bilinear filter, several times as fast as by Pillow.

    Gray levels differ from Pillow's by 1 at most, through rounding.
    """
    if pixels.ndim == 2:
        return resize_pixels(pixels[..., None], shape)[..., 0]
    if not pixels.flags.writeable:  # as of a cache on disk, for which torch warns
        pixels = pixels.copy()
    batch = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # channels_last, which torch resizes fastest
    resized = F.interpolate(batch, shape, mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _resize(image: ImageLike, box: Sequence[float], shape: tuple[int, int], how: str) -> npt.NDArray[Any]:
    from PIL import Image

    height, width = shape_of(image)
    if how == "torch_bilinear":
        if tuple(box) == (0, 0, width, height) and (isinstance(image, np.ndarray) or image.mode in ("L", "RGB")):
            return resize_pixels(np.asarray(image), shape)
        how = "bilinear"
    if isinstance(image, np.ndarray):
        is_rgb = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
        if image.ndim == 3 and not is_rgb:  # channel by channel: Pillow would take a fourth for transparency
            channels = np.ascontiguousarray(np.moveaxis(image, 2, 0))
            return np.stack([_resize(channel, box, shape, how) for channel in channels], axis=2)
        image = Image.fromarray(image)
    filters = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}
    pixels = np.asarray(image.resize(shape[::-1], filters[how], box=(box[0], box[1], box[2], box[3])))
    overshoots = how == "bicubic" and np.issubdtype(pixels.dtype, np.floating)
    return pixels.clip(0, 1) if overshoots else pixels
