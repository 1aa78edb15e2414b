"""What ends a fit from outside the model, said in words: a worker that died, memory that ran out, Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from learnkit.callbacks.recorder import Recorder
from learnkit.data.workers import worker_error
from learnkit.errors import OutOfMemory
from learnkit.training.state import TrainState

__all__ = ["explained"]


@contextmanager
def explained(state: TrainState, recorder: Recorder) -> Iterator[None]:
    """Run a fit; a worker that died, memory that ran out and Ctrl-C say what happened and what is left."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(
            f"fit interrupted at epoch {state.epoch}, batch {state.batch}, after {state.step} optimizer steps; "
            f"weights, optimizer and history ({len(recorder.rows)} epochs) are kept; the learner can be used"
        )
        raise
    except Exception as error:
        named = worker_error(error, state.train_dl, state.valid_dl) or _out_of_memory(error, state)
        if named is not None:
            raise named from error
        raise


def _out_of_memory(error: BaseException, state: TrainState) -> OutOfMemory | None:
    """Says how large the batch was; what the allocator keeps for later is given back, so that the next fit has it."""
    if not _is_out_of_memory(error):
        return None
    device = state.compute.device
    if device.type != "cpu" and hasattr(torch.get_device_module(device), "empty_cache"):
        torch.get_device_module(device).empty_cache()
    shapes = [tuple(x.shape) for x in state.inputs if isinstance(x, Tensor) and x.ndim]
    bs = shapes[0][0] if shapes else 0
    what = f"{bs} items of shape {', '.join(str(shape[1:]) for shape in shapes)}" if shapes else "this size"
    fix = (
        f"Make the data with bs={bs // 2} (and GradientAccumulation({bs}) for steps as large as before), or with a "
        "smaller size=."
    )
    return OutOfMemory(
        f"a batch of {what} does not fit into the memory of {device}, at epoch {state.epoch} batch {state.batch} "
        f"({(str(error) or type(error).__name__).splitlines()[0]})",
        fix=fix if bs > 1 else "Make the data with a smaller size=, or take a smaller model.",
    )


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's CPU allocator
