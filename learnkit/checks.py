"""Checks of arguments: a valid value is returned, an invalid one is refused by name."""

import difflib
import functools
import inspect
import math
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ParamSpec, TypeGuard, TypeVar, get_args

from learnkit.errors import UsageError, WrongTypeError

__all__ = [
    "check_choice",
    "check_int",
    "check_keywords",
    "check_kind",
    "check_number",
    "check_partial",
    "check_takes",
    "checks_keywords",
    "is_int",
    "is_number",
    "missing_extra",
    "nearest",
    "nearest_folder",
]

T = TypeVar("T")
P = ParamSpec("P")

# Keywords of other libraries, and what they are called here.
OTHER_NAMES = {
    "callback_fns": ("callbacks",),
    "cbs": ("callbacks",),
    "criterion": ("loss_func",),
    "data": ("dls",),
    "learning_rate": ("lr", "max_lr"),
    "loss": ("loss_func",),
    "loss_fn": ("loss_func",),
    "lr": ("max_lr", "base_lr", "lr_max"),
    "lr_max": ("max_lr", "lr"),
    "max_lr": ("lr", "lr_max", "base_lr"),
    "n_epoch": ("epochs",),
    "optimizer": ("opt_func",),
    "splitter": ("split_on", "groups"),
    "weight_decay": ("wd",),
}


def is_int(value: object) -> TypeGuard[int]:
    """Whether a value is an integer, NumPy's included; True and 2.0 are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, NumPy's included; True is not."""
    return isinstance(value, Real) and not isinstance(value, bool)


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


def check_keywords(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse keywords that a function does not have.

    Raises:
        WrongTypeError: naming the function, the first such keyword, and the nearest there are.

    >>> check_keywords("fit", ["resune"], ["resume"])
    Traceback (most recent call last):
    learnkit.errors.WrongTypeError: fit: keyword: got 'resune', expected one that help() lists. Nearest: resume.
    """
    for name in given:
        if name not in known:
            ours = [other for other in OTHER_NAMES.get(name, ()) if other in known]
            fix = f"Here it is {ours[0]}=." if ours else f"Nearest: {nearest(name, known, n=3)}."
            raise WrongTypeError(f"{function}: keyword", got=name, expected="one that help() lists", fix=fix)


def checks_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator: keywords that a function does not have are refused by `check_keywords`, in its name.

    The keywords of `**options: Unpack[Options]` are those of the TypedDict Options.
    """
    parameters = inspect.signature(function).parameters.values()
    known = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD and one.name != "self"]
    known += [name for one in parameters if one.kind is one.VAR_KEYWORD for name in _options(one.annotation)]
    called = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> T:
        check_keywords(called, keywords, known)
        return function(*args, **keywords)

    return checked


def _options(unpacked: Any) -> Iterable[str]:
    return [name for typed_dict in get_args(unpacked) for name in typed_dict.__annotations__]


def check_partial(what: str, got: object) -> None:
    """Refuse a functools.partial with arguments that its function does not have; anything else is not checked.

    >>> check_partial("f", functools.partial(math.dist, r=2))
    Traceback (most recent call last):
    learnkit.errors.WrongTypeError: f: partial of dist with r=2: got an unexpected keyword argument 'r'. It takes p, q.
    """
    if not isinstance(got, functools.partial):
        return
    try:
        own = inspect.signature(got.func)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    try:
        own.bind_partial(*got.args, **got.keywords)
    except TypeError as error:
        name = getattr(got.func, "__name__", type(got.func).__name__)
        given = ", ".join([*map(repr, got.args), *(f"{key}={value!r}" for key, value in got.keywords.items())])
        fix = f"It takes {', '.join(list(own.parameters)[:20])}."
        raise WrongTypeError(f"{what}: partial of {name} with {given}: {error}", fix=fix) from error


def check_takes(what: str, name: str, function: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Refuse a function that cannot be called with these arguments, by place; what has no signature is not checked.

    Args:
        what: the argument that is checked.
        name: of the function, in the error.
        function: perhaps a partial.
        arguments: their names.

    Raises:
        WrongTypeError: naming the argument that is missing or too many.
    """
    given = function if isinstance(function, functools.partial) else functools.partial(function)
    try:
        signature = inspect.signature(given.func)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(*given.args, *arguments, **given.keywords)
    except TypeError as error:
        expected = f"a function to call with ({', '.join(arguments)}): {error}"
        raise WrongTypeError(what, got=f"{name}{signature}", expected=expected) from None


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
