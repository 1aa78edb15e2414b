"""Early stopping: end a fit that no longer improves."""

import math
from typing import Any

from learnkit.callbacks.monitor import Mode, Monitor, MonitoringCallback
from learnkit.checks import check_int, check_kind, check_number
from learnkit.errors import StopFit
from learnkit.text import counted
from learnkit.training.callback import Order
from learnkit.training.state import TrainState

__all__ = ["EarlyStopping"]


class EarlyStopping(MonitoringCallback):
    """Stop after `patience` epochs in a row without improvement.

    With `validate_every` of `fit`, validations are counted instead of epochs.

    Args:
        monitor: "train_loss", "valid_loss" or a column of a metric.
        min_delta: the minimum change that counts as an improvement.
        patience: number of epochs without improvement after which the fit ends; 1 stops at the first.
        mode: "min" if lower is better, "max" if higher is; None for the direction of the metric, or of a name that
            says it (loss, error, mae, ...).
        baseline: the value to beat at first; None for any.
        threshold: stop as soon as the value is as good as this; None for never.
        check_finite: stop as soon as the value is nan or infinite.
        start_from_epoch: epochs of a fit before this one are not looked at; a fit of fewer is not stopped.
        min_epochs: never stop before this many epochs are trained.

    Raises:
        UsageError: invalid arguments; in a fit: an unknown monitor, or one whose direction is not known.
    """

    order = Order.DECIDE

    def __init__(
        self,
        monitor: str = "valid_loss",
        min_delta: float = 0.0,
        patience: int = 1,
        *,
        mode: Mode = None,
        baseline: float | None = None,
        threshold: float | None = None,
        check_finite: bool = False,
        start_from_epoch: int = 0,
        min_epochs: int = 0,
    ) -> None:
        self.monitor: Monitor = Monitor(monitor, min_delta, mode=mode, baseline=baseline)
        self.patience: int = check_int("patience", patience, 1)
        self.threshold: float | None = None if threshold is None else check_number("threshold", threshold)
        check_kind("check_finite", check_finite, bool, "True or False")
        self.check_finite = check_finite
        self.start_from_epoch: int = check_int("start_from_epoch", start_from_epoch, 0)
        self.min_epochs: int = check_int("min_epochs", min_epochs, 0)
        self.waited: int = 0

    def before_fit(self, state: TrainState) -> None:
        self.monitor.start(state)
        self.waited = 0

    def _look(self, state: TrainState, value: float) -> None:
        if state.epoch < self.start_from_epoch:
            return
        self.waited = 0 if self.monitor.improves(state, value) else self.waited + 1
        reason = self._reason(state, value)
        if reason and state.epoch + (not state.is_mid_epoch) >= self.min_epochs:
            raise StopFit(reason)

    def _reason(self, state: TrainState, value: float) -> str:
        name = self.monitor.name
        if self.check_finite and not math.isfinite(value):
            return f"{name} is {value}"
        if self.threshold is not None and (value == self.threshold or self.monitor.beats(value, self.threshold)):
            return f"{name} has reached {self.threshold}"
        if self.waited < self.patience:
            return ""
        looks = counted(self.waited, "validation" if state.limits.counts_steps else "epoch")
        return f"{name} has not improved for {looks}"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.monitor.best, "waited": self.waited}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.monitor.best, self.waited = saved["best"], saved["waited"]
