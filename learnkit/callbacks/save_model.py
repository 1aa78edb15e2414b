"""Save the best weights of a fit, and load them at its end."""

from pathlib import Path
from typing import Any, Literal

from learnkit.callbacks.monitor import Monitor
from learnkit.checks import check_choice
from learnkit.errors import WriteError, warn
from learnkit.persistence.weights import check_name, load_weights, save_weights
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["SaveModel"]


class SaveModel(Callback):
    """Write the weights to the learner's model folder whenever the monitored result improves, or every epoch.

    With `every="improvement"` the best weights are loaded when the fit ends, even if it is stopped or interrupted, but
    only if this fit wrote them, never from a file of an earlier run. If a file cannot be written (on a full disk),
    training continues with a warning.

    Args:
        monitor: "train_loss", "valid_loss" or the name of a metric; the metric defines which direction is better.
        every: "improvement" (NAME.pth) or "epoch" (NAME_0.pth, NAME_1.pth, ...).
        name: the file name without its extension.
        with_opt: whether the optimizer's state is saved too.
    """

    order = Order.DECIDE

    def __init__(
        self,
        monitor: str = "valid_loss",
        every: Literal["improvement", "epoch"] = "improvement",
        name: str = "bestmodel",
        *,
        with_opt: bool = False,
    ) -> None:
        self.monitor = Monitor(monitor)
        self.every = check_choice("every", every, ("improvement", "epoch"))
        self.name = check_name(name)
        self.with_opt = with_opt
        self.written: Path | None = None
        self._has_failed = False
        self._folder: Path | None = None

    @property
    def label(self) -> str:
        return f"SaveModel({self.name!r})"

    def before_fit(self, state: TrainState) -> None:
        self.monitor.start(state)
        self.written, self._has_failed = None, False
        self._folder = state.folder

    def after_epoch(self, state: TrainState) -> None:
        improved = self.monitor.improves(state)
        if self.every == "epoch":
            self._save(state, f"{self.name}_{state.epoch}")
        elif improved:
            self._save(state, self.name)

    def _save(self, state: TrainState, name: str) -> None:
        path = state.folder / f"{name}.pth"
        try:
            save_weights(path, state.model, state.optimizer if self.with_opt else None, classes=state.classes)
        except WriteError as error:
            self._has_failed = True
            kept = "the last saved file is unchanged" if self.written else "nothing has been saved yet"
            warn(f"{self.label}: {error} Training continues; {kept}.")
        else:
            self.written = path

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.monitor.best, "has_written": self.written is not None}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.monitor.best = saved["best"]
        self.written = self._folder / f"{self.name}.pth" if saved["has_written"] and self._folder else None

    def after_fit(self, state: TrainState) -> None:
        if self.every == "epoch":
            return
        if self.written is not None:
            load_weights(self.written, state.model)
        elif state.row and not self._has_failed:
            warn(f"{self.monitor.name} never improved: nothing was saved as {self.name!r}, the last weights stay")
