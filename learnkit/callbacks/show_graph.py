"""A plot of the losses in a notebook, updated after each epoch."""

from typing import Any

from learnkit.callbacks.progress import in_notebook
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["ShowGraph"]


class ShowGraph(Callback):
    """In a notebook, plot training and validation loss, updated in place after each epoch of a fit.

    The training loss is the smoothed one of the record. Elsewhere it does nothing.
    """

    order = Order.REPORT
    is_for_one = True

    def __init__(self) -> None:
        self._train: list[float] = []
        self._valid: list[float] = []
        self._display: Any = None  # IPython's display handle

    def before_fit(self, state: TrainState) -> None:
        self._train, self._valid, self._display = [], [], None

    def after_epoch(self, state: TrainState) -> None:
        if not in_notebook():
            return
        from IPython.display import display

        from learnkit.plots.curves import epoch_curves

        self._train.append(state.row["train_loss"])
        if "valid_loss" in state.row:
            self._valid.append(state.row["valid_loss"])
        figure = epoch_curves(self._train, self._valid)
        if self._display is None:
            self._display = display(figure, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._display.update(figure)

    def state_dict(self) -> dict[str, Any]:
        return {"train": self._train, "valid": self._valid}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._train, self._valid = saved["train"], saved["valid"]
