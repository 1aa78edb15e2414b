"""Batches: those of an epoch in their order, and a batch's inputs and targets."""

import inspect
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import nn

from learnkit.data.loading.batch_parts import parts_of
from learnkit.data.loading.shares import Share, shares
from learnkit.distributed.world import world
from learnkit.errors import DataError, warn
from learnkit.seeds import Stream, derive
from learnkit.training.snapshot import is_stateful
from learnkit.training.state import TrainState
from learnkit.tree import items_of_batch

__all__ = ["batches_of_epoch", "split_batch"]


def batches_of_epoch(state: TrainState, start: int = 0) -> Iterator[Any]:
    """The training batches, their order fixed by (seed, epoch); a last batch of one item is dropped before batch norm.

    In several processes, this one's share of each, see `learnkit.data.loading.shares`.

    Args:
        state: state of the fit.
        start: skip this many batches. learnkit's loaders do not read them, a stateful loader has skipped them when its
            state was loaded, and those of other loaders are read and dropped.
    """
    epoch, loader = state.epoch_offset + state.epoch, state.train_dl
    n_read = 0 if is_stateful(loader) else start
    if seed_epoch := getattr(loader, "seed_epoch", None):
        if start and "start" in inspect.signature(seed_epoch).parameters:
            seed_epoch(state.seed, epoch, start)
            n_read = 0
        else:
            seed_epoch(state.seed, epoch)
    elif set_epoch := getattr(getattr(loader, "sampler", None), "set_epoch", None):
        set_epoch(epoch)  # torch's DistributedSampler and the like
    state.compute.reseed(derive(state.seed, Stream.ORDER, epoch))  # for a loader that draws its order globally
    batches = iter(loader) if world.size == 1 else shares(loader)
    for _ in islice(batches, n_read):
        pass
    trainable, limit = _trainable(state, batches, start), state.limits.max_batches
    return trainable if limit is None else islice(trainable, max(limit - start, 0))


def _trainable(state: TrainState, batches: Iterator[Any], start: int) -> Iterator[Any]:
    norms = [module for module in state.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    is_shared = all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)  # over the items of all processes
    size = (getattr(state.train_dl, "batch_size", None) or 2) if start else 0  # of the previous batch
    is_empty = not start
    for batch in batches:
        is_empty = False
        before, size = size, _size(batch, of_all=is_shared) if norms else 0
        if size == 1 and before > 1:
            if state.epoch == 0:
                n = batch.total if isinstance(batch, Share) else 1
                which = "one item" if n == 1 else f"{n} items, one of them in a process,"
                warn(f"the last batch holds {which} and is dropped: batch norm cannot train on it")
            continue
        yield batch
    if is_empty:
        raise DataError("train_dl yielded no batches", fix="Check the training set, and drop_last against its size.")


def _size(batch: Any, *, of_all: bool) -> int:
    """The number of items; in several processes, of all or of the smallest share, at least 1."""
    if not isinstance(batch, Share):
        return items_of_batch(batch)
    return batch.total if of_all else max(batch.total // world.size, 1)


def split_batch(batch: Any, part: str) -> tuple[tuple[Any, ...], Any]:
    """The inputs and the target of a batch: the last entry is the target, the others are the model's inputs.

    Raises:
        DataError: a batch without a target, or one with named entries.
    """
    parts = parts_of(batch, f" of the {part} loader")
    if len(parts) > 1:
        return parts[:-1], parts[-1]
    kind = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
    raise DataError(
        f"a batch of the {part} loader is a {kind}", expected="a tuple (inputs..., targets)",
        fix="This part of the data needs labels.",
    )  # fmt: skip
