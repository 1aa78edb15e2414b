"""The first loss of a fit and of a validation: computed under watch, so that what cannot work is refused at once."""

from torch import Tensor

from learnkit.errors import UsageError
from learnkit.losses.broadcasting import no_broadcasting
from learnkit.losses.failures import check_rows, loss_explained
from learnkit.losses.outputs import names_of, output_to_pass, takes_one_output
from learnkit.text import name_of
from learnkit.training.nan_guard import as_loss
from learnkit.training.state import TrainState

__all__ = ["first_loss"]


def first_loss(state: TrainState) -> Tensor:
    """The loss of the first batch.

    Raises:
        DataError: the target of one item.
        UsageError: several outputs for a loss of one, outputs and targets that would be broadcast or that a loss of
            torch refuses, or what `as_loss` refuses.
    """
    name = name_of(state.loss_func)
    if not isinstance(state.preds, Tensor) and takes_one_output(state.loss_func):
        raise UsageError(
            f"the model returns {names_of(state.preds)}, and {name} takes one tensor",
            fix=f"Pass the learner {output_to_pass(state.preds)}, the one to use, or a loss_func of all of them.",
        )
    if takes_one_output(state.loss_func):  # torch's take the target of one item, too
        check_rows(state.targets)
    hint = "Compare targets.view_as(outputs), as learnkit.losses.MSELossFlat() and L1LossFlat() do."
    with (
        loss_explained(state.loss_func, state.preds, state.targets),
        no_broadcasting(name, state.preds, state.targets, hint),
    ):
        return as_loss(state.loss_func(state.preds, state.targets))
