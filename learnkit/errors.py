"""Every error learnkit raises: a LearnkitError and the built-in a caller would expect.

LearnkitError
├── UsageError              ValueError           an argument that cannot work
├── WrongTypeError          TypeError            the right call on the wrong kind of object
├── DataError               ValueError           a data set that cannot be used
│   └── ImageError          OSError              one image that cannot be read
├── MissingFileError        FileNotFoundError    a path that does not exist
├── CorruptFileError        ValueError           a file that is damaged or truncated
├── UnsafeFileError         ValueError           a file that would run code when opened
├── MissingModelError       ValueError           an export whose model learnkit cannot build
├── ExportError             ValueError           a model that cannot be exported
├── VersionError            ValueError           a file that needs a newer learnkit
├── DownloadError           OSError              a failed download
├── NonFiniteLossError      ArithmeticError      a loss that became nan or infinite
├── OutOfMemoryError        MemoryError          a batch, or a cached set, that does not fit into memory
├── WorkerError             RuntimeError         a data-loading process that died
├── ProcessError            RuntimeError         one of several training processes that failed or hangs
└── WriteError              OSError              a file that could not be written completely

Interrupt                                        raised by callbacks to control the loop, never an error
├── StopFit                                      end this fit; `after_fit` still runs
├── SkipEpoch                                    end this epoch's training; validation still runs
└── SkipBatch                                    continue with the next batch
"""

import linecache
import sys
import warnings
from types import FrameType
from typing import Self, TypeVar

from learnkit.text import ellipsized, printable

__all__ = [
    "CorruptFileError",
    "DataError",
    "DownloadError",
    "ExportError",
    "ImageError",
    "Interrupt",
    "LearnkitError",
    "LearnkitWarning",
    "MissingFileError",
    "MissingModelError",
    "NonFiniteLossError",
    "OutOfMemoryError",
    "ProcessError",
    "SkipBatch",
    "SkipEpoch",
    "StopFit",
    "UnsafeFileError",
    "UsageError",
    "VersionError",
    "WorkerError",
    "WriteError",
    "WrongTypeError",
    "warn",
]

MAX_GOT = 500  # characters of a value: a whole table says less than its beginning
_NOTHING = object()
_LIBRARIES = {__name__.partition(".")[0], "concurrent", "contextlib", "threading", "torch"}  # between a user and warn()


class LearnkitError(Exception):
    """What was got, where, what was expected, and what to do.

    A note below the message names the user's line, so that a traceback ends with it.

    Attributes:
        what: the argument or thing that is wrong; a full sentence if there are no other parts.
        got: the offending value, shown by `repr`, a long one shortened; None when not given.
        expected: what would be valid; "" when not given.
        fix: one sentence on what to do; "" when not given.
        message: all of it as one line of text.

    >>> error = UsageError("bs", got=0, expected="a positive int", fix="Pass bs=64.")
    >>> print(error)
    bs: got 0, expected a positive int. Pass bs=64.
    >>> error.what, error.got
    ('bs', 0)
    """

    def __init__(self, what: str, *, got: object = _NOTHING, expected: str = "", fix: str = "") -> None:
        parts = [] if got is _NOTHING else [f"got {ellipsized(repr(got), MAX_GOT, end=20)}"]
        parts += [f"expected {expected}"] if expected else []
        message = f"{what}: {', '.join(parts)}" if parts else what
        if fix:
            message = f"{message.removesuffix('.')}. {fix}"
        self.what: str = what
        self.expected: str = expected
        self.fix: str = fix
        self.got: object | None = None if got is _NOTHING else got
        self.message: str = printable(message)
        super().__init__(self.message)
        frame, _ = _user_frame()
        if frame is not None and not frame.f_code.co_filename.startswith("<"):  # typed in, not in a file
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            self.add_note(f"at {frame.f_code.co_filename}, line {frame.f_lineno}{line and f': {line}'}")

    def prefixed(self, where: str) -> Self:
        """The same error, its `what` and message beginning with where it happened.

        >>> print(UsageError("targets", got=3, expected="0 to 2").prefixed("metric f1"))
        metric f1: targets: got 3, expected 0 to 2
        """
        message, what = f"{printable(where)}: {self.message}", f"{where}: {self.what}"
        return _restored(type(self), message, what, self.got, self.expected, self.fix)

    def __str__(self) -> str:
        return self.message  # KeyError and OSError would otherwise change it

    def __reduce__(self) -> tuple[object, ...]:
        got = self.got if isinstance(self.got, _PLAIN) else repr(self.got)  # an arbitrary object may not be picklable
        return _restored, (type(self), self.message, self.what, got, self.expected, self.fix)


_PLAIN = (bool, int, float, str, type(None))
_Error = TypeVar("_Error", bound=LearnkitError)


def _restored(kind: type[_Error], message: str, what: str, got: object, expected: str, fix: str) -> _Error:
    error = kind(message)
    error.what, error.got, error.expected, error.fix = what, got, expected, fix
    return error


class UsageError(LearnkitError, ValueError):
    """An argument that cannot work."""


class WrongTypeError(LearnkitError, TypeError):
    """The right call on the wrong kind of object."""


class DataError(LearnkitError, ValueError):
    """A data set that cannot be used."""


class ImageError(DataError, OSError):
    """One image that cannot be read; the message names the file."""


class MissingFileError(LearnkitError, FileNotFoundError):
    """A path that does not exist."""


class CorruptFileError(LearnkitError, ValueError):
    """A file that is damaged or truncated."""


class UnsafeFileError(LearnkitError, ValueError):
    """A file that would run code when opened."""


class MissingModelError(LearnkitError, ValueError):
    """An export whose model learnkit cannot build: it is custom or unknown."""


class ExportError(LearnkitError, ValueError):
    """A model that cannot be exported, or whose export returns different numbers."""


class VersionError(LearnkitError, ValueError):
    """A file that needs a newer learnkit."""


class DownloadError(LearnkitError, OSError):
    """A failed download."""


class NonFiniteLossError(LearnkitError, ArithmeticError):
    """A loss that became nan or infinite."""


class OutOfMemoryError(LearnkitError, MemoryError):
    """A batch that does not fit into the memory of the device or of the machine."""


class WorkerError(LearnkitError, RuntimeError):
    """A data-loading process that died."""


class ProcessError(LearnkitError, RuntimeError):
    """One of the processes that train together failed, or does not answer."""


class WriteError(LearnkitError, OSError):
    """A file that could not be written completely; an earlier file of that name is unchanged."""


class LearnkitWarning(UserWarning):
    """The category of all warnings of learnkit."""

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(printable, message.split("\n"))))


class Interrupt(Exception):
    """Raised by a callback to control the loop; the message is the reason."""


class StopFit(Interrupt):
    """End this fit; `after_fit` still runs. The message is kept as `state.stop_reason`."""


class SkipEpoch(Interrupt):
    """End this epoch's training, in `before_epoch` before its first batch; validation still runs."""


class SkipBatch(Interrupt):
    """Skip the rest of this batch and continue with the next."""


def warn(message: str) -> None:
    """Issue a LearnkitWarning that points to the user's line: the innermost caller outside learnkit and torch."""
    warnings.warn(LearnkitWarning(message), stacklevel=_user_frame()[1])


def _user_frame() -> tuple[FrameType | None, int]:
    """The innermost frame outside learnkit and torch, None in a process without one; and how far it is from a caller.

    The distance is the `stacklevel` of `warnings.warn` in the function that calls this.
    """
    frame, level = sys._getframe(1), 1
    while _is_inside(frame):
        if frame.f_back is None:
            return None, level
        frame, level = frame.f_back, level + 1
    return frame, level


def _is_inside(frame: FrameType) -> bool:
    """Whether the code is learnkit's or torch's; an example in a docstring is a user's, whatever module it is in."""
    is_library = frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES
    return is_library and not frame.f_code.co_filename.startswith("<doctest")
