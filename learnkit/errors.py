"""Every error learnkit raises: a LearnkitError and the built-in a caller would expect.

LearnkitError
├── UsageError              ValueError           an argument that cannot work
├── WrongTypeError          TypeError            the right call on the wrong kind of object
├── DataError               ValueError           a data set that cannot be used as it is
│   └── ImageError          OSError              one image that cannot be read
├── MissingFileError        FileNotFoundError    a path that is not there
├── CorruptFileError        ValueError           a file that is damaged or cut short
├── UnsafeFileError         ValueError           a file that would run code when opened
├── MissingModelError       ValueError           an export of a model that learnkit cannot build by itself
├── ExportError             ValueError           a model that other programs cannot be given
├── VersionError            ValueError           a file that only a later learnkit reads rightly
├── DownloadError           OSError              something that had to be fetched and could not be
├── NonFiniteLossError      ArithmeticError      a loss that became nan or infinite
├── OutOfMemory             MemoryError          a batch that does not fit into memory
├── WorkerError             RuntimeError         a process that reads data died
└── WriteError              OSError              a file that could not be written whole

Interrupt                                        raised by callbacks to steer the loop, never an error
├── StopFit                                      end this fit; `after_fit` still runs
├── SkipEpoch                                    end this epoch's training; validation still runs
└── SkipBatch                                    go on with the next batch
"""

import difflib
from collections.abc import Iterable
from numbers import Integral
from typing import Any

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
    "OutOfMemory",
    "SkipBatch",
    "SkipEpoch",
    "StopFit",
    "UnsafeFileError",
    "UsageError",
    "VersionError",
    "WorkerError",
    "WriteError",
    "WrongTypeError",
    "check_count",
    "check_kind",
    "check_whole",
    "missing_extra",
    "nearest",
    "printable",
]

_NOTHING = object()


class LearnkitError(Exception):
    """What was got, where, what was expected, and what to do.

    Args:
        what: the argument or thing that is wrong; a whole sentence when it stands alone.
        got: the offending value, shown by `repr`.
        expected: what would have been right.
        fix: one sentence that says what to do.

    >>> print(UsageError("bs", got=0, expected="a positive int", fix="Pass bs=64."))
    bs: got 0, expected a positive int. Pass bs=64.
    """

    def __init__(self, what: str, *, got: object = _NOTHING, expected: str = "", fix: str = "") -> None:
        parts = [] if got is _NOTHING else [f"got {got!r}"]
        parts += [f"expected {expected}"] if expected else []
        message = f"{what}: {', '.join(parts)}" if parts else what
        if fix:
            message = f"{message.removesuffix('.')}. {fix}"
        self.message = message = printable(message)
        super().__init__(message)

    def __str__(self) -> str:
        return self.message  # KeyError and OSError would otherwise reword it

    def __reduce__(self) -> tuple[type["LearnkitError"], tuple[str]]:
        return type(self), (self.message,)  # crosses process borders with its type and text


class UsageError(LearnkitError, ValueError):
    """An argument that cannot work."""


class WrongTypeError(LearnkitError, TypeError):
    """The right call on the wrong kind of object."""


class DataError(LearnkitError, ValueError):
    """A data set that cannot be used as it is."""


class ImageError(DataError, OSError):
    """One image that cannot be read; the message names the file."""


class MissingFileError(LearnkitError, FileNotFoundError):
    """A path that is not there."""


class CorruptFileError(LearnkitError, ValueError):
    """A file that is damaged or cut short."""


class UnsafeFileError(LearnkitError, ValueError):
    """A file that would run code when opened."""


class MissingModelError(LearnkitError, ValueError):
    """An export of a model that learnkit cannot build by itself: one of the user's own, or one it does not know."""


class ExportError(LearnkitError, ValueError):
    """A model that cannot be exported, or whose export gives other numbers than the model itself."""


class VersionError(LearnkitError, ValueError):
    """A file that only a later learnkit reads rightly."""


class DownloadError(LearnkitError, OSError):
    """Something that had to be fetched and could not be."""


class NonFiniteLossError(LearnkitError, ArithmeticError):
    """A loss that became nan or infinite."""


class OutOfMemory(LearnkitError, MemoryError):
    """A batch that does not fit into the memory of the device, or of the machine."""


class WorkerError(LearnkitError, RuntimeError):
    """A process that reads data died."""


class WriteError(LearnkitError, OSError):
    """A file that could not be written whole; what stood there before still does."""


class LearnkitWarning(UserWarning):
    """The category of every warning learnkit gives."""

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(printable, message.split("\n"))))


class Interrupt(Exception):
    """Raised by a callback to steer the loop; the message is the reason."""


class StopFit(Interrupt):
    """End this fit; `after_fit` still runs. The message is kept as `state.stop_reason`."""


class SkipEpoch(Interrupt):
    """End this epoch's training; validation still runs."""


class SkipBatch(Interrupt):
    """Leave the rest of this batch out and go on with the next."""


def printable(text: str) -> str:
    """The text on one line, and nothing in it that steers a terminal or cannot be written to a file as UTF-8.

    >>> print(printable("a\\nERROR \\x1b[2J"))
    a\\nERROR \\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_count(what: str, got: object, expected: str = "a whole number, 1 or more") -> int:
    """What was got, refused if it is no whole number above 0: True and 2.0 are none.

    Raises:
        UsageError: naming the argument, what was got, and what was expected.
    """
    if isinstance(got, bool) or not isinstance(got, int) or got < 1:
        raise UsageError(what, got=got, expected=expected)
    return got


def check_whole(what: str, got: Any) -> int:
    """What was got as an int, numpy's whole numbers too; True and 2.0 are none.

    Raises:
        UsageError: naming the argument and what was got.
    """
    if isinstance(got, bool) or not isinstance(got, Integral):
        raise UsageError(what, got=got, expected="a whole number")
    return int(got)


def check_kind(what: str, got: object, kind: Any, expected: str) -> None:
    """Refuse what is no instance of `kind`, a class or several.

    Raises:
        WrongTypeError: naming the argument, what was got, and what was expected.
    """
    if not isinstance(got, kind):
        raise WrongTypeError(what, got=got, expected=expected)


def missing_extra(package: str, extra: str) -> UsageError:
    """The error for a package that only some features need, and that is not installed.

    >>> print(missing_extra("timm", "timm"))
    this needs the package timm. Install it: pip install "learnkit[timm]".
    """
    return UsageError(f"this needs the package {package}", fix=f'Install it: pip install "learnkit[{extra}]".')


def nearest(name: str, known: Iterable[str], n: int = 5) -> str:
    """The known names closest to `name` first, as text for an error message.

    >>> nearest("resnet81", ["vgg16", "resnet18", "resnet34"], n=2)
    'resnet18, resnet34'
    """
    names = sorted(known)
    begun = [other for other in names if other.startswith(name)]
    close = difflib.get_close_matches(name, names, n=n, cutoff=0.4)
    return ", ".join(list(dict.fromkeys([*begun, *close, *names]))[:n])
