"""Loaders: batches as the model sees them, in an order that is a function of (seed, epoch)."""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from learnkit.data.augment import Augmentation
from learnkit.data.datasets import ImageDataset
from learnkit.data.transforms import Preprocess
from learnkit.device import copies_from_pinned, to_device
from learnkit.errors import DataError, LearnkitWarning, UsageError
from learnkit.seeds import Stream, derive, generator

__all__ = [
    "BatchOrder",
    "DatasetLoader",
    "ImageLoader",
    "TensorLoader",
    "check_batch_size",
    "default_workers",
]

FEW_IMAGES = 1000  # below this, starting workers takes longer than they save


def check_batch_size(bs: Any, n_train: int) -> int:
    """The batch size, no larger than the training set.

    Raises:
        UsageError: not a whole number above 0.
    """
    if isinstance(bs, bool) or not isinstance(bs, int) or bs < 1:
        raise UsageError("bs", got=bs, expected="a whole number of items, 1 or more")
    if n_train == 0:
        raise DataError("the training set is empty", fix="Give it at least one item.")
    if bs > n_train:
        warnings.warn(
            f"bs={bs} is more than the {n_train} training items; bs={n_train} is used", LearnkitWarning, stacklevel=4
        )
    return min(bs, n_train)


def default_workers(n_train: int, device: torch.device) -> int:
    """How many processes read images: none for few, half the cores where the CPU trains, all (at most 8) elsewhere."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_train < FEW_IMAGES:
        return 0
    return min(8, cpus // 2 if device.type == "cpu" else cpus)


class BatchOrder(Sampler[list[int]]):
    """Which items make which batch: in order, or shuffled by (seed, epoch) with the last short batch left out.

    Without `seed_epoch`, every iteration takes the next epoch of the order's own seed.
    """

    def __init__(self, n_items: int, batch_size: int, *, shuffle: bool, seed: int = 0) -> None:
        self.n_items = n_items
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = -1
        self._is_set = False

    def __len__(self) -> int:
        return self.n_items // self.batch_size if self.shuffle else -(-self.n_items // self.batch_size)

    def seed_epoch(self, seed: int, epoch: int) -> None:
        """The next iteration is this epoch of this seed."""
        self.seed, self.epoch, self._is_set = seed, epoch, True

    def begin(self) -> tuple[Tensor, ...]:
        """The item numbers of each batch of the epoch that begins now."""
        if not self._is_set:
            self.epoch += 1
        self._is_set = False
        if not self.shuffle:
            return torch.split(torch.arange(self.n_items), self.batch_size)
        order = torch.randperm(self.n_items, generator=generator(self.seed, Stream.ORDER, self.epoch))
        return torch.split(order, self.batch_size)[: len(self)]

    def __iter__(self) -> Iterator[list[int]]:
        for numbers in self.begin():
            yield numbers.tolist()


class TensorLoader:
    """Batches cut straight out of tensors in memory; the tensors are on the device already.

    Args:
        tensors: (x, y), or (x,) without labels; equal first dimensions.
        order: which rows make which batch.
    """

    def __init__(self, tensors: tuple[Tensor, ...], order: BatchOrder) -> None:
        self.tensors = tensors
        self.order = order
        self.dataset = torch.utils.data.TensorDataset(*tensors)
        self.batch_size = order.batch_size
        self.n_items = order.n_items

    def __len__(self) -> int:
        return len(self.order)

    def seed_epoch(self, seed: int, epoch: int) -> None:
        """The next iteration is this epoch of this seed."""
        self.order.seed_epoch(seed, epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if not self.order.shuffle:
            for parts in zip(*(torch.split(tensor, self.batch_size) for tensor in self.tensors), strict=True):
                yield tuple(part.clone() for part in parts)  # a model may write into its input
            return
        device = self.tensors[0].device
        for numbers in self.order.begin():
            rows = numbers.to(device, non_blocking=True)
            yield tuple(tensor[rows] for tensor in self.tensors)


class DatasetLoader:
    """Batches of any map-style dataset, on the device."""

    def __init__(self, dataset: Dataset[Any], order: BatchOrder, device: torch.device, num_workers: int = 0) -> None:
        self.dataset = dataset
        self.order = order
        self.device = device
        self.batch_size = order.batch_size
        self.n_items = order.n_items
        self._random = torch.Generator()  # for the workers' seeds, so that the global generator stays out of it
        self._loader = DataLoader(
            dataset,
            batch_sampler=order,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=copies_from_pinned(device),
            generator=self._random,
        )

    def __len__(self) -> int:
        return len(self.order)

    def seed_epoch(self, seed: int, epoch: int) -> None:
        """The next iteration is this epoch of this seed."""
        self.order.seed_epoch(seed, epoch)
        self._random.manual_seed(derive(seed, Stream.ORDER, epoch, 1))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self._loader:
            yield tuple(to_device(batch, self.device))


class _Numbered(Dataset[tuple[Any, ...]]):
    """A dataset whose items carry their number, which augmentation needs."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return (index, *self.dataset[index])


class ImageLoader:
    """Images decoded to uint8 by the workers; on the device augmented as a batch (when training) and normalised."""

    def __init__(
        self,
        dataset: ImageDataset,
        order: BatchOrder,
        device: torch.device,
        *,
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.augmentation = augmentation
        self.device = device
        self.batch_size = order.batch_size
        self.n_items = order.n_items
        self.order = order
        self._loader = DatasetLoader(_Numbered(dataset), order, device, num_workers)

    def __len__(self) -> int:
        return len(self.order)

    def seed_epoch(self, seed: int, epoch: int) -> None:
        """The next iteration is this epoch of this seed."""
        self._loader.seed_epoch(seed, epoch)

    @property
    def preprocess(self) -> Preprocess:
        """What the images go through, but for augmentation."""
        return self.dataset.preprocess

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for numbers, pixels, *targets in self._loader:
            x = self.preprocess.scale(pixels)
            if self.augmentation is not None:
                x = self.augmentation(x, self.order.seed, self.order.epoch, numbers.cpu())
            yield (x if self.preprocess.normalize is None else self.preprocess.normalize(x), *targets)
