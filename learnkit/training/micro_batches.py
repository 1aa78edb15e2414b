"""Micro-batches: a batch that does not fit into memory is trained on in parts, with the step of the whole batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learnkit.data.loading.shares import Share
from learnkit.device_memory import empty_cache, is_out_of_memory
from learnkit.distributed.world import world
from learnkit.errors import warn
from learnkit.losses.reduction import divisor
from learnkit.metrics.accumulate import precise
from learnkit.seeds import Stream, derive
from learnkit.text import counted
from learnkit.training.processes import loss_of_all, weight_of_all
from learnkit.training.state import TrainState
from learnkit.tree import concatenate, count_items, cut, map_tensors

__all__ = ["run_micro_batches"]


def run_micro_batches(state: TrainState, forward_backward: Callable[[], None]) -> None:
    """Forward and backward pass of a batch, at most `compute.part` items at a time.

    Each part is weighted by what its mean is divided by (see `learnkit.losses.reduction`), and sums are added up, so
    the gradients, the loss and the outputs left in `state` are those of the whole batch. Running out of memory halves
    `compute.part` and restarts the batch. The parts of a sharded fit keep their size, and every process has as many.

    Args:
        state: holds the whole batch.
        forward_backward: the forward and backward pass of what is in `state`.

    Raises:
        Exception: the error of the device when not even a single item fits into memory, or in a sharded fit.
    """
    compute, whole = state.compute, (state.inputs, state.targets)
    n = count_items(state.targets, state.inputs)
    weight = divisor(state.loss_func, state.targets, state.inputs)
    share = state.share
    if share is not None:
        weight = weight_of_all(weight, share)
    total: Tensor | float = 1.0 if weight is None else weight
    if isinstance(total, Tensor):
        total = precise(total)
        total = total.clamp(min=torch.finfo(total.dtype).tiny)  # 0 if no target counts
    try:
        while True:
            size = min(compute.part or n, n)
            compute.batch_weight = total
            try:
                _run_each(state, forward_backward, whole, n, size, total)
                _run_beside(state, forward_backward, whole, n)
                if share is not None:
                    _put_together(state, share, n)
                return
            except Exception as error:
                if not is_out_of_memory(error) or size == 1 or state.whole is not None:
                    raise
            state.preds, state.loss = None, torch.zeros(())  # frees the graph
            compute.zero_grad(state.optimizer)
            empty_cache(compute.device)
            compute.part = (size + 1) // 2
            items = counted(n, "item")
            warn(f"a batch of {items} does not fit into memory; continuing with micro-batches of {compute.part}")
    finally:
        state.inputs, state.targets = whole
        compute.batch_weight = None


def _put_together(state: TrainState, share: Share, n: int) -> None:
    """The loss and the number of items of the batch of all processes."""
    state.loss = loss_of_all(state.loss, share)
    state.loss_value = None
    state.compute.n_gathered += share.total - n


def _run_each(
    state: TrainState,
    forward_backward: Callable[[], None],
    whole: tuple[tuple[Any, ...], Any],
    n: int,
    size: int,
    total: Tensor | float,
) -> None:
    loss: Any = 0.0
    preds = []
    inputs, targets = whole
    sizes = [min(size, n - start) for start in range(0, n, size)]
    for number, start in enumerate(range(0, n, size)):
        state.inputs = tuple(cut(x, start, start + size, n) for x in inputs)
        state.targets = cut(targets, start, start + size, n)
        # The first part has the random numbers of the whole batch, each of the others its own.
        first = state.epoch_seed + state.batch
        state.compute.reseed(derive(first, Stream.STEP, number) if number else first)
        forward_backward()
        part = divisor(state.loss_func, state.targets, state.inputs)
        loss = loss + (state.loss.detach() if part is None else state.loss.detach() * (part / total))
        preds.append(map_tensors(lambda part: part.detach().clone(), state.preds))  # the next part may overwrite them
    state.loss = loss.to(state.loss.dtype)
    state.loss_value = state.loss.item() if state.compute.sync_is_free else None
    state.preds = concatenate(preds, sizes)


def _run_beside(state: TrainState, forward_backward: Callable[[], None], whole: tuple[Any, Any], n: int) -> None:
    """Run passes that count nothing while other processes of a sharded fit have more parts, as all compute together."""
    share, compute = state.share, state.compute
    if state.whole is None or share is None or compute.part is None:
        return
    n_most = -(-share.total // world.size)
    n_missing = -(-n_most // compute.part) - -(-n // compute.part)
    if n_missing <= 0:
        return
    inputs, targets = whole
    kept = state.loss, state.preds, compute.n_gathered, compute.weight_gathered
    state.inputs, state.targets = tuple(cut(x, 0, 1, n) for x in inputs), cut(targets, 0, 1, n)
    state.share = share._replace(n=0)
    for _ in range(n_missing):
        forward_backward()
    state.share = share
    state.loss, state.preds, compute.n_gathered, compute.weight_gathered = kept
