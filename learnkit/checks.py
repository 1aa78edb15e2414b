"""Checks of arguments: a valid value is returned, an invalid one is refused by name."""

import difflib
import math
import os
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from learnkit.errors import UsageError, WrongTypeError

__all__ = [
    "check_choice",
    "check_int",
    "check_kind",
    "check_number",
    "check_seed",
    "check_sides",
    "is_int",
    "is_number",
    "missing_extra",
    "nearest",
    "nearest_folder",
    "plain",
]

T = TypeVar("T")


def is_int(value: object) -> TypeGuard[int]:
    """Whether a value is an integer, NumPy's included; True and 2.0 are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number that a float can hold, NumPy's included; True and 10**400 are not."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def plain(value: Any) -> Any:
    """NumPy arrays and tensors as lists and numbers; anything else unchanged.

    >>> import numpy as np
    >>> plain(np.array([1, 2])), plain(np.array(0.5)), plain("a")
    ([1, 2], 0.5, 'a')
    """
    return value.tolist() if callable(getattr(value, "tolist", None)) else value


def check_int(what: str, got: Any, low: int | None = None, high: int | None = None, *, expected: str = "") -> int:
    """The value as an int, NumPy's integers included; True and 2.0 are refused.

    Args:
        what: the argument's name.
        got: the value.
        low: the smallest that is allowed; None for no bound.
        high: the largest that is allowed; None for no bound.
        expected: how the error describes what is allowed; "" to derive it from the bounds.

    Raises:
        UsageError: naming the argument, what was got, and what was expected.

    >>> check_int("bs", 64, 1)
    64
    >>> check_int("bs", 0, 1)
    Traceback (most recent call last):
    learnkit.errors.UsageError: bs: got 0, expected an integer, 1 or more
    """
    if not is_int(got) or (low is not None and got < low) or (high is not None and got > high):
        raise UsageError(what, got=got, expected=expected or f"an integer{_bounds(low, high)}")
    return int(got)


def check_seed(seed: Any) -> int:
    """The seed as an int, if torch takes it; NumPy's integers would overflow where numbers are drawn from it.

    Raises:
        UsageError: anything but an integer of 64 bits.
    """
    return check_int("seed", seed, -(2**63), 2**64 - 1, expected="an integer of 64 bits")


def check_number(what: str, got: Any, within: str = "(-inf, inf)", *, expected: str = "") -> float:
    """The value unchanged, if it is a real number within an interval; True, nan and text are refused.

    Args:
        what: the argument's name.
        got: the value.
        within: the interval, "[0, 1)" for 0 <= got < 1.
        expected: how the error describes what is allowed; "" for "a number in " and the interval.

    Raises:
        UsageError: naming the argument, what was got, and what was expected.

    >>> check_number("decay", 0.99, "[0, 1)")
    0.99
    >>> check_number("decay", 1.0, "[0, 1)")
    Traceback (most recent call last):
    learnkit.errors.UsageError: decay: got 1.0, expected a number in [0, 1)
    """
    if not is_number(got) or not _contains(within, float(got)):
        raise UsageError(what, got=got, expected=expected or f"a number in {within}")
    return got


def check_choice(what: str, got: T, choices: Collection[T]) -> T:
    """The value, if it is one of the choices.

    Raises:
        UsageError: naming the argument, what was got, and the choices.

    >>> check_choice("resize", "stretch", ("crop", "squish", "pad"))
    Traceback (most recent call last):
    learnkit.errors.UsageError: resize: got 'stretch', expected 'crop', 'squish' or 'pad'
    """
    if got not in choices:
        *others, last = [repr(choice) for choice in choices]
        raise UsageError(what, got=got, expected=f"{', '.join(others)} or {last}" if others else last)
    return got


def check_kind(what: str, got: object, kind: Any, expected: str) -> None:
    """Refuse a value that is not an instance of `kind`, a class or several.

    Raises:
        WrongTypeError: naming the argument, what was got, and what was expected.
    """
    if not isinstance(got, kind):
        raise WrongTypeError(what, got=got, expected=expected)


def check_sides(what: str, got: Any) -> tuple[int, int]:
    """(height, width) of an image, from one side or both.

    Raises:
        UsageError: naming the argument and what was got.

    >>> check_sides("size", 224)
    (224, 224)
    """
    sides = got if isinstance(got, tuple | list) else (got, got)
    if len(sides) != 2 or not all(is_int(side) and side >= 1 for side in sides):
        raise UsageError(what, got=got, expected="pixels, a side or (height, width)")
    return int(sides[0]), int(sides[1])


def missing_extra(package: str, extra: str) -> UsageError:
    """The error for an optional package that is not installed.

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


def nearest_folder(path: Path) -> Path:
    """The folder at `path`, or the nearest one above it that exists: what an error about a wrong path lists.

    >>> nearest_folder(Path("/no-such-folder/file.pth")).as_posix()
    '/'
    """
    places = (path, *path.absolute().parents)
    return next((place for place in places if os.path.isdir(place)), Path("/"))  # False for a name too long, too


def _bounds(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", {low} or more"
    return "" if high is None else f", {high} or less"


def _contains(interval: str, value: float) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = low <= value if interval[0] == "[" else low < value
    below = value <= high if interval[-1] == "]" else value < high
    return above and below and math.isfinite(value)
