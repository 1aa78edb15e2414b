"""Reading fields of an untrusted JSON object: every value of a known type, within bounds."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from learnkit.checks import is_int, is_number
from learnkit.errors import CorruptFileError, MissingModelError

__all__ = ["EXPORT_AGAIN", "Fields", "JsonObject", "brief", "corrupt"]

JsonObject: TypeAlias = dict[str, Any]

EXPORT_AGAIN = "Export again or copy it again."
MAX_SHOWN = 100  # characters of a string in an error


def brief(value: object) -> object:
    """A value of unknown size for an error message: long strings truncated, lists and objects by type.

    >>> brief("x" * 1000)[-5:], brief([0] * 1000), brief(0.5)
    ('xx...', 'list', 0.5)
    """
    if isinstance(value, str):
        return value if len(value) <= MAX_SHOWN else f"{value[: MAX_SHOWN - 3]}..."
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    return value if isinstance(value, int | float | None) else type(value).__name__


def corrupt(path: Path | str, what: str, **parts: Any) -> CorruptFileError:
    """The error for a file with values that learnkit never writes; `parts` are the error's got and expected."""
    return CorruptFileError(f"{path}: {what}", fix=EXPORT_AGAIN, **parts)


class Fields:
    """One object of a manifest.

    Args:
        content: the parsed JSON.
        where: the name of the object in errors.
        path: the file.

    Raises:
        CorruptFileError: `content`, or a requested field, is not what is expected.
    """

    def __init__(self, content: Any, where: str, path: Path | str) -> None:
        self.where: str = where
        self.path: Path | str = path
        if not isinstance(content, dict):
            raise corrupt(path, where, got=brief(content), expected="an object")
        self.content: JsonObject = content

    def value(self, name: str, is_right: Callable[[Any], bool], expected: str, default: Any = None) -> Any:
        """A field for which `is_right` holds; `default`, unless it is None, replaces a missing one."""
        if name not in self.content:
            if default is not None:
                return default
            raise corrupt(self.path, f"{self.where} has no {name}", expected=expected)
        value = self.content[name]
        if not is_right(value):
            raise corrupt(self.path, f"{self.where} {name}", got=brief(value), expected=expected)
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer from `low` to `high`."""
        expected = f"an integer from {low} to {high}"
        return int(self.value(name, lambda v: _is_int(v, low, high), expected))

    def integers(self, name: str, lengths: Iterable[int], low: int, high: int) -> tuple[int, ...]:
        """Integers, as many as one of `lengths`."""
        values = self.value(
            name,
            lambda v: isinstance(v, list) and len(v) in lengths and all(_is_int(one, low, high) for one in v),
            f"a list of integers from {low} to {high}",
        )
        return tuple(values)

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number from `low` to `high`."""
        expected = f"a number from {low} to {high}"
        return float(self.value(name, lambda v: _is_number(v, low, high), expected, default))

    def numbers(self, name: str, n: int, low: float, high: float) -> tuple[float, ...]:
        """`n` finite numbers."""
        values = self.value(
            name,
            lambda v: isinstance(v, list) and len(v) == n and all(_is_number(one, low, high) for one in v),
            f"{n} numbers from {low} to {high}",
        )
        return tuple(map(float, values))

    def string(self, name: str, max_length: int = 200, default: str | None = None) -> str:
        """A string."""
        expected = f"a string of at most {max_length} characters"
        return str(self.value(name, lambda v: isinstance(v, str) and len(v) <= max_length, expected, default))

    def strings(self, name: str, max_n: int, max_length: int = 1000) -> tuple[str, ...]:
        """Different strings."""
        values = self.value(
            name,
            lambda v: (
                isinstance(v, list)
                and len(v) <= max_n
                and all(isinstance(one, str) and len(one) <= max_length for one in v)
                and len(set(v)) == len(v)
            ),
            f"at most {max_n:,} different strings of at most {max_length} characters",
        )
        return tuple(values)

    def choice(self, name: str, known: Iterable[str]) -> str:
        """One of the known words."""
        words = tuple(known)
        return str(self.value(name, lambda v: isinstance(v, str) and v in words, f"one of {', '.join(words)}"))

    def part(self, name: str, known: Iterable[str] | None = None) -> "Fields":
        """A nested object; with `known`, only with these fields."""
        inner = Fields(self.content.get(name), name, self.path)
        if known is not None:
            inner.only(known)
        return inner

    def only(self, known: Iterable[str]) -> None:
        """Refuse further fields: ignoring them could change the meaning of the others.

        Raises:
            MissingModelError: there are some.
        """
        if others := sorted(self.content.keys() - set(known)):
            raise MissingModelError(
                f"{self.path}: {self.where} has fields that this learnkit does not know: {brief(', '.join(others))}. "
                "Nothing was imported.",
                fix="Update learnkit, or export again.",
            )


def _is_int(value: Any, low: int, high: int) -> bool:
    return is_int(value) and low <= value <= high


def _is_number(value: Any, low: float, high: float) -> bool:
    return is_number(value) and low <= value <= high and math.isfinite(value)
