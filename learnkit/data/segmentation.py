"""Segmentation: a class for every pixel, read from a mask file."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from learnkit.checks import is_int
from learnkit.data.image.read import open_mask
from learnkit.errors import DataError, UsageError
from learnkit.metrics.functions import accuracy

__all__ = ["Segmentation"]

IGNORED = 255  # the target of ignored pixels without a class
Pixel = int | tuple[int, int, int]


class Segmentation:
    """One class per pixel; targets are class indices (N, H, W), uint8 in the workers, int64 on the device.

    Args:
        codes: the names of the classes, starting with pixel value 0; or {pixel value: name}, where a value is a number
            (a palette index too) or, in color masks, (red, green, blue).
        ignore_index: the pixel value, a number or a color as in `codes`, of pixels left out of loss and metrics. It may
            be one of `codes`, which then keeps its output.

    Raises:
        UsageError: no or more than 255 names, duplicate names, or an invalid pixel value.
    """

    def __init__(self, codes: Sequence[str] | Mapping[Any, str], ignore_index: Pixel | None = None) -> None:
        if not isinstance(codes, Mapping | Sequence):
            raise UsageError("codes", got=codes, expected="names of the classes, or {pixel value: name}")
        table = dict(codes) if isinstance(codes, Mapping) else dict(enumerate(codes))
        self.classes = tuple(str(name) for name in table.values())
        self.values: tuple[Pixel, ...] = tuple(table)
        if isinstance(codes, str) or not 1 <= len(table) <= IGNORED or len(set(self.classes)) < len(table):
            raise UsageError("codes", got=codes, expected=f"1 to {IGNORED} different names, or {{pixel value: name}}")
        if not all(_is_pixel_value(value) for value in self.values) or len({type(value) for value in self.values}) > 1:
            raise UsageError(
                "codes", got=list(table), expected="pixel values from 0 to 65535, or all (red, green, blue)"
            )
        if ignore_index is not None and not (
            _is_pixel_value(ignore_index) and type(ignore_index) is type(self.values[0])
        ):
            raise UsageError("ignore_index", got=ignore_index, expected="a pixel value as in codes, or None")
        self.codes = table
        self.ignore_index = ignore_index

    @property
    def n_out(self) -> int:
        return len(self.classes)

    @property
    def ignored(self) -> int | None:
        """The target of ignored pixels; None without `ignore_index`."""
        if self.ignore_index is None:
            return None
        return self.values.index(self.ignore_index) if self.ignore_index in self.values else IGNORED

    @property
    def metrics(self) -> tuple[Any, ...]:
        return (partial(accuracy, ignore_index=self.ignored),)

    def read(self, file: str | Path, where: str = "") -> npt.NDArray[np.uint8]:
        """The class index of each pixel of a mask file, (H, W).

        Raises:
            ImageError: a file that cannot be read.
            DataError: pixel values without a class.
        """
        pixels = open_mask(file, colors=isinstance(self.values[0], tuple), where=where)
        is_gray = pixels.ndim == 2
        if not is_gray:
            pixels = pixels.astype(np.int64) @ (65536, 256, 1)
        table = {_packed(value): number for number, value in enumerate(self.values)}
        if self.ignored == IGNORED and self.ignore_index is not None:
            table[_packed(self.ignore_index)] = IGNORED
        is_identity = list(table) == list(table.values()) and pixels.dtype.kind == "u"
        if is_identity and int(pixels.max(initial=0)) < self.n_out:
            return pixels.astype(np.uint8)
        found, inverse = np.unique(pixels, return_inverse=True)
        if any(value not in table for value in found.tolist()):
            values = [value if is_gray else (value >> 16, value >> 8 & 255, value & 255) for value in found.tolist()]
            unknown = [shown for shown, value in zip(values, found.tolist(), strict=True) if value not in table]
            raise DataError(
                f"{file}{where}: pixel values {{{', '.join(map(str, values[:20]))}}}",
                expected=f"those of the {len(self.codes)} codes: {', '.join(map(str, list(self.codes)[:20]))}",
                fix=f"Add {unknown[0]} to codes, map values with codes={{value: name}}, or pass "
                f"ignore_index={unknown[0]}.",
            )
        numbers = np.array([table[value] for value in found.tolist()], dtype=np.uint8)
        return numbers[inverse].reshape(pixels.shape)

    def encode(self, label: Any) -> Tensor:
        """Class indices (H, W) of a mask file, or of an array of class indices."""
        return torch.from_numpy(self.read(label)) if isinstance(label, str | Path) else torch.as_tensor(label)

    def loss(self) -> nn.Module:
        return nn.CrossEntropyLoss(ignore_index=-100 if self.ignored is None else self.ignored)

    def activation(self, raw: Tensor) -> Tensor:
        return raw.softmax(1)

    def decode(self, activated: Tensor) -> tuple[npt.NDArray[np.int64], Tensor]:
        """(class indices as an array (H, W), the same as a tensor) of (C, H, W)."""
        index = activated.argmax(0)
        return index.numpy(), index

    def text(self, target: Tensor) -> str:
        """The classes of the image, up to three, the largest first."""
        counts = torch.bincount(target.reshape(-1).long())[: self.n_out]
        order = counts.argsort(descending=True, stable=True).tolist()
        return ", ".join(self.classes[number] for number in order[:3] if counts[number])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Segmentation) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Segmentation({self.codes!r}, ignore_index={self.ignore_index})"

    def _key(self) -> tuple[object, ...]:
        return self.classes, self.values, self.ignore_index  # ordered: the order of the codes is that of the outputs


def _is_pixel_value(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 3 and all(isinstance(part, int) and 0 <= part <= 255 for part in value)
    return isinstance(value, int) and is_int(value) and 0 <= value <= 65535  # NumPy's integers have other types


def _packed(value: Pixel) -> int:
    return value if isinstance(value, int) else value[0] * 65536 + value[1] * 256 + value[2]
