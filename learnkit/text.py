"""Untrusted text, made safe for a terminal, a notebook or a spreadsheet."""

import functools
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["ellipsized", "facts", "name_of", "printable", "shortened", "spreadsheet_safe"]

MAX_NAME = 40  # characters of a name in a list
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")  # how spreadsheets recognize a formula
LEFT = ' style="text-align:left"'  # notebooks align text to the right
WRAPPED = ' style="text-align:left;overflow-wrap:anywhere"'  # and let it overflow the page


def printable(text: str) -> str:
    """The text on one line, without anything that controls a terminal or cannot be encoded as UTF-8.

    >>> print(printable("a\\nERROR \\x1b[2J"))
    a\\nERROR \\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def spreadsheet_safe(cell: Any) -> Any:
    """A cell of a CSV file; text that a spreadsheet would run as a formula gets a leading apostrophe.

    >>> spreadsheet_safe("=SUM(A1)"), spreadsheet_safe("cat"), spreadsheet_safe(-1.5)
    ("'=SUM(A1)", 'cat', -1.5)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def facts(title: str, rows: Mapping[str, object]) -> str:
    """A table of two columns under a title.

    >>> print(facts("Cats", {"<b>": 1}).replace(LEFT, "").replace(WRAPPED, ""))
    <table><caption>Cats</caption><tr><th scope="row">&lt;b&gt;</th><td>1</td></tr></table>
    """
    lines = (
        f'<tr><th scope="row"{LEFT}>{_text(name)}</th><td{WRAPPED}>{_text(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table><caption>{_text(title)}</caption>{''.join(lines)}</table>"


def ellipsized(text: str, max_length: int, end: int = 0) -> str:
    """The text shortened to its start and its last `end` characters, if it is longer than `max_length`.

    >>> ellipsized("german_shorthaired_pointer", 12), ellipsized("folder/0001.png", 11, end=8)
    ('german_shor…', 'fo…0001.png')
    """
    if len(text) <= max_length:
        return text
    return f"{text[: max_length - end - 1].rstrip()}…{text[len(text) - end :]}"


def shortened(names: Sequence[str], max_names: int = 10) -> str:
    """The first names, long ones shortened, and an ellipsis if there are more.

    >>> shortened(["a", "b", "c"], max_names=2)
    'a, b, …'
    """
    shown = [ellipsized(name, MAX_NAME) if name.strip() else "(empty)" for name in names[:max_names]]
    return ", ".join([*shown, "…"] if len(names) > max_names else shown)


def name_of(thing: object) -> str:
    """The name of a function or a class, or of the class of any other object; of a partial, that of its function.

    >>> name_of(len), name_of(1.5), name_of(functools.partial(len))
    ('len', 'float', 'len')
    """
    while isinstance(thing, functools.partial):
        thing = thing.func
    return str(getattr(thing, "__name__", type(thing).__name__))


def _text(value: object) -> str:
    """Escaped, on one line, and without characters that reverse the text around them."""
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value)))
