"""Lower the learning rates when a result no longer improves."""

from typing import Any

from torch.optim import Optimizer

from learnkit.callbacks.monitor import Mode, Monitor, MonitoringCallback
from learnkit.checks import check_int, check_number
from learnkit.optim.optimizers import layered_groups
from learnkit.training.callback import Order
from learnkit.training.state import TrainState

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(MonitoringCallback):
    """Divide the learning rates by `factor` after `patience` epochs in a row without improvement, then wait again.

    The rate of each layer group is divided separately, so their ratios stay the same until one reaches `min_lr`. The
    first epoch is the one to beat: with `patience=1` and a constant result, the rates fall after the second epoch and
    after each later one. With `validate_every` of `fit`, validations are counted instead of epochs.

    Args:
        monitor: "train_loss", "valid_loss" or a column of a metric.
        patience: number of epochs without improvement after which the rates fall; 1 for the first.
        factor: divisor of the rates, above 1.
        min_delta: the minimum change that counts as an improvement.
        min_lr: lower bound of the rates.
        mode: "min" if lower is better, "max" if higher is; None for the direction of the metric, or of a name that
            says it (loss, error, mae, ...).
        baseline: the value to beat at first; None for any.

    Raises:
        UsageError: invalid arguments; in a fit: an unknown monitor, or one whose direction is not known.
    """

    order = Order.RECORD + 5  # after the row is recorded, and before anything is saved
    sets = frozenset({"lr"})

    def __init__(
        self,
        monitor: str = "valid_loss",
        patience: int = 1,
        factor: float = 10.0,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
        *,
        mode: Mode = None,
        baseline: float | None = None,
    ) -> None:
        self.monitor: Monitor = Monitor(monitor, min_delta, mode=mode, baseline=baseline)
        self.patience: int = check_int("patience", patience, 1)
        self.factor: float = check_number(
            "factor", factor, "(1, inf)", expected="a number above 1, to divide the rates by"
        )
        self.min_lr: float = check_number("min_lr", min_lr, "[0, inf)")
        self.waited: int = 0
        self._optimizer: Optimizer | None = None

    def before_fit(self, state: TrainState) -> None:
        self.monitor.start(state)
        self.waited = 0
        self._optimizer = state.optimizer

    def _look(self, state: TrainState, value: float) -> None:
        self.waited = 0 if self.monitor.improves(state, value) else self.waited + 1
        if self.waited >= self.patience:
            self.waited = 0
            self._set([min(rate, max(rate / self.factor, self.min_lr)) for rate in self._rates()])

    def after_fit(self, state: TrainState) -> None:
        self._optimizer = None

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [] if self._optimizer is None else layered_groups(self._optimizer)

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
