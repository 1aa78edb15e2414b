"""A loader of a stream: batches of an IterableDataset."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, default_collate

from learnkit.checks import check_int
from learnkit.data.loading.targets import TargetCheck
from learnkit.data.loading.torch_loader import torch_loader
from learnkit.data.loading.whole_batches import Collate
from learnkit.data.loading.workers import supervised
from learnkit.device import on_device
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive

__all__ = ["StreamLoader"]


class StreamLoader:
    """Batches of an IterableDataset in the order it yields its items, on the device.

    Its length is that of the dataset, if it has one.

    Args:
        dataset: yields items.
        bs: items per batch.
        device: where batches go.
        num_workers: at most one process that reads items: each of several would read all of them.
        collate_fn: makes a batch of a list of items.
        check: is given every batch, and returns it as a tuple.
        drop_last: leave out a last short batch.

    Raises:
        UsageError: more than one worker.
    """

    def __init__(
        self,
        dataset: "IterableDataset[Any]",
        bs: int,
        device: torch.device,
        num_workers: int = 0,
        *,
        collate_fn: Callable[[Any], Any] = default_collate,
        check: TargetCheck,
        drop_last: bool = False,
    ) -> None:
        if check_int("num_workers", num_workers, 0) > 1:
            raise UsageError(
                "num_workers", got=num_workers, expected="0 or 1 for an IterableDataset, which each worker reads whole",
                fix="If yours shares its items among workers, pass DataLoaders to from_loaders.",
            )  # fmt: skip
        self.dataset: IterableDataset[Any] = dataset
        self.device: torch.device = device
        self.check: TargetCheck = check
        self.batch_size: int = check_int("bs", bs, 1)
        self._random = torch.Generator()
        self._loader = torch_loader(
            dataset,
            device,
            num_workers,
            self._random,
            batch_size=bs,
            drop_last=drop_last,
            collate_fn=Collate(collate_fn),
        )

    def __len__(self) -> int:
        return len(self._loader)  # TypeError for a dataset without a length, as for torch's loader

    def seed_epoch(self, seed: int, epoch: int) -> None:
        """The workers' seeds of the next iteration are those of this epoch of this seed."""
        self._random.manual_seed(derive(seed, Stream.ORDER, epoch, 1))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in on_device(supervised(self._loader), self.device):
            yield self.check(batch)
