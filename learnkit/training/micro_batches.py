"""A batch that memory does not hold at once, learnt from in parts: the step is that of the whole batch."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from learnkit.device_memory import empty_cache, is_out_of_memory
from learnkit.errors import warn
from learnkit.seeds import Stream, derive
from learnkit.training.state import TrainState

__all__ = ["count_items", "cut", "learn_in_parts"]


def count_items(batch: Any) -> int:
    """How many items there are, by the first entry of a batch, or of its inputs."""
    first = batch[0] if isinstance(batch, tuple | list) and len(batch) else batch
    if isinstance(first, Mapping):
        first = next(iter(first.values()), ())
    return len(first) if hasattr(first, "__len__") else 1


def cut(values: Any, start: int, stop: int, n: int) -> Any:
    """Items `start` to `stop` of inputs or targets of n items; what does not have one entry an item stays as it is.

    >>> cut((torch.arange(4), {"names": list("abcd"), "scale": 2.0}), 1, 3, 4)
    (tensor([1, 2]), {'names': ['b', 'c'], 'scale': 2.0})
    """
    if isinstance(values, Tensor):
        return values[start:stop] if values.ndim and len(values) == n else values
    if isinstance(values, Mapping):
        return {key: cut(value, start, stop, n) for key, value in values.items()}
    if isinstance(values, tuple) and hasattr(values, "_fields"):  # a named tuple
        return type(values)(*(cut(value, start, stop, n) for value in values))
    if isinstance(values, tuple | list):
        are_columns = any(isinstance(value, Tensor) and value.shape[:1] == (n,) for value in values)
        if isinstance(values, list) and len(values) == n and not are_columns:
            return values[start:stop]
        return type(values)([cut(value, start, stop, n) for value in values])
    return values


def learn_in_parts(state: TrainState, learn: Callable[[], None]) -> None:
    """Forward and backward of a batch, at most `compute.part` items at a time.

    Each part counts by its items, so that the gradients, the loss and the outputs left in `state` are those of the
    whole batch. Memory that runs out halves `compute.part`, and the batch is begun again.

    Args:
        state: with the whole batch in it.
        learn: forward and backward of what is in `state`.

    Raises:
        Exception: what memory that runs out for a single item raises.
    """
    compute, whole = state.compute, (state.inputs, state.targets)
    n = count_items(state.inputs)
    try:
        while True:
            size = min(compute.part or n, n)
            compute.accumulate = n
            try:
                return _learn_each(state, learn, whole, n, size)
            except Exception as error:
                if not is_out_of_memory(error) or size == 1:
                    raise
            state.preds, state.loss = None, torch.zeros(())  # and the graph behind them is gone
            compute.zero_grad(state.optimizer)
            empty_cache(compute.device)
            compute.part = (size + 1) // 2
            warn(f"a batch of {n} items does not fit into memory: it is learnt from in parts of {compute.part}")
    finally:
        state.inputs, state.targets = whole
        compute.accumulate = None


def _learn_each(state: TrainState, learn: Callable[[], None], whole: tuple[Any, Any], n: int, size: int) -> None:
    loss, preds = torch.zeros((), device=state.compute.device), []
    for number, start in enumerate(range(0, n, size)):
        state.inputs, state.targets = (cut(values, start, start + size, n) for values in whole)
        # The first draws what a whole batch would; the others something else.
        first = state.epoch_seed + state.batch
        state.compute.reseed(derive(first, Stream.STEP, number) if number else first)
        learn()
        loss += state.loss.detach() * (count_items(state.inputs) / n)
        preds.append(state.preds.detach() if isinstance(state.preds, Tensor) else state.preds)
    state.loss = loss
    state.loss_value = loss.item() if state.compute.sync_is_free else None
    state.preds = torch.cat(preds) if all(isinstance(part, Tensor) for part in preds) else preds
