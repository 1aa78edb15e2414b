"""Segmentation: a class for every pixel, read from a mask file."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from learnkit.checks import check_number, nearest
from learnkit.data.image.mask_values import IGNORED, Pixel, codes_of, dark_or_light, ignored_values, to_classes
from learnkit.data.image.read import open_mask, read_with
from learnkit.data.image.sources import as_file
from learnkit.errors import ImageError, UsageError
from learnkit.losses.flattened import BCEWithLogitsLossFlat
from learnkit.metrics.functions import accuracy
from learnkit.metrics.segmentation import dice, iou

__all__ = ["MaskReader", "Segmentation", "lost_reader", "masks_task"]

MaskReader = Callable[[str], "npt.NDArray[Any]"]  # path -> (H, W) numbers, or (H, W, 3) colors


class Segmentation:
    """One class per pixel; targets are class indices (N, H, W), uint8 in the workers, int64 on the device.

    With `binary`, a model has one output (N, 1, H, W), the raw score of the second class, and targets are float
    (N, 1, H, W), 0 or 1 (or that of ignored pixels, 255), as BCEWithLogitsLoss takes them.

    Args:
        codes: the names of the classes, starting with pixel value 0; or {pixel value: name}, where a value is a number
            (a palette index too) or, in color masks, (red, green, blue). Values of the same name are one class:
            {0: "ground", 1: "car", 2: "car"}.
        ignore_index: the pixel value, a number or a color as in `codes`, or a list of several, of pixels left out of
            metrics and the default loss; another loss takes their target, `ignored`, as its own. It may be a class of
            `codes`, which then keeps its output.
        binary: one output for two classes.
        threshold: for soft masks and JPEG: gray above this share of white is the second of two classes.
        border: the class of what resize="pad" adds; None for `ignore_index`.
        mask_reader: reads a mask instead of Pillow: path -> (H, W) pixel values, or (H, W, 3) colors.

    Raises:
        UsageError: no or more than 255 names, duplicate names in a list, an invalid pixel value, or arguments that
            cannot work together.
    """

    def __init__(
        self,
        codes: Sequence[str] | Mapping[Any, str],
        ignore_index: Any = None,
        *,
        binary: bool = False,
        threshold: float | None = None,
        border: str | None = None,
        mask_reader: MaskReader | None = None,
    ) -> None:
        self.codes: dict[Pixel, str] = codes_of(codes)
        self.classes: tuple[str, ...] = tuple(dict.fromkeys(self.codes.values()))
        self.values: tuple[Pixel, ...] = tuple(self.codes)
        self.ignored_values: tuple[Pixel, ...] = ignored_values(ignore_index, self.codes)
        few = self.ignored_values[0] if len(self.ignored_values) == 1 else self.ignored_values
        self.ignore_index: Pixel | tuple[Pixel, ...] | None = few if self.ignored_values else None
        self.binary: bool = binary
        self.threshold: float | None = threshold
        self.border: str | None = border
        self.mask_reader: MaskReader | None = mask_reader
        self._check_settings()
        self._numbers = {value: self.classes.index(name) for value, name in self.codes.items()}
        ignored = IGNORED if self.ignored is None else self.ignored
        self._numbers |= {value: ignored for value in self.ignored_values if value not in self.codes}

    def _check_settings(self) -> None:
        if self.binary and len(self.classes) != 2:
            raise UsageError("binary=True: the classes", got=list(self.classes), expected="two, the background first")
        if self.binary and self.ignored is not None and self.ignored != IGNORED:
            raise UsageError("ignore_index", got=self.ignore_index, expected="a value without a class if binary=True")
        if self.threshold is not None:
            check_number("threshold", self.threshold, "(0, 1)", expected="a share of white between 0 and 1")
            if len(self.codes) != 2 or isinstance(self.values[0], tuple) or self.ignored_values:
                expected = "two gray levels as codes and no ignore_index with it"
                raise UsageError("threshold", got=self.threshold, expected=expected)
        if self.border is not None and self.border not in self.classes:
            near = nearest(str(self.border), self.classes)
            raise UsageError("border", got=self.border, expected=f"one of the classes: {near}")
        if self.mask_reader is not None and not callable(self.mask_reader):
            raise UsageError("mask_reader", got=self.mask_reader, expected="a function: path -> array (H, W)")

    @property
    def n_out(self) -> int:
        return 1 if self.binary else len(self.classes)

    @property
    def ignored(self) -> int | None:
        """The target of ignored pixels; None without `ignore_index`."""
        own = [self.classes.index(self.codes[value]) for value in self.ignored_values if value in self.codes]
        return None if not self.ignored_values else own[0] if own else IGNORED

    @property
    def fill(self) -> int | None:
        """The target of pixels that show nothing of the image; None if none was declared."""
        return self.ignored if self.border is None else self.classes.index(self.border)

    @property
    def metrics(self) -> tuple[Any, ...]:
        usual: tuple[Any, ...] = (dice, iou) if self.binary else (accuracy,)
        return usual if self.ignored is None else tuple(partial(one, ignore_index=self.ignored) for one in usual)

    def read(self, file: Any, where: str = "") -> npt.NDArray[np.uint8]:
        """The class index of each pixel of a mask file, (H, W): of a path, or of a HeldImage of bytes.

        Raises:
            ImageError: a file that cannot be read.
            DataError: pixel values without a class.
        """
        pixels, named = self._pixels(as_file(file), where), f"{file}{where}"
        if self.threshold is not None:
            return dark_or_light(pixels, self.threshold, self._numbers, named)
        return to_classes(pixels, self._numbers, named, self.classes)

    def _pixels(self, file: Any, where: str) -> npt.NDArray[Any]:
        """The pixel values in a mask file, (H, W) or (H, W, 3)."""
        colors = isinstance(self.values[0], tuple)
        if self.mask_reader is None:
            return open_mask(file, colors=colors, soft=self.threshold is not None, where=where)
        if not isinstance(file, str | Path):
            raise UsageError(
                f"mask_reader reads files, and {file} has none",
                fix="Leave it out; codes= maps the pixel values of PNG, TIFF and the like.",
            )
        pixels = read_with(self.mask_reader, file, where, name="mask_reader")
        pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        is_right = pixels.ndim == 3 and pixels.shape[2] == 3 if colors else pixels.ndim == 2
        if not is_right or pixels.dtype.kind not in "buif":
            expected = f"numbers (H, W{', 3' if colors else ''})"
            raise ImageError(
                f"{file}{where}: mask_reader returned", got=f"{pixels.dtype} {pixels.shape}", expected=expected
            )
        return pixels

    def encode(self, label: Any) -> Tensor:
        """Class indices (H, W) of a mask file, or of an array of class indices."""
        return torch.from_numpy(self.read(label)) if isinstance(label, str | Path) else torch.as_tensor(label)

    def targets(self, masks: Tensor) -> Tensor:
        """Masks of class indices, (N, H, W), as the loss takes them."""
        return masks[:, None].float() if self.binary else masks.long()

    def indices(self, targets: Tensor) -> Tensor:
        """Class indices (N, H, W), int64, of targets as the loss takes them."""
        return targets.long().reshape(len(targets), *targets.shape[-2:])

    def loss(self) -> nn.Module:
        if self.binary:
            return BCEWithLogitsLossFlat(ignore_index=self.ignored)
        return nn.CrossEntropyLoss(ignore_index=-100 if self.ignored is None else self.ignored)

    def activation(self, raw: Tensor) -> Tensor:
        return raw.sigmoid() if self.binary else raw.softmax(1)

    def predicted(self, activated: Tensor) -> Tensor:
        """Class indices (N, H, W), int64, of activated outputs (N, n_out, H, W)."""
        if not self.binary:
            return activated.argmax(1)
        return (activated > 0.5).long().reshape(len(activated), *activated.shape[-2:])

    def decode(self, activated: Tensor) -> tuple[npt.NDArray[np.int64], Tensor]:
        """(class indices as an array (H, W), the same as a tensor) of (n_out, H, W)."""
        index = self.predicted(activated[None])[0]
        return index.numpy(), index

    def text(self, target: Tensor) -> str:
        """The classes of the image, up to three, the largest first."""
        counts = torch.bincount(target.reshape(-1).long())[: len(self.classes)]
        order = counts.argsort(descending=True, stable=True).tolist()
        return ", ".join(self.classes[number] for number in order[:3] if counts[number])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Segmentation) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        options = {"binary": self.binary or None, "threshold": self.threshold, "border": self.border}
        further = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
        return f"Segmentation({self.codes!r}, ignore_index={self.ignore_index}{further})"

    def _key(self) -> tuple[object, ...]:
        settings = self.binary, self.threshold, self.border, self.mask_reader
        return self.classes, frozenset(self._numbers.items()), frozenset(self.ignored_values), settings


def masks_task(task: Any, codes: Any, ignore_index: Any, *, binary: bool, **options: Any) -> Segmentation:
    """The task passed, or that of the codes.

    Raises:
        UsageError: both, or neither.
    """
    given = [codes, ignore_index, binary or None, *options.values()]
    if task is not None and (not isinstance(task, Segmentation) or any(one is not None for one in given)):
        raise UsageError("task", got=task, expected="a Segmentation, and no codes= beside it, or None")
    if task is None and codes is None:
        raise UsageError("codes", got=codes, expected="names of the classes, or {pixel value: name}")
    return Segmentation(codes, ignore_index, binary=binary, **options) if task is None else task


def lost_reader(file: str) -> npt.NDArray[Any]:
    """The mask reader of an export whose masks were read by a function.

    Raises:
        ImageError: always.
    """
    raise ImageError(
        f"{file}: masks were read by a function, which an export does not hold",
        fix="Set learn.dls with data of Segmentation(codes, mask_reader=...); predictions do not need it.",
    )
