"""bs="auto": the largest batch that fits into memory, found by training on larger and larger ones without a trace."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.callbacks.progress import announce
from learnkit.data.bunch import DataBunch
from learnkit.data.loading.batch_size import most_items
from learnkit.device_memory import (
    UNKNOWN,
    empty_cache,
    free_memory,
    is_out_of_memory,
    reset_peak_memory,
)
from learnkit.distributed.failures import told
from learnkit.distributed.world import world
from learnkit.learner.fitting import run_trial
from learnkit.training.callback import Callback
from learnkit.training.dry_run import dry_run
from learnkit.training.state import TrainState
from learnkit.tree import concatenate, cut, items_of_batch

__all__ = ["SMALL_LR", "settle_batch_size"]

SMALL_LR = 1e-7  # of a step that is forgotten
N_TRIED = 32  # batches, of which two make a step: float16 skips some at first
SHARE = 0.5  # of the free memory of a CPU: the system ends a process that takes all of it
MEASURED = (2, 4)  # items

TryOut = Callable[[int], None]  # trains on a batch of so many items; raises if it does not fit


def settle_batch_size(
    dls: DataBunch,
    parts: nn.Module,
    frozen: Iterable[nn.Parameter],
    stored: int | None,
    make_state: Callable[[list[Any]], TrainState],
    callbacks: Sequence[Callback],
) -> None:
    """Give data with bs="auto" its batch size: the one of a checkpoint, the one found before, or the largest that fits.

    A search trains all layer groups for two steps on each size, forgets them, and says what it found. Several processes
    take what fits in each of them.

    Args:
        dls: the data.
        parts: the model and the loss, which are as before afterwards.
        frozen: parameters that are frozen for now, and will be trained in a later fit.
        stored: the batch size of the checkpoint that the fit goes on from; None for none.
        make_state: returns the state of a run on these batches.
        callbacks: those of the fit; the ones that change how a batch is trained take part.

    Raises:
        OutOfMemoryError: not even a batch of one or two items fits.
        Exception: what the model raises for another reason.
    """
    if stored is not None:
        dls.take_found_batch_size(stored)
    if dls.batch_size_is != "due":
        return
    most, first = most_items(dls.train_dl.n_items) // world.size, max((dls.batch_size or 1) // world.size, 1)
    with told(lambda: "the search for a batch size"):
        with world.alone(), dry_run(parts, dls.train_dl), _trained(frozen):
            size = _search(dls, parts, most, make_state, callbacks) or first
        dls.take_found_batch_size(-world.highest(-size) * world.size)
    if world.is_first:
        announce(f"bs='auto': batches of {dls.batch_size} items")


def _search(
    dls: DataBunch,
    parts: nn.Module,
    most: int,
    make_state: Callable[[list[Any]], TrainState],
    callbacks: Sequence[Callback],
) -> int | None:
    """The largest size for one process, a power of two that is not above `most`; None if memory is not known."""
    batch = dls.one_batch("fix")
    n = items_of_batch(batch)
    fails = is_an_error(dls.device)

    def try_out(n_items: int) -> None:
        run_trial(make_state([_repeated(batch, n, n_items)] * N_TRIED), callbacks, 2 if fails else 1)

    sizes = [2**power for power in range(1, most.bit_length())]
    smallest = 2 if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in parts.modules()) else 1
    try:
        if fails:
            return largest_that_fits(try_out, sizes, smallest)
        return within_budget(try_out, sizes, smallest, parts, free_memory() // world.local_size)
    finally:
        empty_cache(dls.device)
        reset_peak_memory(dls.device)


def is_an_error(device: torch.device) -> bool:
    """Whether a device that runs out of memory says so; on the CPU the system ends the process."""
    return device.type != "cpu"


def largest_that_fits(try_out: TryOut, sizes: Sequence[int], smallest: int) -> int:
    """The last size before the first that does not fit, where an eighth more items must fit too.

    Args:
        try_out: trains on a batch of so many items.
        sizes: from small to large.
        smallest: returned if it fits and none of the sizes does.

    Raises:
        Exception: what `try_out` raises for `smallest`; for other sizes, what is not for lack of memory.
    """
    found = 0
    for size in sizes:
        if not _fits(try_out, size + max(size // 8, 1)):
            break
        found = size
    if not found:
        try_out(smallest)
    return found or smallest


def within_budget(try_out: TryOut, sizes: Sequence[int], smallest: int, parts: nn.Module, free: int) -> int | None:
    """The largest size that takes at most half of the free memory; None if that is not known.

    What a size takes is what autograd keeps of an item for the backward pass, counted on two small batches; as much
    again for what is computed beside it; and gradients and the optimizer.

    Args:
        try_out: trains on a batch of so many items.
        sizes: from small to large.
        smallest: returned if none of the sizes is within the budget.
        parts: the model and the loss.
        free: bytes.
    """
    if free >= UNKNOWN // 2:
        return None
    few, more = MEASURED
    at_first = _kept_for_backward(parts, lambda: try_out(few))
    each = max(_kept_for_backward(parts, lambda: try_out(more)) - at_first, 0) / (more - few)
    once = max(at_first - few * each, 0) + 3 * sum(parameter.nbytes for parameter in parts.parameters())
    return max((size for size in sizes if once + 2 * each * size <= free * SHARE), default=smallest)


def _kept_for_backward(parts: nn.Module, run: Callable[[], None]) -> int:
    """The bytes that autograd keeps in a step, without those of parameters and buffers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*parts.parameters(), *parts.buffers())}
    kept: dict[int, int] = {}  # by address

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def _fits(try_out: TryOut, n_items: int) -> bool:
    try:
        try_out(n_items)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _repeated(batch: tuple[Any, ...], n: int, n_items: int) -> tuple[Any, ...]:
    """A batch of `n_items`, from one of `n`."""
    whole, rest = divmod(n_items, n)
    pieces = [batch] * whole + ([cut(batch, 0, rest, n)] if rest else [])
    sizes = [n] * whole + ([rest] if rest else [])
    repeated: tuple[Any, ...] = pieces[0] if len(pieces) == 1 else concatenate(pieces, sizes)
    return repeated


@contextmanager
def _trained(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let these require gradients inside, and none of them afterwards."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
