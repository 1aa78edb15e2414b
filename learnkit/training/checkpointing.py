"""Checkpoints: when the state of a fit is saved, and how a fit continues from one."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self

from torch import Tensor

from learnkit.distributed.agreement import Agreement
from learnkit.distributed.world import world
from learnkit.errors import warn
from learnkit.training.callback import Callback
from learnkit.training.interval import Interval
from learnkit.training.nan_guard import LossWatch
from learnkit.training.signals import Signals
from learnkit.training.snapshot import restore, snapshot
from learnkit.training.state import TrainState

__all__ = ["Checkpoints", "Writer"]


class Writer(Protocol):
    """Writes checkpoints to disk."""

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written right now."""

    def submit(self, content: dict[str, Any]) -> None:
        """Copy the content, and start to write it once the previous one is written."""

    def finish(self) -> None:
        """Wait until the last one is written."""


class Checkpoints:
    """Saves a fit as it runs, and restores one that was interrupted; `Checkpoints()` does neither.

    A checkpoint is taken between two optimizer steps: when one is due, at the end of each epoch (unless one is being
    written right now), when the fit ends, and when a signal asks the process to exit. Of several processes the first
    writes them; a signal to any of them ends all of them after the same step.

    Args:
        writer: writes them; None to write none.
        interval: when one is due.
        about: identifies the fit; part of every checkpoint.
        saved: the checkpoint to continue from; None for a fit that starts.
    """

    def __init__(
        self,
        writer: Writer | None = None,
        interval: Interval | None = None,
        about: dict[str, Any] | None = None,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self._writer = writer
        self._interval = interval or Interval()
        self._about = about or {}
        self._saved = saved
        self._signals = Signals()
        self._agreement = Agreement()
        self._deferred: AbstractContextManager[None] | None = None
        self._leaves = False  # all processes know of the signal
        self._step = 0  # at the last checkpoint
        self._time = 0.0
        self._done = 0  # batches of this epoch, up to the last step
        self._unsaved: dict[str, dict[str, Any]] = {}  # of callbacks without a state_dict, as they were at the start

    def __enter__(self) -> Self:
        if self._writer is not None:
            self._deferred = self._signals.defer()
            self._deferred.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is None or self._deferred is None:
            return
        try:
            self._writer.finish()
            if error is None or self._leaves:
                self._agreement.finish()
                world.wait()  # the launcher ends the others when one has left
        finally:
            self._deferred.__exit__(None, None, None)
        if self._signals.noted and (error is None or isinstance(error, Exception)):
            self._signals.leave()  # also when the signal has killed a loader's workers, which is an error here

    def begin(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Note the start of a fit, and restore one that was interrupted between two epochs."""
        if self._writer is not None:
            self._unsaved = {c.label: _marks(c) for c in callbacks if type(c).state_dict is Callback.state_dict}
        self._step, self._time = state.step, time.monotonic()
        if self._saved is not None and not state.start_batch:
            restore(state, callbacks, self._saved)
            self._saved = None

    def begin_epoch(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Restore a fit that was interrupted within this epoch."""
        self._done = 0
        if self._saved is not None and state.continues:
            restore(state, callbacks, self._saved)

    def begin_batches(self, state: TrainState) -> None:
        """Restore the generators again: a loader may have drawn from them while it skipped batches."""
        if self._saved is not None and state.continues:
            state.compute.set_rng_state(self._saved["rng"])
            self._saved = None

    def batches(
        self, batches: Iterable[Any], state: TrainState, callbacks: Iterable[Callback], watch: LossWatch
    ) -> Iterable[Any]:
        """The same batches; writes a checkpoint if a signal has killed the loader's workers too."""
        return batches if self._writer is None else self._guarded(batches, state, callbacks, watch)

    def _guarded(
        self, batches: Iterable[Any], state: TrainState, callbacks: Iterable[Callback], watch: LossWatch
    ) -> Iterator[Any]:
        try:
            yield from batches
        except Exception:  # of the loader: those of the loop are not raised here
            if self._signals.noted and self._done and world.size == 1:
                self.after_batch(state, callbacks, watch)
            raise

    def after_batch(self, state: TrainState, callbacks: Iterable[Callback], watch: LossWatch) -> None:
        """Write a checkpoint if it is due or the process is asked to exit, but none between two accumulated batches."""
        if self._writer is None or state.compute.n_gathered:
            return
        self._done = state.batch + 1
        is_due = self._interval.is_due(state.step - self._step, 0)
        passed = self._interval.is_due(0, time.monotonic() - self._time)
        is_late, signal = self._agreement.exchange(passed and world.is_first, self._signals.noted or 0)
        self._hear(signal)
        if is_due or is_late or self._leaves:
            watch.flush(state)  # never save weights after a non-finite loss
            self._write(state, callbacks, state.epoch, self._done)

    def after_epoch(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Write the checkpoint at the end of an epoch."""
        if self._writer is None:
            return
        self._hear(world.highest(self._signals.noted or 0))
        if self._leaves or not world.agreed(self._writer.is_busy):
            self._write(state, callbacks, state.epoch + 1, 0)

    def _hear(self, signal: int) -> None:
        """Leave with the next checkpoint if a signal is known to all processes; 0 for none."""
        self._leaves = bool(signal)
        self._signals.hear(signal)

    def after_fit(self, state: TrainState, callbacks: Iterable[Callback]) -> None:
        """Write the checkpoint that marks the fit as done."""
        self._write(state, callbacks, state.n_epochs, 0, is_finished=True)

    def _write(
        self, state: TrainState, callbacks: Iterable[Callback], epoch: int, batch: int, *, is_finished: bool = False
    ) -> None:
        if self._writer is None:
            return
        self._warn_unsaved(callbacks)
        about = {**self._about, "is_finished": is_finished}
        self._writer.submit({**about, **snapshot(state, callbacks, epoch, batch)})
        self._step, self._time = state.step, time.monotonic()
        if self._leaves:
            self._signals.leave()

    def _warn_unsaved(self, callbacks: Iterable[Callback]) -> None:
        """Warn once about each callback that has changed and has no state_dict."""
        for callback in callbacks:
            before = self._unsaved.get(callback.label)
            changed = (
                [] if before is None else [name for name, mark in _marks(callback).items() if before.get(name) != mark]
            )
            if changed:
                del self._unsaved[callback.label]
                warn(
                    f"{callback.label} has no state_dict, so its attributes ({', '.join(sorted(changed))}) are not in "
                    "the checkpoint and are not restored in a resumed fit"
                )


def _marks(callback: Callback) -> dict[str, Any]:
    """A value per attribute of a callback that changes when the attribute does."""
    if type(callback).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return {}  # learnkit's own callbacks save what they need
    return {name: _mark(value) for name, value in vars(callback).items()}


def _mark(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, Tensor):
        return id(value), value._version
    return (id(value), len(value)) if isinstance(value, list | dict | set) else id(value)
