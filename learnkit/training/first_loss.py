"""The first loss of a fit and of a validation: computed under watch, so that what cannot work is refused at once."""

from typing import Any

from torch import Tensor

from learnkit.device_memory import is_out_of_memory
from learnkit.errors import LearnkitError, UsageError
from learnkit.losses.broadcasting import no_broadcasting
from learnkit.losses.outputs import names_of, output_to_pass, takes_one_output
from learnkit.text import name_of
from learnkit.training.nan_guard import as_loss
from learnkit.training.state import TrainState

__all__ = ["first_loss"]


def first_loss(state: TrainState) -> Tensor:
    """The loss of the first batch.

    Raises:
        UsageError: several outputs for a loss of one, outputs and targets that would be broadcast or that a loss of
            torch refuses, or what `as_loss` refuses.
    """
    name = name_of(state.loss_func)
    if not isinstance(state.preds, Tensor) and takes_one_output(state.loss_func):
        raise UsageError(
            f"the model returns {names_of(state.preds)}, and {name} takes one tensor",
            fix=f"Pass the learner {output_to_pass(state.preds)}, the one to use, or a loss_func of all of them.",
        )
    hint = "Compare targets.view_as(outputs), as learnkit.losses.MSELossFlat() and L1LossFlat() do."
    try:
        with no_broadcasting(name, state.preds, state.targets, hint):
            return as_loss(state.loss_func(state.preds, state.targets))
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        if isinstance(error, LearnkitError) or is_out_of_memory(error):
            raise
        got = f"outputs {_kind(state.preds)}, targets {_kind(state.targets)}"
        if not takes_one_output(state.loss_func):  # a user's own loss fails at its own line
            error.add_note(f"{name} got {got}")
            raise
        fix = f"Make the targets as {name} takes them, in shape, type and range."
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise UsageError(f"{name}: {reason}", got=got, fix=fix) from error


def _kind(tree: Any) -> str:
    """The shape and type of a tensor, the kind of anything else."""
    return f"{tuple(tree.shape)} {tree.dtype}" if isinstance(tree, Tensor) else names_of(tree)
