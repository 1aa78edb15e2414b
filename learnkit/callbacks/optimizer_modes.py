"""Train and eval mode of optimizers that have them."""

from typing import Any

from torch.optim import Optimizer

from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["OptimizerModes", "has_modes"]


def has_modes(optimizer: Optimizer) -> bool:
    """Whether the weights differ between training and evaluation, as for schedule-free ones (Defazio et al., 2024)."""
    return all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))


class OptimizerModes(Callback):
    """Put a schedule-free optimizer in train mode for the batches of an epoch, and in eval mode for everything else.

    Every fit with such an optimizer has one, so results, saved weights and final weights are those of eval mode.
    """

    order = 0  # before all others: they see the weights of the mode
    in_lr_find = True

    def before_epoch(self, state: TrainState) -> None:
        _set(state, "train")

    def before_batch(self, state: TrainState) -> None:
        _set(state, "train")  # after a validation within the epoch

    def before_validate(self, state: TrainState) -> None:
        _set(state, "eval")

    def after_epoch(self, state: TrainState) -> None:
        _set(state, "eval")  # in a fit without validation

    def after_fit(self, state: TrainState) -> None:
        _set(state, "eval")


def _set(state: TrainState, mode: str) -> None:
    optimizer: Any = state.optimizer
    getattr(optimizer, mode)()
