"""The dataset of images: pixels and targets of the samples, one by one or in batches."""

import copy
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from learnkit.data.augment.pipeline import apply_to_item
from learnkit.data.augment.presize import Presize
from learnkit.data.augment.targets import moving_targets
from learnkit.data.image.cache import ONE_TYPE, Kind, Store, build_store, content_key
from learnkit.data.image.coordinates import in_pixels, to_view, visible
from learnkit.data.image.crops import Bounded, RandomResizedCrop, crop_and_resize
from learnkit.data.image.preprocess import Preprocess, hwc_to_chw
from learnkit.data.image.resize import Resize, View
from learnkit.data.image.sources import HeldImage, Source, opened
from learnkit.data.image.store_part import StorePart
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Task
from learnkit.errors import DataError, ImageError, UsageError
from learnkit.seeds import Stream, derive, preserve_all_rng, seed_all

__all__ = ["ImageDataset"]


class ImageDataset(Dataset[tuple[Any, ...]]):
    """Images read from disk or from a cache on access.

    Args:
        inputs: paths, or held images.
        labels: one per path, masks for segmentation; None for a set without labels.
        task: encodes labels as targets.
        preprocess: reads and resizes images.
        item_stage: transforms of single training images: a RandomResizedCrop or a Presize (first), callables.
        rows: the row of each item in the table of samples, for errors; None for 0, 1, ...
    """

    def __init__(
        self,
        inputs: Sequence[Source],
        labels: Sequence[Any] | None,
        task: Task | None,
        preprocess: Preprocess,
        *,
        item_stage: Sequence[Any] = (),
        rows: Sequence[int] | npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.inputs: Sequence[Source] = list(inputs)
        self.holds_images: bool = any(issubclass(kind, HeldImage) for kind in set(map(type, self.inputs)))
        self.names: Sequence[Any] = [str(one) for one in self.inputs] if self.holds_images else self.inputs
        self.labels: Sequence[Any] | None = None if labels is None else list(labels)
        self.task = task
        self.preprocess = preprocess
        self.rows: Sequence[int] | npt.NDArray[np.int64] = range(len(self.inputs)) if rows is None else rows
        moves = isinstance(task, Segmentation | Points)
        self.masks: Sequence[Any] | None = self.labels if moves else None  # what moves with the images
        self.targets: Any = None  # a tensor (N, ...)
        if self.labels is not None and self.masks is None and task is not None and self.labels:
            self.targets = _encode_all(task, self.labels)
        self.store: Store | StorePart | None = None
        self._set_stage(item_stage)

    def _set_stage(self, item_stage: Sequence[Any]) -> None:
        preprocess = self.preprocess
        self.item_stage: list[Any] = list(item_stage)
        self.bound: Bounded | Resize | None = None
        if any(isinstance(transform, RandomResizedCrop) for transform in self.item_stage[1:]):
            raise UsageError("augment", got=self.item_stage, expected="RandomResizedCrop first, and once")
        if self.item_stage and isinstance(self.item_stage[0], Presize):
            self.bound = replace(preprocess.resize, size=self.item_stage[0].sides)
        if self.item_stage and isinstance(self.item_stage[0], RandomResizedCrop):
            if self.item_stage[0].sides != preprocess.resize.size:
                raise UsageError("RandomResizedCrop", got=self.item_stage[0].size,
                                 expected=f"the size of the bunch, {preprocess.resize.size}",
                                 fix="Create it with that size.")  # fmt: skip
            self.bound = Bounded(preprocess.resize.size)

    def staged(self, item_stage: Sequence[Any]) -> Self:
        """The same items with other transforms; what is kept of them stays if it is decoded alike."""
        other = copy.copy(self)
        other._set_stage(item_stage)
        other.store = self.store if other.bound == self.bound else None
        return other

    @property
    def has_files(self) -> bool:
        """Whether its images are files, whose changes can be noticed."""
        return not self.holds_images

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """(pixels (C, H, W), target), or (pixels,) without labels; never random."""
        pixels, *mask = self.load(index) if self.bound is None else self.decode(index, None)
        if mask:
            return hwc_to_chw(pixels), torch.from_numpy(np.array(mask[0]))
        return (hwc_to_chw(pixels),) if self.targets is None else (hwc_to_chw(pixels), self.targets[index])

    def batch(self, indices: Sequence[int], seed: int | None = None, epoch: int = 0) -> tuple[Tensor, ...]:
        """(pixels (N, C, H, W), targets), or (pixels,) without labels; with a seed, the item stage is applied.

        Pixels are contiguous.

        The random numbers of an item depend only on (seed, epoch, its index). So do those that a dataset of images
        draws from the global generators, which do not change.
        """
        with preserve_all_rng() if self.holds_images else nullcontext():
            return self._batch(indices, seed, epoch)

    def _batch(self, indices: Sequence[int], seed: int | None, epoch: int) -> tuple[Tensor, ...]:
        transforms = self.item_stage if seed is not None else []
        kept = self.store.rows(indices) if self.store is not None and not transforms and self.bound is None else None
        rows = None if kept is None else np.ascontiguousarray(np.moveaxis(kept, 3, 1))
        masks: npt.NDArray[Any] | None = None
        crop = transforms[0] if transforms and isinstance(transforms[0], RandomResizedCrop) else None
        draws = None if crop is None or seed is None else crop.draws(seed, epoch, indices)  # of all items at once
        if rows is None:
            for place, index in enumerate(indices):
                if self.holds_images and seed is not None:
                    seed_all(derive(seed, Stream.ITEM, epoch, index))
                if transforms and seed is not None:
                    pixels, *mask = self._augmented(index, seed, epoch, None if draws is None else draws[place])
                else:
                    pixels, *mask = self.load(index) if self.bound is None else self.decode(index, None)
                if rows is None:
                    height, width, channels = pixels.shape
                    rows = np.empty((len(indices), channels, height, width), dtype=pixels.dtype)
                    masks = np.empty((len(indices), *mask[0].shape), dtype=mask[0].dtype) if mask else None
                if pixels.dtype != rows.dtype:
                    raise DataError(
                        f"dtype of {self.names[index]}",
                        got=str(pixels.dtype),
                        expected=f"{rows.dtype}, as of the others",
                        fix=ONE_TYPE,
                    )
                for channel in range(pixels.shape[2]):  # twice as fast as moving the axis
                    rows[place, channel] = pixels[..., channel]
                if masks is not None:
                    masks[place] = mask[0]
        if rows is None:
            raise DataError("a batch without items", fix="The bunch has no items: learn.predict and test_dl_from do.")
        batch = torch.from_numpy(rows)
        if masks is not None:
            return batch, torch.from_numpy(masks)
        return (batch,) if self.targets is None else (batch, self.targets[torch.as_tensor(indices)])

    def keep(self, kind: Kind, splits: Iterable["ImageDataset"] = ()) -> None:
        """Decode all items once and keep them, in memory or on disk.

        Args:
            kind: "memory" or "disk".
            splits: all splits of the set, this one too, read alike: on disk they share a store, whichever item is in
                which of them; none for a store of this split alone.

        Raises:
            UsageError: an unknown kind, or a disk cache with a custom reader, or of images without files.
            ImageError: an image that cannot be read.
        """
        if kind != "disk":
            self.store = build_store(kind, len(self), lambda index: self.decode(index, self.bound), key="")
            return
        reads_masks = isinstance(self.task, Segmentation) and self.task.mask_reader is not None
        if self.preprocess.reader is not None or reads_masks:
            raise UsageError("cache='disk' cannot notice that a reader changed", fix="Use cache='memory'.")
        if not self.has_files or any(isinstance(one, HeldImage) for one in self.masks or ()):
            raise UsageError("cache='disk' is of files, and these images have none", fix="Use cache='memory'.")
        alike = [split for split in splits if (split.masks is None) == (self.masks is None)] or [self]
        homes = {pair: (split, i) for split in alike for i, pair in enumerate(split._pairs())}
        pairs = sorted(homes)

        def decode(place: int) -> tuple[npt.NDArray[Any], ...]:
            split, index = homes[pairs[place]]
            return split.decode(index, self.bound)

        reads = isinstance(self.task, Segmentation) and self.masks is not None
        files = chain.from_iterable(pairs) if reads else [pair[0] for pair in pairs]
        points = [pair[1:] for pair in pairs] if isinstance(self.task, Points) else None
        task = self.task if self.masks else None
        key = content_key(files, self.preprocess.without_normalize(), self.bound, task, points)
        store, places = build_store(kind, len(pairs), decode, key), {pair: i for i, pair in enumerate(pairs)}
        self.store = None if store is None else StorePart(store, [places[pair] for pair in self._pairs()])

    def _pairs(self) -> list[tuple[str, ...]]:
        """The file of each item, and that of its mask, or its key points, if there are any."""
        files = zip(self.inputs, self.masks, strict=True) if self.masks is not None else zip(self.inputs, strict=True)
        return [tuple(map(str, pair)) for pair in files]

    def view(self, index: int) -> View:
        """What is seen of an item without augmentation, by the size of its image."""
        return self.preprocess.view(self.inputs[index])

    def load(self, index: int) -> tuple[npt.NDArray[Any], ...]:
        """What `decode` returns, from the cache if there is one."""
        return self.decode(index, self.bound) if self.store is None else self.store[index]

    def decode(self, index: int, bound: Bounded | Resize | None) -> tuple[npt.NDArray[Any], ...]:
        """The image (H, W, C), and its mask (H, W) or its key points (P, 2) in [-1, 1] if there are any.

        Raises:
            ImageError: an image that cannot be read; the error names its file, class and row.
        """
        mask = None if self.masks is None else self.masks[index]
        label = "" if self.labels is None or self.masks is not None else f"class {self.labels[index]}, "
        where = f" ({label}row {self.rows[index]})"
        try:
            source = opened(self.inputs[index])
            where = where if source is self.inputs[index] else f", {self.names[index]}{where}"
            return self.preprocess.decode(source, mask, task=self.task, bound=bound, where=where)
        except MemoryError as error:
            raise ImageError(f"{self.names[index]}{where} does not fit in memory") from error

    def _augmented(
        self, index: int, seed: int, epoch: int, draw: Sequence[float] | None
    ) -> tuple[npt.NDArray[Any], ...]:
        pixels, *mask = self.load(index)
        first, *transforms = self.item_stage
        size = self.preprocess.resize.size
        if isinstance(first, RandomResizedCrop) and draw is not None:
            height, width = pixels.shape[:2]
            view = first.drawn_view(height, width, draw)
            pixels, mask = crop_and_resize(pixels, view), [self._cropped(one, view, height, width) for one in mask]
        elif isinstance(first, Presize):
            size = first.sides
        else:
            transforms = self.item_stage
        if not transforms:
            return (pixels, *mask)
        moving = moving_targets(self.task, torch.from_numpy(np.array(mask[0]))) if mask else None
        image = hwc_to_chw(pixels)
        for place, transform in enumerate(transforms):
            image, moving = apply_to_item(transform, image, moving, derive(seed, Stream.ITEM, epoch, index, place))
        pixels = image.permute(1, 2, 0).numpy()
        if pixels.shape[:2] != size:
            raise UsageError(
                f"augment: size of the images after {transforms}", got=pixels.shape[:2],
                expected=f"the size of {'Presize' if isinstance(first, Presize) else 'the bunch'}, {size}",
            )  # fmt: skip
        return (pixels,) if moving is None else (pixels, moving.values.numpy())

    def _cropped(self, target: npt.NDArray[Any], view: View, height: int, width: int) -> npt.NDArray[Any]:
        """The mask or the key points of an image of this size in a view of it."""
        if isinstance(self.task, Points):
            return visible(to_view(in_pixels(target, height, width), view)).astype(np.float32)
        return view.extract(target, nearest=True)


def _encode_all(task: Task, labels: Sequence[Any]) -> Tensor:
    """The targets of all labels (N, ...); equal labels are encoded once."""
    keys = [tuple(label) if isinstance(label, list) else label for label in labels]
    label_of = dict(zip(keys, labels, strict=True))
    place_of = {key: place for place, key in enumerate(label_of)}
    numbers = np.fromiter(map(place_of.__getitem__, keys), np.int64, len(keys))  # torch.tensor takes longer
    return torch.stack([task.encode(label) for label in label_of.values()])[torch.from_numpy(numbers)]
