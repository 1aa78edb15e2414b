"""From an image in any form to the input of the model: one object for training, validation, prediction and export."""

import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.checks import check_int, check_kind, is_number, plain
from learnkit.data.augment.constants import constant
from learnkit.data.augment.random import to_float
from learnkit.data.image.crops import Bounded
from learnkit.data.image.depth import Depth, check_depth, to_depth
from learnkit.data.image.jpeg import Decoded
from learnkit.data.image.read import array_pixels, given_pixels, read_image, read_with
from learnkit.data.image.resize import HowSeen, Resize, View
from learnkit.data.image.sources import image_size, is_image, opened
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.errors import DataError, ImageError, UsageError, WrongTypeError

__all__ = ["IMAGENET", "Normalize", "Preprocess", "Reader", "hwc_to_chw"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Reader = Callable[[str], "npt.NDArray[Any]"]  # path -> (H, W, C), uint8, uint16 or float in [0, 1]


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / std per channel, for pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        means, stds = (plain(one) for one in (self.mean, self.std))
        are_lists = all(isinstance(one, Sequence) and all(map(is_number, one)) for one in (means, stds))
        are_lists = are_lists and all(map(math.isfinite, [*means, *stds]))
        if not are_lists or len(means) != len(stds) or not all(std > 0 for std in stds):
            expected = "a mean and a std above 0 for each channel, each a list of numbers"
            raise UsageError("normalize", got=(means, stds), expected=expected)
        object.__setattr__(self, "mean", tuple(map(float, means)))
        object.__setattr__(self, "std", tuple(map(float, stds)))

    def __call__(self, x: Tensor) -> Tensor:
        """x, float (N, C, H, W) in [0, 1], normalized; a new tensor."""
        return self.normalize_(x.clone(memory_format=torch.preserve_format))

    def normalize_(self, x: Tensor, scale: float = 1.0, out: Tensor | None = None) -> Tensor:
        """x, float (N, C, H, W) in [0, scale], normalized in place, or into `out`."""
        factor = constant(tuple(1 / (std * scale) for std in self.std), x.dtype, x.device)
        shift = constant(tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True)), x.dtype, x.device)
        if out is None and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last):
            rows, width = x.permute(0, 2, 3, 1).view(-1, x.shape[3] * x.shape[1]), x.shape[3]
            _scale_and_shift(rows, factor.repeat(width), shift.repeat(width), rows)  # long rows are faster
            return x
        return _scale_and_shift(x, factor[:, None, None], shift[:, None, None], x if out is None else out)

    def undo(self, x: Tensor) -> Tensor:
        """The inverse: (N, C, H, W) of pixels in [0, 1]."""
        return (x * self._per_channel(self.std, x) + self._per_channel(self.mean, x)).clamp(0, 1)

    def _per_channel(self, values: Sequence[float], x: Tensor) -> Tensor:
        return constant(tuple(values), x.dtype, x.device)[:, None, None]


@dataclass(frozen=True)
class Preprocess:
    """`item` reads and resizes one image in a worker; `batch` converts and normalizes a batch on the device.

    Args:
        resize: the size and the method.
        normalize: mean and std; None for pixels in [0, 1].
        channels: 3 for RGB, 1 for gray; other numbers need a `reader`.
        reader: reads a file instead of Pillow: path -> (H, W, C), uint8, uint16, or floats in [0, 1]. uint16 and floats
            become float32, and are never rounded to 8 bits.
        depth: what black and white are in all images, files, arrays and what the reader returns alike: bits (8, 10,
            12, 14 or 16), or (black, white) in pixel values; None for the whole range of uint8 or uint16. With more
            than 8 bits or a range, images are float32.
        full_decode: decode large JPEG files at their whole size; otherwise at a half, a quarter or an eighth of it,
            where at least two pixels are left, in each direction, for each that the model sees.
    """

    resize: Resize
    normalize: Normalize | None
    channels: int = 3
    reader: Reader | None = None
    depth: Depth | None = None
    full_decode: bool = False

    def __post_init__(self) -> None:
        check_kind("full_decode", self.full_decode, bool, "True or False")
        object.__setattr__(self, "depth", check_depth(self.depth))
        check_int("channels", self.channels, 1, expected="a number of channels, 1 or more")
        if self.channels not in (1, 3) and self.reader is None:
            raise UsageError(
                "channels", got=self.channels, expected="3 or 1",
                fix="Other channels need reader=, a function(path) -> array (H, W, channels).",
            )  # fmt: skip

    @property
    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What images are normalized by, one number per channel; 0 and 1 without normalization."""
        if self.normalize is None:
            return (0.0,) * self.channels, (1.0,) * self.channels
        return self.normalize.mean, self.normalize.std

    def without_normalize(self) -> "Preprocess":
        """This object without normalization."""
        return replace(self, normalize=None)

    def item(self, source: Any, where: str = "") -> Tensor:
        """The resized image, uint8 (C, H, W), of a path, PIL image, bytes, array (H, W[, C]) or tensor (C, H, W).

        With a `reader`: of a path, or of an array as the reader returns it; then and with a `depth` it may be float32.

        Raises:
            ImageError: an image that cannot be read, or whose range of pixels is not known.
            UsageError: a PIL image or bytes, which a `reader` of files cannot read.
        """
        return hwc_to_chw(self.decode(source, where=where)[0])

    def whole(self, source: Any) -> "npt.NDArray[Any]":
        """The image (H, W, C) of a source as for `item`, upright, before it is resized.

        Raises:
            ImageError, UsageError: as for `item`.
        """
        pixels = np.asarray(self._to_image(source, "", None).image)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def decode(
        self, source: Any, mask: Any = None, *, task: Any = None, bound: Bounded | Resize | None = None, where: str = ""
    ) -> tuple["npt.NDArray[Any]", ...]:
        """The resized image (H, W, C) and, if there is one, its mask (H, W) or its key points (P, 2).

        Args:
            source: as for `item`.
            mask: the path of a mask, or the key points.
            task: a Segmentation, which reads the mask, or Points.
            bound: replaces the final size: downscaling for random crops.
            where: description of the item for errors.

        Raises:
            ImageError: an image or a mask that cannot be read.
            DataError: a mask whose size is not that of its image, or with pixel values without a class.
        """
        how = bound or self.resize
        decoded = self._to_image(source, where, how)
        height, width = decoded.size
        view = how.view(height, width)
        pixels = decoded.extract(view)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if isinstance(task, Points) and mask is not None:
            return pixels, task.place(mask, view)
        if not isinstance(task, Segmentation) or mask is None:
            return (pixels,)
        if task.fill is None and bound is None and self.resize.method == "pad":
            raise UsageError(
                "resize='pad' adds borders to the masks, whose class is not known",
                fix="Pass ignore_index= or border=, the name of a class, or another resize=.",
            )
        numbers = task.read(mask, where)
        if numbers.shape != (height, width):
            raise DataError(
                f"{mask}{where}: a mask of {numbers.shape[1]} x {numbers.shape[0]} pixels for {source} of "
                f"{width} x {height}",
                fix="Pass a mask of the size of its image.",
            )
        return pixels, view.extract(numbers, nearest=True, fill=task.fill or 0)

    def sides(self, source: Any) -> tuple[int, int]:
        """(height, width) of an image in any form that `item` takes, or held, before it is resized.

        Only a `reader` has to read the whole image.
        """
        return image_size(source) if self.reader is None else self._to_image(opened(source), "", self.resize).size

    def view(self, source: Any) -> View:
        """What is seen of an image in any form that `item` takes."""
        return self.resize.view(*self.sides(source))

    def scale(self, batch: Tensor) -> Tensor:
        """A uint8 batch as float32 in [0, 1]; floats are returned unchanged."""
        return to_float(batch)

    def batch(self, batch: Tensor, *, in_place: bool = False, out: Tensor | None = None) -> Tensor:
        """A batch of items as normalized float32 (N, C, H, W).

        Args:
            batch: uint8, or float32 in [0, 1].
            in_place: whether a batch of floats may be overwritten.
            out: a place for the result, which need not be used.
        """
        if self.normalize is None:
            return self.scale(batch)
        if batch.dtype == torch.uint8:
            return self.normalize.normalize_(batch.float() if out is None else out.copy_(batch), 255)
        return self.normalize.normalize_(batch, out=out) if in_place or out is not None else self.normalize(batch)

    def _to_image(self, source: Any, where: str, how: HowSeen | None) -> Decoded:
        from PIL import Image

        is_file = isinstance(source, str | os.PathLike) or (self.reader is None and hasattr(source, "read"))
        if not is_file and not is_image(source):
            others = "" if self.reader else "PIL image, encoded bytes, "
            expected = f"a path, {others}array (H, W[, C]) or tensor (C, H, W)"
            raise WrongTypeError(f"item{where}", got=source, expected=expected)
        if isinstance(source, Image.Image | bytes | bytearray | memoryview):
            if self.reader is not None:
                raise UsageError(
                    f"item{where}: these images are read by the reader, which takes a file",
                    got=f"{'an image of Pillow' if isinstance(source, Image.Image) else 'bytes'}",
                    expected="the path of a file, or an array as the reader returns it",
                )
            if isinstance(source, Image.Image):
                return Decoded.whole(given_pixels(source, self.channels, self.depth, f"the given image{where}"))
            return self._read(io.BytesIO(source), where, how)
        if isinstance(source, Tensor):
            source = source.detach().cpu().numpy()
            source = np.moveaxis(source, 0, -1) if source.ndim == 3 else source
        if isinstance(source, np.ndarray):
            if self.reader is None:
                pixels = to_depth(_check_image_array(source), self.depth, f"the given array{where}")
                return Decoded.whole(array_pixels(pixels, self.channels, self.depth))
            return Decoded.whole(self._check_pixels(source, f"the given array{where}"))
        if self.reader is None:
            return self._read(source, where, how)
        return Decoded.whole(self._check_pixels(read_with(self.reader, source, where), f"{source}{where}"))

    def _read(self, file: Any, where: str, how: HowSeen | None) -> Decoded:
        return read_image(file, self.channels, where=where, depth=self.depth, how=how, in_full=self.full_decode)

    def _check_pixels(self, read: "npt.NDArray[Any]", where: str) -> "npt.NDArray[Any]":
        """An array from a reader, or as it would return it, as uint8 or float32 (H, W, channels)."""
        pixels = read[..., None] if read.ndim == 2 else read
        if pixels.ndim != 3 or pixels.shape[2] != self.channels or not pixels.size:
            raise ImageError(f"{where}: shape", got=pixels.shape, expected=f"(H, W, {self.channels})")
        return to_depth(pixels, self.depth, where)


def _scale_and_shift(x: Tensor, factor: Tensor, shift: Tensor, out: Tensor) -> Tensor:
    """factor * x + shift, written into `out`; on the CPU two passes are three times as fast as that of addcmul."""
    return torch.mul(x, factor, out=out).add_(shift) if x.is_cpu else torch.addcmul(shift, x, factor, out=out)


def hwc_to_chw(pixels: "npt.NDArray[Any]") -> Tensor:
    """An array (H, W, C) as a contiguous tensor (C, H, W)."""
    return torch.from_numpy(np.array(np.moveaxis(pixels, 2, 0), order="C"))


def _check_image_array(pixels: "npt.NDArray[Any]") -> "npt.NDArray[Any]":
    """An array (H, W) or (H, W, 3 or 4) as it is, (H, W, 1) as (H, W)."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (2, 3, 4)) or not pixels.size:
        raise UsageError("image array", got=pixels.shape, expected="(H, W), (H, W, 3) or (H, W, 4); tensors (C, H, W)")
    return pixels
