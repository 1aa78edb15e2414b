"""Signals that end a process: as an exception, or deferred until the fit is between two optimizer steps."""

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from learnkit.distributed.world import world

__all__ = ["ENDED_BY", "Signals", "ending_in_order"]

REPORTS_DEAD_WORKERS = "torch.utils.data._utils.signal_handling"
REPEATS = 30.0  # seconds in which a launcher may pass on a signal that its processes have received already
HANGUP = getattr(signal, "SIGHUP", None)  # of a terminal that was closed, an ssh connection that broke; not on Windows
FROM_OUTSIDE = tuple(number for number in (signal.SIGTERM, HANGUP) if number is not None)
ENDED_BY = {128 + number: number.name for number in FROM_OUTSIDE}  # names of signals by exit status


def _leave(number: int, frame: FrameType | None = None) -> NoReturn:
    """End as a signal would: as Ctrl-C does, or with exit status 128 + number."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextmanager
def _handled(numbers: Iterable[signal.Signals], handler: Any) -> Iterator[dict[signal.Signals, Any]]:
    """Inside, a handler of those signals that no other one has; the previous ones by number, put back afterwards."""
    kept: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, _leave):
                kept[number] = signal.signal(number, handler)
    try:
        yield kept
    finally:
        while kept:
            signal.signal(*kept.popitem())


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise SystemExit, with the status 143 or 129, so that all is cleaned up."""
    with _handled(FROM_OUTSIDE, _leave):
        yield


class Signals:
    """SIGTERM, SIGHUP and Ctrl-C are noted, to be polled by the loop; a second one acts at once.

    Only in the main thread, and only if Python's default handlers or those of `ending_in_order` are installed: custom
    handlers and ignored signals, as after nohup, are not changed. SIGHUP is never the first nor the second of two: a
    terminal that closes sends it more than once, and a session that ends, SIGTERM with it.

    Attributes:
        noted: the signal received; None before that.
    """

    def __init__(self) -> None:
        self.noted: signal.Signals | None = None
        self._kept: dict[signal.Signals, Any] = {}  # the previous handlers
        self._time = 0.0  # of the first signal

    @contextmanager
    def defer(self) -> Iterator[None]:
        """Note signals inside; restore the handlers afterwards."""
        with _handled((*FROM_OUTSIDE, signal.SIGINT), self._note) as self._kept:
            yield

    def hear(self, number: int) -> None:
        """Note a signal that another process received; 0 for none."""
        if number and self.noted is None:
            self.noted = signal.Signals(number)
            self._let_step_end()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == HANGUP and self.noted is not None:
            return
        is_noted = self.noted not in (None, HANGUP)
        is_second = is_noted and (world.size == 1 or time.monotonic() - self._time > REPEATS)
        self.noted, self._time = signal.Signals(number), self._time if is_noted else time.monotonic()
        self._let_step_end()
        if is_second:
            self.leave()

    def _let_step_end(self) -> None:
        """Stop torch from raising at an arbitrary line that workers died: the signal may have killed them too."""
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        if getattr(handler, "__module__", "") == REPORTS_DEAD_WORKERS:
            self._kept[signal.SIGCHLD] = handler
            signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def leave(self) -> NoReturn:
        """End as the noted signal would: with exit status 143 or 129, or as Ctrl-C does."""
        _leave(self.noted or signal.SIGINT)
