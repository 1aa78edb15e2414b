"""Reading fields of a JSON object that somebody else may have written: every value of a known kind, within bounds."""

import math
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from learnkit.errors import CorruptFileError, MissingModelError

__all__ = ["Fields", "changed", "shown"]

_AGAIN = "Export again or copy it again."
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def shown(value: object) -> str:
    """The repr of a value of unknown size, shortened."""
    return _SHORT.repr(value) if isinstance(value, str | bytes | int | float) else f"{type(value).__name__}"


def changed(path: Path | str, what: str) -> CorruptFileError:
    """The error for a manifest that says what learnkit never writes."""
    return CorruptFileError(f"{path}: {what}", fix=_AGAIN)


class Fields:
    """One object of a manifest.

    Args:
        content: what JSON gave.
        where: what errors call the object.
        path: the file.

    Raises:
        CorruptFileError: `content`, or a field asked for, is not what is expected.
    """

    def __init__(self, content: Any, where: str, path: Path | str) -> None:
        self.where, self.path = where, path
        if not isinstance(content, dict):
            raise changed(path, f"{where} is a {type(content).__name__}, expected an object")
        self.content: dict[str, Any] = content

    def value(self, name: str, is_right: Callable[[Any], bool], expected: str, default: Any = None) -> Any:
        """A field for which `is_right` holds; `default`, unless it is None, stands for a field that is not there."""
        if name not in self.content and default is not None:
            return default
        value = self.content.get(name)
        if not is_right(value):
            got = shown(value) if name in self.content else "nothing"
            raise changed(self.path, f"{self.where} {name}: got {got}, expected {expected}")
        return value

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from `low` to `high`."""
        number: int = self.value(name, lambda v: _is_whole(v, low, high), f"an integer, {low} to {high}", default)
        return number

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number from `low` to `high`."""
        return float(self.value(name, lambda v: _is_number(v, low, high), f"a number, {low} to {high}", default))

    def numbers(self, name: str, n: int, low: float, high: float) -> tuple[float, ...]:
        """`n` finite numbers."""
        values = self.value(
            name,
            lambda v: isinstance(v, list) and len(v) == n and all(_is_number(one, low, high) for one in v),
            f"{n} numbers, {low} to {high}",
        )
        return tuple(map(float, values))

    def wholes(self, name: str, lengths: Iterable[int], low: int, high: int) -> tuple[int, ...]:
        """Whole numbers, as many as one of `lengths`."""
        values = self.value(
            name,
            lambda v: isinstance(v, list) and len(v) in lengths and all(_is_whole(one, low, high) for one in v),
            f"a list of integers, {low} to {high}",
        )
        return tuple(values)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        return bool(self.value(name, lambda v: isinstance(v, bool), "true or false", default))

    def text(self, name: str, longest: int = 200, default: str | None = None) -> str:
        """A text."""
        return str(
            self.value(
                name,
                lambda v: isinstance(v, str) and len(v) <= longest,
                f"a text of at most {longest} characters",
                default,
            )
        )

    def texts(self, name: str, most: int, longest: int = 1000) -> tuple[str, ...]:
        """Different texts."""
        values = self.value(
            name,
            lambda v: (
                isinstance(v, list)
                and len(v) <= most
                and all(isinstance(one, str) and len(one) <= longest for one in v)
                and len(set(v)) == len(v)
            ),
            f"at most {most:,} different texts of at most {longest} characters",
        )
        return tuple(values)

    def choice(self, name: str, known: Iterable[str]) -> str:
        """One of the known words."""
        words = tuple(known)
        return str(self.value(name, lambda v: isinstance(v, str) and v in words, f"one of {', '.join(words)}"))

    def part(self, name: str, known: Iterable[str] | None = None) -> "Fields":
        """An object within; with `known`, one of these fields alone."""
        inner = Fields(self.content.get(name), name, self.path)
        if known is not None:
            inner.only(known)
        return inner

    def only(self, known: Iterable[str]) -> None:
        """Refuse fields that would be passed over, and with them what they mean.

        Raises:
            MissingModelError: there are others.
        """
        if others := sorted(self.content.keys() - set(known)):
            raise MissingModelError(
                f"{self.path}: {self.where} has fields that this learnkit does not know: {shown(', '.join(others))}. "
                "Nothing was imported.",
                fix="Update learnkit, or export again.",
            )


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high and math.isfinite(value)
