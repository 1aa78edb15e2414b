"""The forms in which options write values that are more than a word or a number."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from learnkit.data.table.from_csv import SPACES
from learnkit.errors import MissingFileError

__all__ = ["AUGMENT", "BS", "CLASS_WEIGHTS", "CODES", "COLUMNS", "DEPTH", "LIST", "NORMALIZE", "NUMBERS", "PAIR",
           "PAIRS", "RATES", "SEPARATOR", "SETTINGS", "SIZE", "SUFFIXES", "TABLES", "Form", "as_text"]  # fmt: skip

K = TypeVar("K")
PLACE = re.compile("0|[1-9][0-9]*")  # 007 is a name
COLUMN = re.compile('"[^"]+"|[^",]+')
COLUMN_LIST = re.compile(f"({COLUMN.pattern})(,({COLUMN.pattern}))*")


def as_text(value: object) -> str:
    """A value of a configuration file as an option writes it: lists separated by commas.

    >>> as_text(["a", "b"]), as_text(0.5), as_text(True)
    ('a,b', '0.5', 'true')
    """
    if isinstance(value, Mapping):
        return ",".join(f"{name}={as_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(as_text, value))
    return value if isinstance(value, str) else str(json.dumps(value))


@dataclass(frozen=True)
class Form:
    """How an option writes its value as text.

    Args:
        shown: the form, as help and errors show it.
        read: text -> value; a ValueError for text of another form.
        may_be_none: whether none is a value where it is not the default.
        write: a value of a configuration -> text that is read as it.
    """

    shown: str
    read: Callable[[str], Any]
    may_be_none: bool = False
    write: Callable[[object], str] = as_text

    def __call__(self, given: object) -> str | None:
        """The text unchanged, checked; numbers and lists (of a configuration) as text."""
        if given is None:
            return None
        text = given if isinstance(given, str) else self.write(given)
        try:
            self.read(text)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"got {text!r}, expected {self.shown}") from error
        return text

    def __str__(self) -> str:
        return self.shown

    __repr__ = __str__


def _words(text: str) -> list[str]:
    words = text.split(",")
    if not all(words):
        raise ValueError(text)
    return words


def _numbers(text: str) -> list[float]:
    return [_number(word) for word in _words(text)] if text else []


def _number(text: str) -> float:
    value = float(text)
    return int(value) if text.strip().lstrip("+-").isdigit() else value


def _one_or_more(text: str) -> float | list[float]:
    found = _numbers(text)
    return found[0] if len(found) == 1 else found


def _rates(text: str) -> Any:
    if ":" not in text:
        found = _one_or_more(text) if text else _fail(text)
        return found if all(map(_is_rate, found if isinstance(found, list) else [found])) else _fail(text)
    low, high = text.split(":")
    ends = slice(float(low) if low else None, float(high))
    return ends if _is_rate(ends.stop) and (ends.start is None or _is_rate(ends.start)) else _fail(text)


def _is_rate(value: float) -> bool:
    return 0 < value < math.inf


def _column(text: str) -> str | int:
    if text.startswith('"'):
        return text[1:-1]
    return int(text) if PLACE.fullmatch(text) else text


def _columns(text: str) -> Any:
    """Names and numbers; a name in double quotes may be a number, and may have commas."""
    if not COLUMN_LIST.fullmatch(text):
        raise ValueError(text)
    found = [_column(word) for word in COLUMN.findall(text)]
    return found[0] if len(found) == 1 else found


def _columns_as_text(value: object) -> str:
    """Columns of a configuration, in which a name is text and a place a number."""
    parts = value if isinstance(value, list | tuple) else [value]
    return ",".join(f'"{part}"' if isinstance(part, str) else as_text(part) for part in parts)


def _separator(text: str) -> str:
    """Text in which \\t is a tab and \\n a line break, as a shell passes them on."""
    if text == SPACES:
        return text
    if not text or re.search(r"\\[^tn]", text):
        raise ValueError(text)
    return text.replace(r"\t", "\t").replace(r"\n", "\n")


def _size(text: str) -> Any:
    sides = [int(side) for side in text.replace("x", ",").split(",")]
    return sides[0] if len(sides) == 1 else tuple(sides) if len(sides) == 2 else _fail(text)


def _pair(text: str) -> tuple[float, ...]:
    found = tuple(_numbers(text))
    return found if len(found) == 2 else _fail(text)


def _depth(text: str) -> Any:
    return _pair(text) if "," in text else int(text)


def _normalize(text: str) -> Any:
    if text in ("imagenet", "data"):
        return text
    mean, std = text.split(":")
    return tuple(_numbers(mean)), tuple(_numbers(std))


def _augment(text: str) -> Any:
    found = {"true": True, "false": False, "light": "light", "strong": "strong", "trivial": "trivial"}
    return found[text] if text in found else _fail(text)


def _bs(text: str) -> Any:
    return text if text == "auto" else int(text)


def _class_weights(text: str) -> Any:
    if "=" in text:
        return {name: _number(weight) for name, weight in _pairs(text).items()}
    return text if text == "balanced" else _numbers(text)


def _settings(text: str) -> dict[str, Any]:
    """Arguments of a call by name."""
    return {name: _setting(value) for name, value in _pairs(text).items()}


def _setting(text: str) -> bool | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text if text.isidentifier() else _number(text)


def _pairs(text: str) -> dict[str, str]:
    return _of_pairs([_parts(pair) for pair in _words(text)], text)


def _parts(pair: str) -> tuple[str, str]:
    name, value = pair.split("=")
    return (name, value) if name and value else _fail(pair)


def _codes(text: str) -> Any:
    """Names, pixel=name pairs, or a file of them, one per line."""
    lines = _lines(Path(text)) if Path(text).suffix == ".txt" else _words(text)
    if not any("=" in line for line in lines):
        return lines
    pairs = [line.split("=", 1) for line in lines]
    return _of_pairs([(int(value), name) for value, name in pairs], text)


def _of_pairs(pairs: list[tuple[K, str]], text: str) -> dict[K, str]:
    """The pairs that a text is made of; a key twice is refused."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else _fail(text)


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text("utf-8")  # a UnicodeDecodeError is a ValueError
    except OSError as error:
        raise MissingFileError(
            f"{file} cannot be read ({error.strerror})", fix="Pass the path of a file of names."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _fail(text: str) -> Any:
    raise ValueError(text)


LIST = Form("A,B,...", _words)
SUFFIXES = Form("A,B,..., nothing for files without a suffix", lambda text: text.split(","))
NUMBERS = Form("a number, or several: A,B,...", _one_or_more)
RATES = Form("a rate, FIRST:LAST, :LAST, or one per layer group: A,B,...", _rates)
COLUMNS = Form(
    """a column's name or number, or several: A,B,...; '"2"' for the name 2""", _columns, write=_columns_as_text
)
SEPARATOR = Form(r"text, in which \t is a tab and \n a line break, or \s+ for spaces", _separator)
SIZE = Form("a side, or HEIGHTxWIDTH, or none", _size, may_be_none=True)
PAIRS = Form("NAME=NAME,...", _pairs)
PAIR = Form("LOW,HIGH", _pair)
DEPTH = Form("bits, or BLACK,WHITE", _depth)
NORMALIZE = Form(
    "imagenet, data, none, or MEAN:STD with a number per channel: A,B,C:D,E,F", _normalize, may_be_none=True
)
BS = Form("a number, or auto", _bs)
AUGMENT = Form("true, false, light, strong or trivial", _augment)
CLASS_WEIGHTS = Form("balanced, or a number per class: A,B,... or CLASS=A,...", _class_weights)
SETTINGS = Form("NAME=VALUE,..., a value being a number, true, false or a word", _settings)
CODES = Form("A,B,... from pixel value 0, VALUE=NAME,..., or a .txt file with one per line", _codes)
TABLES = (CLASS_WEIGHTS, CODES, PAIRS, SETTINGS)  # that a configuration may write as a table
