"""Which items make which batch, and datasets asked for a batch with the coordinates that its randomness is drawn by."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from learnkit.data.image.dataset import ImageDataset
from learnkit.data.loading.weights import Sampling
from learnkit.seeds import Stream, derive, generator, preserve_all_rng, seed_all

__all__ = ["BatchOrder", "Draw", "DrawnOrder", "SeededItems", "WholeBatches", "identity_collate"]


class BatchOrder(Sampler[list[int]]):
    """Which items make which batch: in order, or drawn by (seed, epoch) with the last short batch left out.

    Without `seed_epoch`, every iteration takes the next epoch of the order's own seed.

    Args:
        n_items: how many there are.
        batch_size: items in a batch.
        shuffle: draw them anew in each epoch.
        seed: of the draw.
        sampling: how often which item is drawn; None for each once.
        changes: items are changed at random, as in training; None for where they are shuffled.
    """

    def __init__(
        self,
        n_items: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        sampling: Sampling | None = None,
        changes: bool | None = None,
    ) -> None:
        self.n_items = n_items
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.changes = shuffle if changes is None else changes
        self.seed = seed
        self.sampling = sampling
        self.epoch = -1
        self.start = 0
        self._is_set = False

    def __len__(self) -> int:
        return self.n_items // self.batch_size if self.shuffle else -(-self.n_items // self.batch_size)

    def seed_epoch(self, seed: int, epoch: int, start: int = 0) -> None:
        """The next iteration is this epoch of this seed, from batch `start` on."""
        self.seed, self.epoch, self.start, self._is_set = seed, epoch, start, True

    def begin(self) -> tuple[Tensor, ...]:
        """The item numbers of each batch of the epoch that begins now."""
        if not self._is_set:
            self.epoch, self.start = self.epoch + 1, 0
        self._is_set = False
        if not self.shuffle:
            return torch.split(torch.arange(self.n_items), self.batch_size)[self.start :]
        random = generator(self.seed, Stream.ORDER, self.epoch)
        draw = torch.randperm(self.n_items, generator=random) if self.sampling is None else self.sampling(random)
        return torch.split(draw, self.batch_size)[self.start : len(self)]

    def __iter__(self) -> Iterator[list[int]]:
        for numbers in self.begin():
            yield numbers.tolist()


class Draw(NamedTuple):
    """The items of a batch, and the coordinates that what is random in them is drawn by."""

    numbers: list[int]
    seed: int
    epoch: int
    is_training: bool


class DrawnOrder(Sampler[Any]):
    """An order whose batches carry their coordinates: a worker that lives for many epochs knows no epoch of its own."""

    def __init__(self, order: BatchOrder) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Draw]:
        for numbers in self.order:
            yield Draw(numbers, self.order.seed, self.order.epoch, self.order.changes)


class WholeBatches(Dataset[Any]):
    """An image dataset asked for a batch at a time."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getitems__(self, draw: Draw) -> tuple[Draw, tuple[Tensor, ...]]:
        return draw, self.dataset.batch(draw.numbers, draw.seed if draw.is_training else None, draw.epoch)


class SeededItems(Dataset[Any]):
    """Any dataset, whose training items draw from Python's, NumPy's and torch's global generators by their coordinates.

    So an item that is augmented with any library is the same for any number of workers and after a restart, and the
    caller's generators are not moved.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getitems__(self, draw: Draw) -> Any:
        with preserve_all_rng():
            if hasattr(self.dataset, "__getitems__"):
                seed_all(derive(draw.seed, Stream.ITEM, draw.epoch, draw.numbers[0]))
                return self.dataset.__getitems__(draw.numbers)
            return [self._item(number, draw) for number in draw.numbers]

    def _item(self, number: int, draw: Draw) -> Any:
        if draw.is_training:
            seed_all(derive(draw.seed, Stream.ITEM, draw.epoch, number))
        return self.dataset[number]


def identity_collate(batch: Any) -> Any:
    """What stands for torch's collation where a dataset gives whole batches."""
    return batch
