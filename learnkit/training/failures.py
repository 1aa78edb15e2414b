"""Translates low-level failures of a fit (a dead worker, running out of memory, Ctrl-C) into actionable errors."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from learnkit.data.loading.workers import worker_error
from learnkit.device_memory import empty_cache, is_out_of_memory
from learnkit.distributed.failures import told
from learnkit.errors import OutOfMemoryError, UsageError
from learnkit.text import name_of
from learnkit.training.state import TrainState

__all__ = ["explained", "interrupts_noted"]


@contextmanager
def interrupts_noted(state: TrainState, n_recorded: Callable[[], int]) -> Iterator[None]:
    """Run a fit; a note on Ctrl-C reports where it was and what is kept.

    Args:
        state: state of the fit.
        n_recorded: returns the number of epochs in the history.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        kept = "" if state.kept_step is not None else "weights, optimizer and "
        interrupt.add_note(
            f"fit interrupted at epoch {state.epoch}, batch {state.batch}, after {state.step} optimizer steps; "
            f"{kept}history ({n_recorded()} epochs) are kept; the learner can be used"
        )
        raise


@contextmanager
def explained(state: TrainState) -> Iterator[None]:
    """Train; a dead worker, running out of memory and a batch of one item before batch norm get an actionable error.

    So do sparse gradients for an optimizer of dense ones, and the reverse.
    A shape that does not fit gets a note with that of the batch.
    """
    try:
        with told(lambda: f"epoch {state.epoch}, batch {state.batch}"):
            yield
    except Exception as error:
        named = (
            worker_error(error, state.train_dl, state.valid_dl)
            or _out_of_memory(error, state)
            or _lone_item(error)
            or _other_gradients(error, state)
        )
        if named is not None:
            try:
                raise named from error
            finally:
                del named  # its traceback holds this frame: a cycle would keep the model alive
        _note_shapes(error, state)
        raise


def _out_of_memory(error: BaseException, state: TrainState) -> OutOfMemoryError | None:
    """Names the size of the batch; returns the allocator's cache to the device for the next fit."""
    if not is_out_of_memory(error):
        return None
    device = state.compute.device
    empty_cache(device)
    shapes = [tuple(x.shape) for x in state.inputs if isinstance(x, Tensor) and x.ndim]
    own = shapes[0][0] if shapes else 0
    bs = own if state.share is None else state.share.total  # of all processes
    what = f"{own} items of shape {', '.join(str(shape[1:]) for shape in shapes)}" if shapes else "this size"
    fix = (
        f"Make the data with bs={bs // 2} (and GradientAccumulation({bs}) to keep the size of a step) or with a "
        "smaller size=, or add the callback MicroBatches()."
    )
    return OutOfMemoryError(
        f"a batch of {what} does not fit into the memory of {device}, at epoch {state.epoch} batch {state.batch} "
        f"({(str(error) or type(error).__name__).splitlines()[0]})",
        fix=fix if bs > 1 else "Make the data with a smaller size=, or use a smaller model.",
    )


def _note_shapes(error: Exception, state: TrainState) -> None:
    """torch's error for a layer that does not fit reports the layer's shapes, not the batch's."""
    shapes = [str(tuple(x.shape)) for x in state.inputs if isinstance(x, Tensor)]
    has_note = bool(getattr(error, "__notes__", ()))  # of the model's input
    words = ("shape", "size", "channels")
    if shapes and not has_note and isinstance(error, RuntimeError) and any(word in str(error) for word in words):
        error.add_note(f"The inputs of epoch {state.epoch}, batch {state.batch}: shape {', '.join(shapes)}.")


def _lone_item(error: BaseException) -> UsageError | None:
    """torch's error for batch norm reports a shape, not what to do."""
    if not isinstance(error, ValueError) or "more than 1 value per channel when training" not in str(error):
        return None
    return UsageError(
        f"batch norm cannot train on a batch of one item ({error})",
        fix="Use bs=2 or more, or a norm that normalizes each item separately, such as nn.GroupNorm.",
    )


def _other_gradients(error: BaseException, state: TrainState) -> UsageError | None:
    """torch's errors for sparse and dense gradients are those of the first step."""
    found = re.search(r"does not support (sparse|dense) gradients", str(error))
    if not isinstance(error, RuntimeError) or found is None:
        return None
    is_sparse = found[1] == "sparse"
    return UsageError(
        f"opt_func: {name_of(state.optimizer)} cannot step with {found[1]} gradients, which this model has",
        fix="Make its embeddings with sparse=False, or use 'sgd' without fused steps." if is_sparse else "Use 'adam'.",
    )
