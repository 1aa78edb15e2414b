"""A set of decoded images on the device: one tensor of all, from which batches are cut without a worker or a copy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.data.augment.others import shown
from learnkit.data.augment.presize import Presize
from learnkit.data.image.cache import CHUNK, MIN_FREE, ONE_TYPE, Arrays, Unreadable, decode_all
from learnkit.data.image.dataset import ImageDataset
from learnkit.device import to_device
from learnkit.device_memory import free_memory
from learnkit.errors import DataError, OutOfMemoryError, UsageError

__all__ = ["DeviceStore", "check_item_stage", "store_on_device"]


class DeviceStore:
    """The items of a set on one device.

    Args:
        parts: pixels (n, C, H, W), uint8 or float32, and, if there are any, masks (n, H, W), key points (n, P, 2) or
            targets (n, ...).
    """

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self.parts: tuple[Tensor, ...] = tuple(parts)

    @property
    def device(self) -> torch.device:
        """Where the items are."""
        return self.parts[0].device

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.parts[0].shape[-2], self.parts[0].shape[-1]

    def batch(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The items of these numbers, int64 (N,), on the device: new tensors, which may be overwritten."""
        return tuple(part.index_select(0, rows) for part in self.parts)


def check_item_stage(transforms: Sequence[Any]) -> None:
    """Refuse transforms that change one image at a time, before it would be on the device.

    Raises:
        UsageError: naming the first of them.
    """
    for transform in transforms:
        if not isinstance(transform, Presize):
            raise UsageError(
                f"cache='device' keeps images as they are before augmentation, and {shown(transform)} changes them one "
                "by one on the CPU",
                fix="Use cache='memory', or transforms of a batch: OnBatch(fn), or Presize for random crops.",
            )


def store_on_device(dataset: ImageDataset, device: torch.device) -> DeviceStore:
    """All items of a dataset, decoded once as for training.

    Raises:
        ImageError: an image that cannot be read.
        DataError: images of several sizes or types.
        OutOfMemoryError: the set does not fit on the device.
    """
    try:
        parts = _decoded(len(dataset), lambda index: dataset.decode(index, dataset.bound), device)
    except Unreadable as error:
        raise error.cause from None
    targets = [] if dataset.targets is None else [to_device(dataset.targets, device)]
    return DeviceStore([*parts, *targets])


def _decoded(n: int, decode: Callable[[int], Arrays], device: torch.device) -> list[Tensor]:
    """What `decode` returns for each item as tensors on the device, images as (n, C, H, W)."""
    parts: list[Tensor] = []
    block: list[list[Tensor]] = []
    for number, arrays in enumerate(decode_all(n, decode), 1):
        pixels, *others = arrays
        item = [torch.from_numpy(np.array(one, order="C")) for one in (np.moveaxis(pixels, 2, 0), *others)]
        if not parts:
            _check_room(n, sum(one.nbytes for one in item), device)
            parts = [torch.empty((n, *one.shape), dtype=one.dtype, device=device) for one in item]
        for one, part in zip(item, parts, strict=True):
            _check_alike(number - 1, one, part)
        block.append(item)
        if len(block) == CHUNK or number == n:
            for part, items in zip(parts, zip(*block, strict=True), strict=True):
                part[number - len(block) : number] = to_device(torch.stack(items), device)
            block = []
    return parts


def _check_room(n: int, item_size: int, device: torch.device) -> None:
    need, room = n * item_size, free_memory(device)
    if need > room * (1 - MIN_FREE):
        raise OutOfMemoryError(
            f"cache='device': {n:,} items of {item_size / 1e3:.1f} kB need {need / 1e9:.2f} GB, and of the "
            f"{room / 1e9:.2f} GB that are free on {device} a tenth at least is left to the model",
            fix="Use cache='memory' or 'disk', or a smaller size=.",
        )


def _check_alike(i: int, item: Tensor, part: Tensor) -> None:
    if item.dtype != part.dtype:
        raise DataError(f"dtype of item {i}", got=item.dtype, expected=f"{part.dtype}, as of the others", fix=ONE_TYPE)
    if item.shape != part.shape[1:]:
        raise DataError(
            f"cache='device': shape of item {i}", got=tuple(item.shape),
            expected=f"{tuple(part.shape[1:])}, as of the others", fix="Use cache='memory'.",
        )  # fmt: skip
