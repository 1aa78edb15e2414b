"""Ending a fit early: at a non-finite loss, or after a few batches."""

from typing import Any, ClassVar

from learnkit.checks import check_int
from learnkit.errors import SkipEpoch, StopFit
from learnkit.training.callback import Callback, Order
from learnkit.training.limits import FirstBatches
from learnkit.training.state import TrainState

__all__ = ["StopAfterNBatches", "TerminateOnNaN"]


class TerminateOnNaN(Callback):
    """End the fit, without an error, when a training loss is nan or infinite.

    Without it such a loss raises NonFiniteLossError. Either way the weights of the start of the epoch are restored. The
    bad batch is recorded; its epoch is neither validated nor recorded. `state.stop_reason` describes the loss. On the
    CPU the fit ends at that batch; on an accelerator losses are checked fifty at a time, to avoid waiting for the
    device.
    """

    def before_fit(self, state: TrainState) -> None:
        state.stops_on_nan = True


class StopAfterNBatches(Callback):
    """End the fit after `n_batches` training batches, to check that everything runs.

    The last epoch is validated, recorded and shown like any other. Batches are counted over the whole fit.

    Args:
        n_batches: number of training batches.
        short_valid: whether validations are limited to this many batches too.
    """

    order: ClassVar[int] = Order.DECIDE

    def __init__(self, n_batches: int = 2, short_valid: bool = True) -> None:
        self.n_batches: int = check_int("n_batches", n_batches, 1)
        self.short_valid = short_valid
        self.seen: int = 0

    def before_fit(self, state: TrainState) -> None:
        self.seen = 0
        if self.short_valid and state.valid_dl is not None:
            state.valid_dl = FirstBatches(state.valid_dl, self.n_batches)

    def after_batch(self, state: TrainState) -> None:
        self.seen += 1
        if self.seen >= self.n_batches:
            raise SkipEpoch(f"{self.seen} batches seen")

    def after_epoch(self, state: TrainState) -> None:
        if self.seen >= self.n_batches:
            raise StopFit(f"{self.seen} batches seen")

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.seen = saved["seen"]
