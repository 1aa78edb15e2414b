"""What a label may be: text, a whole number, a boolean, a list of these, or a row of 0 and 1."""

import ast
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from learnkit.checks import is_number
from learnkit.data.classes import label_text
from learnkit.errors import DataError, UsageError

__all__ = ["SEVERAL", "all_text", "as_python", "class_names", "could_be_values", "is_label", "is_several",
           "multi_hot_names", "normalized", "number_in", "number_rows", "several_names"]  # fmt: skip

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
SEVERAL = (list, tuple, set, frozenset)  # what a label of several is
SOFT = "Labels are 0 or 1. Pass task='regression' to train on the numbers themselves."
FRACTION = "Pass task='regression' to train on the numbers; a class is text, such as '0.5'."
NAME = Callable[[str], str]


def as_python(value: Any) -> Any:
    """A label without NumPy or torch around it: their scalars are Python's, an array is a list; others are unchanged.

    >>> as_python(np.int64(3)), as_python(np.array(["a", "b"]))
    (3, ['a', 'b'])
    """
    if type(value) in (str, int, float, bool):  # nearly all of them
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a tensor of one number
        return value.item()
    return type(value)(map(as_python, value)) if type(value) in (list, tuple) else value


def is_several(label: Any) -> bool:
    """Whether a label is a list of labels or of numbers."""
    return isinstance(label, SEVERAL)


def is_label(value: Any) -> bool:
    """True for a label, such as an empty list; False for None, NaN and blank strings."""
    import pandas as pd

    if isinstance(value, str):
        return bool(value.strip(" "))
    return not pd.api.types.is_scalar(value) or not pd.isna(value)


def number_in(text: str) -> float | None:
    """The number that a text is; None for any other text.

    >>> number_in(" -1.5e3"), number_in("1_000"), number_in("nan")
    (-1500.0, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def all_text(values: Iterable[Any]) -> bool:
    """Whether there are values, and each is a str, and of no other class."""
    return set(map(type, values)) == {str}


def class_names(labels: Sequence[Any], rows: Sequence[Any], change: NAME | None = None) -> list[str]:
    """The name of the class of each label.

    Raises:
        DataError: a label of another type, a share, or a list that was written as text, with its row.
    """
    if set(map(type, labels)) not in ({str}, {bool}, {int}, {float}):  # lists are no keys, and True is not 1
        return [_name(label, row, change) for label, row in zip(labels, rows, strict=True)]
    first_row = dict(zip(reversed(labels), reversed(rows), strict=True))
    names = {label: _name(label, first_row[label], change) for label in dict.fromkeys(labels)}
    return [names[label] for label in labels]


def several_names(labels: Sequence[Any], rows: Sequence[Any], change: NAME | None = None) -> list[list[str]]:
    """The names of the classes of each item, each once.

    Raises:
        DataError: a label that is not a list, or that holds something other than labels, with its row.
    """
    names = []
    for label, row in zip(labels, rows, strict=True):
        if not is_several(label):
            fix = "Pass label_delim= to split text, or [label]."
            raise DataError(f"row {row}: label", got=label, expected="a list of labels", fix=fix)
        parts = sorted(label, key=str) if isinstance(label, set | frozenset) else list(label)
        if not all(map(is_label, parts)):
            raise DataError(f"row {row}: label", got=label, expected="no missing label among several")
        names.append(list(dict.fromkeys(_name(part, row, change) for part in parts)))
    _refuse_shares(labels, rows)
    return names


def multi_hot_names(labels: Sequence[Any], classes: Sequence[str] | None) -> list[list[str]] | None:
    """The names of the classes of each item, if the labels are rows of 0 and 1 of equal length; None if they are not.

    The texts "0" and "1" are such numbers, unless they are the names of classes.

    Raises:
        UsageError: there is not one name for each place of a row.
    """
    if not labels or not all(isinstance(label, list | tuple) and label for label in labels):
        return None
    n = len(labels[0])
    if any(len(label) != n or not all(_is_bit(one) for one in label) for label in labels):
        return None
    if isinstance(labels[0][0], str) and (n == 1 or (classes is not None and {"0", "1"} <= set(classes))):
        return None
    if classes is None or len(classes) != n:
        raise UsageError(
            f"classes of labels that are rows of {n} numbers, 0 or 1", got=None if classes is None else list(classes),
            expected=f"{n} names, one for each place of a row",
            fix="Pass classes=[...], or task='regression' for numbers.",
        )  # fmt: skip
    return [[name for name, is_there in zip(classes, label, strict=True) if int(is_there)] for label in labels]


def number_rows(labels: Sequence[Any], rows: Sequence[Any]) -> list[tuple[float, ...]]:
    """The numbers of each item.

    Raises:
        DataError: text that is not a number, or a number that is not finite, with its row.
    """
    return [_numbers(label, row) for label, row in zip(labels, rows, strict=True)]


def could_be_values(labels: Sequence[Any]) -> bool:
    """Whether labels could be values to predict as well as classes: floats, or text that is numbers, not all whole."""
    if set(map(type, labels)) == {str}:
        texts = set(labels)
        are_numbers = all(number_in(text) is not None for text in texts)
        return are_numbers and not all(_WHOLE.fullmatch(text.strip()) for text in texts)
    parts = (part for label in labels for part in (label if is_several(label) else [label]))
    return any(isinstance(part, float) for part in parts)


def _is_bit(value: Any) -> bool:
    return value in ("0", "1") if isinstance(value, str) else isinstance(value, bool | int | float) and value in (0, 1)


def _name(label: Any, row: Any, change: NAME | None) -> str:
    try:
        name = label_text(label)
    except DataError as error:
        text = f"row {row}: {error.what}"
        fix = FRACTION if isinstance(label, float) else error.fix
        raise DataError(text, got=label, expected=error.expected, fix=fix) from error
    if name[:1] in ("[", "(", "{") and _is_written_list(name):
        raise DataError(
            f"row {row}: label", got=name, expected="a label, not the text of a list",
            fix="Write lists to a table as text with a delimiter, ';'.join(labels), and read it with label_delim=';'.",
        )  # fmt: skip
    if change is None:
        return name
    return normalized(name, change)


def normalized(name: str, change: NAME) -> str:
    """What `normalize_labels=` makes of a label.

    Raises:
        UsageError: the function fails, or returns something else than text, or no text.
    """
    try:
        changed = change(name)
    except Exception as error:  # of the user's function
        raise UsageError(f"normalize_labels: it failed for {name!r} with {type(error).__name__} ({error})") from error
    if not isinstance(changed, str) or not changed.strip():
        raise UsageError(f"normalize_labels: for {name!r}", got=changed, expected="text that is not blank")
    return changed


def _is_written_list(text: str) -> bool:
    try:
        return isinstance(ast.literal_eval(text), list | tuple | set | dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _refuse_shares(labels: Sequence[Any], rows: Sequence[Any]) -> None:
    """Rows of -1, 0 and 1 say yes, no and uncertain: they are not labels."""
    values = {part for label in labels for part in label if isinstance(part, int | float)}
    is_table = len({len(label) for label in labels}) == 1 and not any(isinstance(p, str) for p in labels[0])
    if -1 in values and values <= {-1, 0, 1} and is_table:
        row, label = next((row, label) for row, label in zip(rows, labels, strict=True) if -1 in label)
        raise DataError(f"row {row}: label", got=label, expected="0 or 1 for each class, no -1", fix=SOFT)


def _numbers(label: Any, row: Any) -> tuple[float, ...]:
    cell = label.tolist() if hasattr(label, "tolist") else label  # a tensor
    parts = cell if isinstance(cell, list | tuple) else [cell]
    numbers: list[Any] = [number_in(part) if isinstance(part, str) else part for part in parts]
    if not all(isinstance(number, bool) or is_number(number) for number in numbers):
        fix = "Several numbers in a cell need label_delim=, and a decimal point, not a comma."
        raise DataError(f"row {row}: label", got=label, expected="a number, or several", fix=fix)
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"row {row}: label", got=label, expected="finite numbers", fix="Fill or drop the row.")
    return tuple(map(float, numbers))
