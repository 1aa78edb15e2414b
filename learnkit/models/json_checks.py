"""Checks of untrusted JSON values; errors shorten them, since they may be of any size."""

import reprlib
from collections.abc import Collection
from typing import Any

from learnkit.checks import is_int
from learnkit.errors import CorruptFileError, MissingModelError

__all__ = ["check_json", "json_int", "json_ints", "json_object", "only_keys"]

_SHORT = reprlib.Repr()
_SHORT.maxstring = 100


def check_json(what: str, got: Any, expected: str, *, is_right: bool) -> Any:
    """The value, if `is_right`.

    Raises:
        CorruptFileError: with what, got and expected.
    """
    if not is_right:
        short = _SHORT.repr(got)
        raise CorruptFileError(what, got=got if short == repr(got) else short, expected=expected)
    return got


def json_object(what: str, got: Any) -> dict[str, Any]:
    """The value, if it is an object."""
    content: dict[str, Any] = check_json(what, got, "an object", is_right=isinstance(got, dict))
    return content


def only_keys(what: str, got: dict[str, Any], known: Collection[str]) -> None:
    """Refuse an object with other keys: their meaning would be lost.

    Raises:
        MissingModelError: with what, got and expected.
    """
    if unknown := sorted(got.keys() - set(known)):
        raise MissingModelError(what, got=_SHORT.repr(unknown), expected=f"no fields but {', '.join(sorted(known))}")


def json_int(what: str, got: Any, low: int, high: int) -> int:
    """The value, if it is an integer from `low` to `high`."""
    is_right = is_int(got) and low <= got <= high
    return int(check_json(what, got, f"an integer from {low} to {high}", is_right=is_right))


def json_ints(what: str, got: Any, lengths: Collection[int], high: int) -> tuple[int, ...]:
    """The value as a tuple, if it is a list of as many integers as one of `lengths`, each from 1 to `high`."""
    is_right = isinstance(got, list) and len(got) in lengths and all(is_int(one) and 1 <= one <= high for one in got)
    n = " to ".join(map(str, sorted({min(lengths), max(lengths)})))
    expected = f"a list of {n} integers from 1 to {high}"
    return tuple(check_json(what, got, expected, is_right=is_right))
