"""When a fit is written down, and how it goes on from there."""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from torch import Tensor

from learnkit.errors import UsageError, warn
from learnkit.training.callback import Callback
from learnkit.training.nan_guard import LossWatch
from learnkit.training.signals import Signals
from learnkit.training.snapshot import restore, snapshot
from learnkit.training.state import TrainState

__all__ = ["Checkpoints", "Interval", "Writer"]

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """So many optimizer steps, or so many seconds; the other is infinite."""

    steps: float = float("inf")
    seconds: float = float("inf")

    @classmethod
    def of(cls, every: Any) -> Self:
        """What a user means by 50, "5min", "30s" or "1h".

        Raises:
            UsageError: anything else.
        """
        if isinstance(every, int) and not isinstance(every, bool) and every > 0:
            return cls(steps=every)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", every.strip()) if isinstance(every, str) else None
        if found and float(found[1]) > 0:
            return cls(seconds=float(found[1]) * SECONDS[found[2]])
        raise UsageError(
            "checkpoint_every", got=every, expected="a number of steps, 1 or more, or a time such as '5min'"
        )


class Writer(Protocol):
    """Where checkpoints go."""

    @property
    def is_busy(self) -> bool:
        """Whether one is being written at this moment."""

    def submit(self, content: dict[str, Any]) -> None:
        """Copy the content and begin to write it, when the one before is written."""

    def finish(self) -> None:
        """Wait until the last one is written."""


class Checkpoints:
    """Writes a fit down as it goes, and puts one back that was.

    A checkpoint is taken between two optimizer steps: when one is due, at the end of each epoch (unless one is being
    written at that moment), when the fit ends, and when a signal asks the process to go.

    Args:
        writer: where they go; None to write none, for a fit that is only put back.
        interval: when one is due.
        about: what else is in each: of which fit it is.
        saved: what the fit goes on from; None for one that begins.
    """

    def __init__(
        self, writer: Writer | None, interval: Interval, about: dict[str, Any], saved: dict[str, Any] | None = None
    ) -> None:
        self._writer = writer
        self._interval = interval
        self._about = about
        self._saved = saved
        self._signals = Signals()
        self._putting_off: AbstractContextManager[None] | None = None
        self._step = 0  # of the last one
        self._time = 0.0
        self._done = 0  # batches of this epoch, up to the last step
        self._unsaved: dict[str, dict[str, Any]] = {}  # what callbacks without a state_dict held when the fit began

    def __enter__(self) -> Self:
        if self._writer is not None:
            self._putting_off = self._signals.defer()
            self._putting_off.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is None or self._putting_off is None:
            return
        try:
            self._writer.finish()
        finally:
            self._putting_off.__exit__(None, None, None)
        if self._signals.noted and (error is None or isinstance(error, Exception)):
            self._signals.leave()  # also when the signal has killed the workers of a loader, which is an error here

    def begin(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Take note of the beginning of a fit, and put back one that was left between two epochs."""
        self._unsaved = {c.label: _marks(c) for c in callbacks if type(c).state_dict is Callback.state_dict}
        self._step, self._time = state.step, time.monotonic()
        if self._saved is not None and not state.start_batch:
            restore(state, callbacks, self._saved)
            self._saved = None

    def begin_epoch(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Put back a fit that was left within this epoch."""
        self._done = 0
        if self._saved is not None and state.continues:
            restore(state, callbacks, self._saved)

    def begin_batches(self, state: TrainState) -> None:
        """Put the generators back again: a loader may have drawn from them to come to where the fit was left."""
        if self._saved is not None and state.continues:
            state.compute.set_rng_state(self._saved["rng"])
            self._saved = None

    def batches(
        self, batches: Iterable[Any], state: TrainState, callbacks: Iterable[Callback], watch: LossWatch
    ) -> Iterator[Any]:
        """The same batches; where no more come since a signal has ended the workers too, a checkpoint is written."""
        try:
            yield from batches
        except Exception:  # of the loader: those of the loop do not come here
            if self._signals.noted and self._done and not state.compute.n_gathered:
                self.after_batch(state, callbacks, watch)
            raise

    def after_batch(self, state: TrainState, callbacks: Iterable[Callback], watch: LossWatch) -> None:
        """Write one if it is due, or if the process is asked to go; no gradients may be gathered."""
        self._done = state.batch + 1
        is_due = state.step - self._step >= self._interval.steps or (
            time.monotonic() - self._time >= self._interval.seconds
        )
        if is_due or self._signals.noted:
            watch.read(state)  # weights that a loss that is no number has spoilt are not written
            self._write(state, callbacks, state.epoch, self._done)

    def after_epoch(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Write one of the end of an epoch."""
        if self._writer is not None and (self._signals.noted or not self._writer.is_busy):
            self._write(state, callbacks, state.epoch + 1, 0)

    def after_fit(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Write the one that says that the fit is done."""
        self._write(state, callbacks, state.n_epochs, 0, is_finished=True)

    def _write(
        self, state: TrainState, callbacks: Iterable[Callback], epoch: int, batch: int, *, is_finished: bool = False
    ) -> None:
        if self._writer is None:
            return
        self._tell_unsaved(callbacks)
        about = {**self._about, "is_finished": is_finished}
        self._writer.submit({**about, **snapshot(state, callbacks, epoch, batch)})
        self._step, self._time = state.step, time.monotonic()
        if self._signals.noted and not is_finished:
            self._signals.leave()

    def _tell_unsaved(self, callbacks: Iterable[Callback]) -> None:
        """Warn, once, of callbacks that have changed and have no state_dict."""
        for callback in callbacks:
            before = self._unsaved.get(callback.label)
            changed = (
                [] if before is None else [name for name, mark in _marks(callback).items() if before.get(name) != mark]
            )
            if changed:
                del self._unsaved[callback.label]
                warn(
                    f"{callback.label} has no state_dict, so what it keeps ({', '.join(sorted(changed))}) is not in "
                    "the checkpoint and starts anew in a resumed fit"
                )


def _marks(callback: Callback) -> dict[str, Any]:
    """Something for each attribute of a callback that changes when the attribute does."""
    if type(callback).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return {}  # those of this package keep what they need
    return {name: _mark(value) for name, value in vars(callback).items()}


def _mark(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, Tensor):
        return id(value), value._version
    return (id(value), len(value)) if isinstance(value, list | dict | set) else id(value)
