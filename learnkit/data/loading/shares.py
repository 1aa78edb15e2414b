"""This process's share of each batch, of several processes that train together; of every loader.

The batches are those of one process: their order is drawn as there, and each is cut into pieces that differ by one item
at most. So results do not depend on the number of processes, and none gets an item twice.
"""

import zlib
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from learnkit.data.loading.loaders import OrderedLoader
from learnkit.data.loading.sampler import own_rows
from learnkit.distributed.world import span, world
from learnkit.errors import DataError, UsageError, warn
from learnkit.tree import cut, items_of_batch, leaves

__all__ = ["Share", "shares"]


class Share(NamedTuple):
    """A process's part of a batch.

    Attributes:
        batch: its items, at least one.
        start: the place of the first of them in the set, in the order of the loader.
        n: how many of them count: 0 for an item of another process, which only keeps this one in step.
        total: items of all processes.
    """

    batch: Any
    start: int
    n: int
    total: int


def shares(loader: Any, limit: int | None = None) -> Iterator[Share]:
    """This process's share of every batch, so that all processes get equally many.

    Args:
        loader: learnkit's loaders and torch's over a map-style dataset read only the share; of others each process
            reads everything.
        limit: the number of batches to read; None for all.

    Raises:
        UsageError: a loader that is shared out already, in a way that repeats or leaves out items, or whose first batch
            is another one in other processes.
    """
    found = _shares(loader)
    return found if limit is None else islice(found, limit)


def _shares(loader: Any) -> Iterator[Share]:
    if isinstance(loader, OrderedLoader):
        return _of_ordered(loader)
    if type(loader).__module__.partition(".")[0] == "litdata":
        raise UsageError(
            "litdata's loader shares its items out itself, each process another number of them",
            fix="Pass the stream to ImageDataBunch.from_stream, or train in one process.",
        )
    if isinstance(loader, DataLoader):
        if isinstance(loader.sampler, DistributedSampler):
            raise UsageError(
                "a loader with a DistributedSampler shares its items out itself, and repeats or leaves out some",
                fix="Pass one with a plain sampler, or shuffle=: learnkit shares out its batches.",
            )
        is_map = loader.batch_sampler is not None and not isinstance(loader.dataset, IterableDataset)
        if is_map and type(loader).__iter__ is DataLoader.__iter__:
            return _of_torch(loader)
    return _of_any(loader)


def _of_ordered(loader: OrderedLoader) -> Iterator[Share]:
    if loader.order.shuffle and loader.batch_size < world.size:
        raise UsageError(
            f"bs={loader.batch_size} is the batch of all processes together, and there are {world.size}",
            expected=f"bs={world.size} or more",
        )
    loader.order.share(world.rank, world.size)
    at = size = rest = 0
    for batch in loader:  # type: ignore[attr-defined]
        if not size:  # now the order knows where it starts
            size = loader.batch_size
            rest = loader.n_items - loader.order.start * size
        total = min(size, rest - at)
        yield _share(batch, at, total)
        at += total


def _share(batch: Any, at: int, total: int) -> Share:
    start, stop = span(total, world.rank, world.size)
    return Share(batch, at + start, stop - start, total)


class _Cut:
    """Cuts the batches of a sampler, and notes how many items each had, and the first one."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.sizes: deque[int] = deque()
        self.first = 0

    def __iter__(self) -> Iterator[list[Any]]:
        self.sizes.clear()
        for place, numbers in enumerate(self.sampler):
            whole = list(numbers)
            if not place:
                self.first = _mark_of_items(whole)
            self.sizes.append(len(whole))
            yield whole[own_rows(len(whole), world.rank, world.size)]

    def __len__(self) -> int:
        return len(self.sampler)


_OWN: "WeakKeyDictionary[DataLoader[Any], DataLoader[Any]]" = WeakKeyDictionary()  # of those whose workers persist


def _of_torch(loader: "DataLoader[Any]") -> Iterator[Share]:
    own = _OWN.get(loader) or _cutting(loader)
    if loader.persistent_workers:
        _OWN[loader] = own
    sampler: Any = own.batch_sampler
    at = 0
    for batch in own:
        total = sampler.sizes.popleft()
        if not at:
            world.check_same(
                {"the size of the first batch": total, "the order of the items (as a hash)": sampler.first}
            )
        yield _share(batch, at, total)
        at += total


def _cutting(loader: "DataLoader[Any]") -> "DataLoader[Any]":
    """A loader of the same items, its batches cut."""
    return DataLoader(
        loader.dataset, batch_sampler=_Cut(loader.batch_sampler), num_workers=loader.num_workers,
        collate_fn=loader.collate_fn, pin_memory=loader.pin_memory, timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn, multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator, prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )  # fmt: skip


def _mark_of_items(numbers: list[Any]) -> int:
    """A hash of what a sampler has drawn; 0 for objects without a text of their own."""
    if not all(isinstance(number, int | str | np.integer | Tensor) for number in numbers):
        return 0
    return zlib.crc32(" ".join(map(str, numbers)).encode())


_TOLD: set[type] = set()


def _of_any(loader: Any) -> Iterator[Share]:
    if type(loader) not in _TOLD:
        _TOLD.add(type(loader))
        name = type(loader).__name__
        warn(f"every process reads all of a {name}, and keeps its share; torch's DataLoader of a map-style set is cut")
    at = 0
    for batch in loader:
        if not (total := items_of_batch(batch)):
            raise DataError("a batch without items", fix="Leave it out.")
        if not at:
            world.check_same(
                {
                    "the size of the first batch": total,
                    "the targets of the first batch (as a hash)": _mark_of_targets(batch),
                }
            )
        yield _share(_cut(batch, own_rows(total, world.rank, world.size), total), at, total)
        at += total


def _cut(batch: Any, rows: slice, total: int) -> Any:
    if isinstance(batch, tuple | list):
        return tuple(cut(part, rows.start, rows.stop, total) for part in batch)
    return cut(batch, rows.start, rows.stop, total)


def _mark_of_targets(batch: Any) -> int:
    """A hash of the targets of a batch; 0 without any. Inputs may be drawn, as augmentation is."""
    mark = 0
    for leaf in leaves(batch[-1]) if isinstance(batch, tuple | list) and len(batch) > 1 else ():
        if isinstance(leaf, Tensor) and leaf.numel():
            mark = zlib.crc32(leaf.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes(), mark)
    return mark
