"""The dataset of a stream of images: pixels and targets read together, on the path of images in files."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learnkit.checks import plain
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.sources import HeldImage, NamedBytes
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.stream.items import Key, StreamItems
from learnkit.data.tasks import Classification, MultiLabel, Task
from learnkit.errors import DataError
from learnkit.seeds import Stream, derive, preserve_all_rng, seed_all

__all__ = ["PACKED", "Parts", "StreamDataset", "label_of"]


class Parts(NamedTuple):
    """Which part of an item is what.

    Attributes:
        image: PIL, encoded bytes, an array (H, W[, C]) or a uint8 tensor (C, H, W).
        label: None for items without one.
        name: what the item is called in errors and results; None for its number.
    """

    image: Key
    label: Key | None
    name: Key | None = None


PACKED = Parts(0, 1, 2)  # of an item that `pack` wrote: a tuple, as litdata would keep dicts of bytes in larger blocks


class _Lazy(Sequence[Any]):
    """Something about each item, found out when it is asked for."""

    def __init__(self, n: int, read: Callable[[int], Any]) -> None:
        self._n, self._read = n, read

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: Any) -> Any:
        return self._read(range(self._n)[i])  # IndexError at the end


class _Targets:
    """The targets of items by number, or of several by a tensor of numbers."""

    def __init__(self, read: Callable[[int], Tensor]) -> None:
        self._read = read

    def __getitem__(self, numbers: Any) -> Tensor:
        if isinstance(numbers, Tensor):
            return torch.stack([self._read(i) for i in numbers.tolist()])
        return self._read(numbers)


class StreamDataset(ImageDataset):
    """Images of a stream; labels are read with the images, so nothing is known about them before.

    Args:
        items: the stream.
        parts: which part of an item is what.
        task: encodes labels as targets.
        preprocess: decodes and resizes images.
        item_stage: transforms of single training images, as for an ImageDataset.
    """

    def __init__(
        self, items: StreamItems, parts: Parts, task: Task, preprocess: Preprocess, *, item_stage: Sequence[Any] = ()
    ) -> None:
        super().__init__([], None, task, preprocess, item_stage=item_stage)
        self.items, self.parts = items, parts
        self._read: dict[int, Any] = {}  # the items of a batch, or the last one
        n = len(items)
        self._images = _Lazy(n, self._image)
        self.inputs = _Lazy(n, lambda i: HeldImage(self._images, i, f"{items.split}[{i}]"))
        self.names = _Lazy(n, self._name)
        self.rows = range(n)
        if parts.label is not None:
            self.labels = _Lazy(n, self._label)
            self.masks = self.labels if isinstance(task, Segmentation | Points) else None
            self.targets = _Targets(self._target) if self.masks is None else None

    @property
    def has_files(self) -> bool:
        """False: its images lie in chunks."""
        return False

    def batch(self, indices: Sequence[int], seed: int | None = None, epoch: int = 0) -> tuple[Tensor, ...]:
        """As that of an ImageDataset; the items are read first, each with generators of its own if it may draw."""
        self._read = {}
        try:
            if not self.items.may_draw:
                self._read = {i: self.items[i] for i in sorted(set(indices))}  # chunk by chunk
            else:
                with preserve_all_rng():
                    for i in sorted(set(indices)):
                        if seed is not None:
                            seed_all(derive(seed, Stream.ITEM, epoch, i))
                        self._read[i] = self.items[i]
            return super().batch(indices, seed, epoch)
        finally:
            self._read = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"items": self.items, "parts": self.parts, "task": self.task, "preprocess": self.preprocess,
                "item_stage": self.item_stage}  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        StreamDataset.__init__(self, **state)

    def _item(self, i: int) -> Any:
        if i not in self._read:
            self._read = {i: self.items[i]}
        return self._read[i]

    def _image(self, i: int) -> Any:
        return self.items.part(self._item(i), self.parts.image)

    def _name(self, i: int) -> str:
        if self.parts.name is None:
            return f"{self.items.split}[{i}]"
        name = self.items.part(self._item(i), self.parts.name)
        return os.fsdecode(name) if isinstance(name, bytes) else str(name)  # text in older packs

    def _label(self, i: int) -> Any:
        assert self.parts.label is not None
        raw = self.items.part(self._item(i), self.parts.label)
        where = f"{self._name(i)} ({self.items.split}[{i}]): label"
        if isinstance(self.task, Segmentation):
            if not isinstance(raw, bytes):
                raise DataError(where, got=type(raw).__name__, expected="the bytes of a mask's file, such as a PNG")
            return NamedBytes(raw, f"the mask of {self._name(i)}")
        if self.parts == PACKED:
            return json.loads(raw)
        return label_of(raw, self.task, where)

    def _target(self, i: int) -> Tensor:
        assert self.labels is not None
        assert self.task is not None
        label = self.labels[i]
        try:
            return self.task.encode(label)
        except (DataError, TypeError, ValueError) as error:
            raise DataError(f"{self._name(i)} ({self.items.split}[{i}]): {error}") from error


def label_of(raw: Any, task: Task | None, where: str) -> Any:
    """The label of an item of any stream, as its task encodes it.

    A whole number is the index of a class; for a MultiLabel, a 0 or 1 for each class are those that are 1.

    Raises:
        DataError: an index without a class.
    """
    label = plain(raw)
    if isinstance(task, Classification) and isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(task.classes):
            raise DataError(where, got=label, expected=f"a class index from 0 to {len(task.classes) - 1}")
        return task.classes[label]
    if isinstance(task, MultiLabel):
        if not isinstance(label, list | tuple | set):
            raise DataError(where, got=label, expected="a list of class names, or a 0 or 1 for each class")
        numbers = [one for one in label if not isinstance(one, str)]
        if numbers and (len(label) != len(task.classes) or any(one not in (0, 1) for one in label)):
            raise DataError(where, got=label, expected=f"class names, or {len(task.classes)} numbers, each 0 or 1")
        return [name for name, one in zip(task.classes, label, strict=True) if one] if numbers else list(label)
    return label
