"""Signals that end a process, put off until the fit is between two optimizer steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

__all__ = ["PREEMPTED", "Signals"]

TELLS_OF_WORKERS = "torch.utils.data._utils.signal_handling"
PREEMPTED = 128 + signal.SIGTERM  # the exit status of a process that was asked to go: 143


class Signals:
    """SIGTERM and Ctrl-C are noted, for the loop to ask for; a second one acts at once.

    Only in the main thread, and only where Python's own handlers are in place: one that somebody else has set, or a
    signal that is ignored, stays.

    Attributes:
        noted: the signal that has come; None before one has.
    """

    def __init__(self) -> None:
        self.noted: signal.Signals | None = None
        self._kept: dict[signal.Signals, Any] = {}  # the handlers that were there

    @contextmanager
    def defer(self) -> Iterator[None]:
        """Note signals inside; put the handlers back afterwards."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._kept[number] = signal.signal(number, self._note)
        try:
            yield
        finally:
            while self._kept:
                signal.signal(*self._kept.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_second = self.noted is not None
        self.noted = signal.Signals(number)
        self._let_step_end()
        if is_second:
            self.leave()

    def _let_step_end(self) -> None:
        """Keep torch from raising, at whatever line runs, that workers died: the signal may have ended them too."""
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        if getattr(handler, "__module__", "") == TELLS_OF_WORKERS:
            self._kept[signal.SIGCHLD] = handler
            signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def leave(self) -> NoReturn:
        """End as the signal that has come asks for: with exit status 143, or as Ctrl-C does."""
        if self.noted == signal.SIGTERM:
            raise SystemExit(PREEMPTED)
        raise KeyboardInterrupt
