"""Lower learning rates when a result no longer improves."""

from typing import Any

from torch.optim import Optimizer

from learnkit.callbacks.monitor import Monitor
from learnkit.errors import UsageError
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(Callback):
    """Divide the learning rates by `factor` after `patience` epochs in a row without improvement, then wait anew.

    Each layer group's rate is divided by itself, so that rates in proportion stay in proportion until one reaches
    `min_lr`. The first epoch sets the mark: with `patience=1` and a result that never changes, the rates fall after the
    second epoch and after each one that follows.

    Args:
        monitor: "train_loss", "valid_loss" or the name of a metric; which way is better comes from the metric.
        patience: how many epochs without improvement lower the rates; 1 does so at the first.
        factor: what the rates are divided by; above 1.
        min_delta: how much better counts as better.
        min_lr: no rate is lowered below it.

    Raises:
        UsageError: arguments that cannot work; in a fit: an unknown name.
    """

    order = Order.RECORD + 5  # when the row is there, and before anything is saved
    sets = frozenset({"lr"})

    def __init__(
        self,
        monitor: str = "valid_loss",
        patience: int = 1,
        factor: float = 10.0,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
    ) -> None:
        if patience < 1:
            raise UsageError("patience", got=patience, expected="1 or more epochs")
        if not 1 < factor < float("inf"):
            raise UsageError("factor", got=factor, expected="a number above 1, which the rates are divided by")
        if not 0 <= min_lr < float("inf"):
            raise UsageError("min_lr", got=min_lr, expected="a rate of 0 or more")
        self.monitor = Monitor(monitor, min_delta)
        self.patience = patience
        self.factor = factor
        self.min_lr = min_lr
        self.waited = 0
        self._optimizer: Optimizer | None = None

    def before_fit(self, state: TrainState) -> None:
        self.monitor.start(state)
        self.waited = 0
        self._optimizer = state.optimizer

    def after_epoch(self, state: TrainState) -> None:
        self.waited = 0 if self.monitor.improves(state) else self.waited + 1
        if self.waited >= self.patience:
            self.waited = 0
            self._set([min(rate, max(rate / self.factor, self.min_lr)) for rate in self._rates()])

    def after_fit(self, state: TrainState) -> None:
        self._optimizer = None

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [] if self._optimizer is None else self._optimizer.param_groups

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self._groups]

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self._groups, rates, strict=True):
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.monitor.best, "waited": self.waited, "rates": self._rates()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.monitor.best, self.waited = saved["best"], saved["waited"]
        self._set(saved["rates"])
