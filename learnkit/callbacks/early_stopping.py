"""Early stopping: end a fit that no longer improves."""

from typing import Any

from learnkit.callbacks.monitor import Monitor
from learnkit.checks import check_int
from learnkit.errors import StopFit
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["EarlyStopping"]


class EarlyStopping(Callback):
    """Stop after `patience` epochs in a row without improvement.

    Args:
        monitor: "train_loss", "valid_loss" or the name of a metric; the metric defines which direction is better.
        min_delta: the minimum change that counts as an improvement.
        patience: number of epochs without improvement after which the fit ends; 1 stops at the first.
    """

    order = Order.DECIDE

    def __init__(self, monitor: str = "valid_loss", min_delta: float = 0.0, patience: int = 1) -> None:
        self.monitor = Monitor(monitor, min_delta)
        self.patience = check_int("patience", patience, 1)
        self.waited = 0

    def before_fit(self, state: TrainState) -> None:
        self.monitor.start(state)
        self.waited = 0

    def after_epoch(self, state: TrainState) -> None:
        self.waited = 0 if self.monitor.improves(state) else self.waited + 1
        if self.waited >= self.patience:
            epochs = "epoch" if self.waited == 1 else "epochs"
            raise StopFit(f"{self.monitor.name} has not improved for {self.waited} {epochs}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.monitor.best, "waited": self.waited}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.monitor.best, self.waited = saved["best"], saved["waited"]
