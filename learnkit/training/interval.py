"""Intervals: every so many optimizer steps, epochs, or minutes, as arguments say it."""

import re
from dataclasses import dataclass
from typing import Any, Self

from learnkit.checks import is_int
from learnkit.errors import UsageError

__all__ = ["Interval", "seconds_of"]

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """A number of optimizer steps, of seconds or of epochs; the others are infinite."""

    steps: float = float("inf")
    seconds: float = float("inf")
    epochs: float = float("inf")

    @classmethod
    def of(cls, every: Any, what: str = "checkpoint_every", *, times: bool = True, epochs: bool = False) -> Self:
        """Parse 50 or "50 steps", "5min", "30s" or "1h", "2 epochs".

        Args:
            every: the argument.
            what: its name in errors.
            times: whether a time may be passed.
            epochs: whether a number of epochs may be passed.

        Raises:
            UsageError: anything else.
        """
        if is_int(every) and every > 0:
            return cls(steps=every)
        found = re.fullmatch(r"(\d+) *(steps?|epochs?)", every.strip()) if isinstance(every, str) else None
        if found and int(found[1]) > 0 and found[2].startswith("step"):
            return cls(steps=int(found[1]))
        if found and int(found[1]) > 0 and epochs:
            return cls(epochs=int(found[1]))
        if times and (seconds := _seconds(every)) is not None:
            return cls(seconds=seconds)
        forms = ["a number of steps, 1 or more"]
        forms += ["a time such as '5min'"] if times else []
        forms += ["epochs such as '2 epochs'"] if epochs else []
        raise UsageError(what, got=every, expected=f"{', '.join(forms[:-1])}, or {forms[-1]}")

    def is_due(self, steps: float, seconds: float) -> bool:
        """Whether it has passed, so many optimizer steps and seconds after the last time."""
        return steps >= self.steps or seconds >= self.seconds


def seconds_of(what: str, time: Any) -> float:
    """The seconds of a time such as "2h", "30min" or "90s".

    Raises:
        UsageError: naming the argument, for anything else: a bare number could be of minutes.
    """
    seconds = _seconds(time)
    if seconds is None:
        raise UsageError(what, got=time, expected="a time such as '2h', '30min' or '90s'")
    return seconds


def _seconds(time: Any) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", time.strip()) if isinstance(time, str) else None
    return float(found[1]) * SECONDS[found[2]] if found and float(found[1]) > 0 else None
