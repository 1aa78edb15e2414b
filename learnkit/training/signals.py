"""Signals that end a process, deferred until the fit is between two optimizer steps."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from learnkit.distributed.world import world

__all__ = ["PREEMPTED", "Signals"]

REPORTS_DEAD_WORKERS = "torch.utils.data._utils.signal_handling"
REPEATS = 30.0  # seconds in which a launcher may pass on a signal that its processes have received already
PREEMPTED = 128 + signal.SIGTERM  # the exit status of a process ended by SIGTERM: 143


class Signals:
    """SIGTERM and Ctrl-C are noted, to be polled by the loop; a second one acts at once.

    Only in the main thread, and only if Python's default handlers are installed: custom handlers and ignored signals
    are not changed.

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
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._kept[number] = signal.signal(number, self._note)
        try:
            yield
        finally:
            while self._kept:
                signal.signal(*self._kept.popitem())

    def hear(self, number: int) -> None:
        """Note a signal that another process received; 0 for none."""
        if number and self.noted is None:
            self.noted = signal.Signals(number)
            self._let_step_end()

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_second = self.noted is not None and (world.size == 1 or time.monotonic() - self._time > REPEATS)
        self.noted, self._time = signal.Signals(number), self._time if self.noted else time.monotonic()
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
        """End as the noted signal would: with exit status 143, or as Ctrl-C does."""
        if self.noted == signal.SIGTERM:
            raise SystemExit(PREEMPTED)
        raise KeyboardInterrupt
