"""Progress: a bar and a table in a terminal or a notebook, one plain line per epoch anywhere else."""

import os
import sys
import time
from typing import Any, Literal, get_args

from learnkit.checks import check_choice
from learnkit.training.callback import Callback, Order
from learnkit.training.interval import Interval
from learnkit.training.state import TrainState

__all__ = ["Progress", "format_row", "in_notebook"]

UPDATE_SECONDS = 0.2  # between two updates of the bar, which read the loss from the device
Display = Literal["auto", "bar", "plain", "off"]
DISPLAYS: tuple[Display, ...] = get_args(Display)


class Progress(Callback):
    """Shows the progress of a fit.

    Args:
        display: "bar" (fastprogress), "plain" (one line per epoch), "off", or "auto": a bar in a terminal or
            notebook, plain lines elsewhere. The environment variable LEARNKIT_PROGRESS overrides "auto".
        every: in plain lines, the optimizer steps (100) or the time ("30s") between two lines with the loss of the
            batch; None for none within an epoch.
    """

    order = Order.REPORT
    is_for_one = True

    def __init__(self, display: Display = "auto", every: int | str | None = None) -> None:
        self.display = check_choice("display", display, DISPLAYS)
        self.every: Interval = Interval() if every is None else Interval.of(every, "every")
        self._last_step, self._last_time = 0, 0.0  # of the last line
        self._epochs: Any = None  # fastprogress's master bar
        self._batches: Any = None
        self._next_update = 0.0
        self._is_plain = self._shows_loss = False

    def before_fit(self, state: TrainState) -> None:
        mode = resolve_display(self.display)
        self._is_plain = mode == "plain"
        self._shows_loss = self._is_plain and self.every != Interval()
        self._last_step, self._last_time = state.step, time.monotonic()
        if state.resumed and mode != "off":
            where = f"epoch {state.start_epoch}, batch {state.start_batch}"
            print(f"resumed at {where}, after {state.step} optimizer steps", file=sys.stderr, flush=True)
        self._epochs = None
        if mode == "bar":
            from fastprogress.fastprogress import master_bar

            self._epochs = master_bar(range(state.planned_epochs))
            self._epochs.update(0)
            self._epochs.write(["epoch", *state.record_names, "time"], table=True)

    def before_epoch(self, state: TrainState) -> None:
        if self._epochs is None:
            return
        from fastprogress.fastprogress import progress_bar

        total = state.n_batches
        self._batches = progress_bar(range(total or 0), total=total or "noinfer", parent=self._epochs)
        self._batches.update(0)
        self._next_update = time.monotonic() + UPDATE_SECONDS

    def after_batch(self, state: TrainState) -> None:
        if self._shows_loss:
            self._show_loss(state)
        if self._epochs is None or time.monotonic() < self._next_update:
            return
        self._batches.comment = f"loss {state.loss.item():.4f}"
        self._batches.update(state.batch + 1)
        self._next_update = time.monotonic() + UPDATE_SECONDS

    def _show_loss(self, state: TrainState) -> None:
        now = time.monotonic()
        if self.every.is_due(state.step - self._last_step, now - self._last_time):
            self._last_step, self._last_time = state.step, now
            batch = f"{state.batch + 1}/{state.n_batches or '?'}"
            print(f"epoch {state.epoch_number}  batch {batch}  loss {state.loss.item():.6f}", flush=True)

    def after_validate(self, state: TrainState) -> None:
        if state.is_mid_epoch and (self._is_plain or self._epochs is not None):
            at = {"epoch": state.epoch_number, "step": state.step}
            line = "  ".join(f"{name} {text}" for name, text in format_row({**at, **state.valid}))
            print(line, flush=True) if self._is_plain else self._epochs.write(line)

    def after_epoch(self, state: TrainState) -> None:
        if self._epochs is not None:
            self._batches.update(state.n_batches or state.batch + 1)
            self._epochs.write([text for _, text in format_row(state.row)], table=True)
            self._epochs.update(state.epoch + 1)
        elif self._is_plain:
            line = "  ".join(f"{name} {text}" for name, text in format_row(state.row))
            print(line, flush=True)

    def after_fit(self, state: TrainState) -> None:
        if state.stop_reason and (self._is_plain or self._epochs is not None):
            print(f"stopped: {state.stop_reason}", file=sys.stderr, flush=True)
        if self._epochs is not None and state.epoch + 1 < state.planned_epochs:
            self._epochs.on_iter_end()  # the bar of a fit that ended early is unfinished
        self._epochs = self._batches = None


def announce(text: str) -> None:
    """Show a line that belongs to no fit, unless the display is off."""
    if resolve_display("auto") != "off":
        print(text, file=sys.stderr, flush=True)


def resolve_display(display: Display) -> str:
    """Resolve "auto": the environment variable LEARNKIT_PROGRESS, else a bar if one can be drawn."""
    if display != "auto":
        return display
    chosen = os.environ.get("LEARNKIT_PROGRESS", "")
    if chosen in ("bar", "plain", "off"):
        return chosen
    if os.environ.get("TQDM_DISABLE", "").lower() in ("1", "true"):
        return "off"
    is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None where there is no console
    return "bar" if is_terminal or in_notebook() else "plain"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def format_row(row: dict[str, float]) -> list[tuple[str, str]]:
    """A row of the record as (name, text): integer epochs, six decimals, minutes and seconds.

    >>> format_row({"epoch": 0, "train_loss": 0.25, "time": 75.0})
    [('epoch', '0'), ('train_loss', '0.250000'), ('time', '01:15')]
    """
    texts = []
    for name, value in row.items():
        if name in ("epoch", "step"):
            text = f"{value:.0f}"
        elif name == "time":
            minutes, seconds = divmod(round(value), 60)
            text = f"{minutes:02d}:{seconds:02d}"
        else:
            text = f"{value:.6f}"
        texts.append((name, text))
    return texts
