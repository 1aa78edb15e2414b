"""What is typed for an option, read by its kind. Text stays what it is: YAML would make None of # and 90 of 1:30."""

import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from learnkit.cli.options import Option
from learnkit.cli.values import Form

__all__ = ["Reader", "shown"]

NONE = "none"
WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|nan)", re.ASCII)


class Reader:
    """Reads the text of one option: a ValueError for what is not of its kind.

    Args:
        option: whose kind and whose word none count.
    """

    def __init__(self, option: Option) -> None:
        self._option = option

    def __call__(self, given: object) -> Any:
        """The value; of a Form, its text once it is checked. A default that is no text is returned as it is."""
        if not isinstance(given, str):
            return given
        if given == NONE and self._option.may_be_none:
            return None
        return _read(self._option.kind, given)

    def __repr__(self) -> str:
        return shown(self._option.kind)


def _read(kind: Any, text: str) -> Any:
    if isinstance(kind, Form):
        return kind(text)
    if get_origin(kind) in (Union, UnionType):
        for part in get_args(kind):
            if part is not type(None) and (found := _of(part, text)) is not None:
                return found
    elif (found := _of(kind, text)) is not None:
        return found
    raise ValueError(f"got {text!r}, expected {shown(kind)}")


def _of(kind: Any, text: str) -> int | float | str | None:
    """The text as a value of a plain kind; None if it is none."""
    if kind is int:
        return int(text) if WHOLE.fullmatch(text) else None
    if kind is float:
        return float(text) if NUMBER.fullmatch(text) else None
    if get_origin(kind) is Literal:
        return text if text in get_args(kind) else None
    return text


def shown(kind: Any) -> str:
    """A kind as a sentence names it.

    >>> shown(int | str | None), shown(Literal["crop", "pad"])
    ('a whole number or text or none', 'crop or pad')
    """
    if isinstance(kind, Form):
        return kind.shown
    parts = [shown(part) for part in get_args(kind)]
    if kind is type(None) or kind is None:
        return NONE
    if isinstance(kind, str):
        return kind
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return " or ".join(parts) if parts else words.get(kind, str(kind))
