"""The labels in the columns of a table: one column, text with several labels, or one column for each class."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, TypeAlias

from learnkit.checks import is_int
from learnkit.data.classes import label_text
from learnkit.data.table.columns import column_of
from learnkit.data.table.label_values import SOFT, as_python, is_label, number_in
from learnkit.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FALSE_VALUES", "TRUE_VALUES", "Column", "column_list", "labels_in", "targets_in"]

Column: TypeAlias = str | int
TRUE_VALUES = ("1", "true", "yes", "t", "y")
FALSE_VALUES = ("0", "false", "no", "f", "n")


def column_list(label_col: Any) -> list[Column]:
    """The columns that `label_col` names, one or several."""
    if isinstance(label_col, str) or is_int(label_col):
        return [label_col]
    if isinstance(label_col, Set) or not isinstance(label_col, Iterable) or not (columns := list(as_python(label_col))):
        raise UsageError("label_col", got=label_col, expected="a column by name or number, or a list of them")
    return columns


def targets_in(
    table: "pd.DataFrame", label_col: Any, delimiter: str | None, kind: str | None, **truths: Any
) -> list[Any]:
    """The target of every row: see `labels_in`."""
    return labels_in(table, label_col, delimiter, kind, **truths)[0]


def labels_in(
    table: "pd.DataFrame",
    label_col: Any,
    delimiter: str | None,
    kind: str | None,
    *,
    true_values: Sequence[str] = TRUE_VALUES,
    false_values: Sequence[str] = FALSE_VALUES,
) -> tuple[list[Any], list[str] | None]:
    """The target of every row, and the names of the columns if each is a class.

    One column is the label, or with `delimiter` a list of labels; several columns of yes and no, in whatever form, are
    a class each; several of numbers are numbers; several of text are labels, none where it is empty.

    Args:
        table: one row per item.
        label_col: a column by name or number, or several; a list of one is that column.
        delimiter: what separates several labels, or numbers, in a cell.
        kind: "classification", "multilabel" or "regression", if the task is known.
        true_values: texts that mean yes, in any case.
        false_values: texts that mean no.

    Raises:
        UsageError: an empty delimiter, or one for several columns; values that mean yes and no, or are not text.
        DataError: no such column; several columns that are neither yes and no nor numbers nor text, with the row.
    """
    if delimiter is not None and (not isinstance(delimiter, str) or not delimiter):
        raise UsageError("label_delim", got=delimiter, expected="the text between labels, such as ' ', or None")
    columns = [column_of(table, one) for one in column_list(label_col)]
    if len(columns) > 1 and delimiter is not None:
        raise UsageError("label_delim", got=delimiter, expected="None with several label columns")
    cells = [list(map(as_python, column.tolist())) for column in columns]
    if delimiter is not None:
        return [
            _numbers(cell, delimiter) if kind == "regression" else _labels(cell, delimiter) for cell in cells[0]
        ], None
    if len(cells) == 1 and (kind != "multilabel" or isinstance(label_col, str) or is_int(label_col)):
        return cells[0], None
    if kind == "regression":
        return list(zip(*cells, strict=True)), None
    names = [str(column.name) for column in columns]
    truths = _truths(true_values, false_values)
    flags = [[_flag(cell, truths) for cell in column] for column in cells]
    if _are_labels(flags) and not (len(cells) > 1 and _are_numbers(cells)):
        _refuse_two_words(cells)
        rows = [list(filter(is_label, row)) for row in zip(*cells, strict=True)]
        return cells[0] if len(cells) == 1 else rows, None
    if kind is None and _are_numbers(cells) and not _are_flags(cells, flags) and not _are_shares(cells, flags):
        return [tuple(map(_number, row)) for row in zip(*cells, strict=True)], None
    _check_flags(names, cells, flags)
    rows = [[name for name, is_there in zip(names, row, strict=True) if is_there] for row in zip(*flags, strict=True)]
    return rows, names


def _truths(true_values: Any, false_values: Any) -> dict[str, bool]:
    """{text: whether it means yes}, in lower case."""
    found: dict[str, bool] = {}
    for what, values, meaning in (("true_values", true_values, True), ("false_values", false_values, False)):
        texts = [values] if isinstance(values, str | int) else list(values)
        for text in texts:
            if not isinstance(text, str | int):
                raise UsageError(what, got=values, expected="a list of text")
            if found.setdefault(str(text).strip().lower(), meaning) != meaning:
                raise UsageError(what, got=values, expected=f"other values than true_values, which have {text!r} too")
    return found


def _flag(cell: Any, truths: Mapping[str, bool]) -> bool | None:
    """What a cell says of its class; None if neither yes nor no."""
    if not is_label(cell):
        return truths.get("")
    text = cell.strip().lower() if isinstance(cell, str) else str(cell).lower()
    if text in truths:
        return truths[text]
    number = number_in(cell) if isinstance(cell, str) else cell
    if not isinstance(number, bool | int | float) or number != number // 1:
        return None
    return truths.get(str(int(number)), bool(number) if number in (0, 1) else None)


def _refuse_two_words(cells: Sequence[Sequence[Any]]) -> None:
    """Several columns of the same two words, such as present and absent: no item has a label twice."""
    words = {str(cell) for column in cells for cell in column if is_label(cell)}
    if len(words) == 2 and any(len(set(row)) < len(row) for row in zip(*cells, strict=True)):
        one, two = sorted(words)
        raise UsageError(
            f"several label columns hold {one!r} and {two!r} alone", expected="yes and no, or labels",
            fix=f"If these mean yes and no, pass true_values=[{two!r}], false_values=[{one!r}] or the reverse.",
        )  # fmt: skip


def _are_shares(cells: Sequence[Sequence[Any]], flags: Sequence[Sequence[bool | None]]) -> bool:
    """Whether numbers look like 0 and 1 with an unknown (-1) or a share among them."""
    numbers = [_number(cell) for column in cells for cell in column if is_label(cell)]
    return all(-1 <= number <= 1 for number in numbers) and any(flag is not None for said in flags for flag in said)


def _are_labels(flags: Sequence[Sequence[bool | None]]) -> bool:
    return all(flag is None for column in flags for flag in column)


def _are_flags(cells: Sequence[Sequence[Any]], flags: Sequence[Sequence[bool | None]]) -> bool:
    """Whether all cells that are not empty say yes or no."""
    return all(
        flag is not None or not is_label(cell)
        for column, said in zip(cells, flags, strict=True)
        for cell, flag in zip(column, said, strict=True)
    )


def _are_numbers(cells: Sequence[Sequence[Any]]) -> bool:
    """Whether all cells that are not empty are numbers, or text that is one."""
    return all(not is_label(cell) or not math.isnan(_number(cell)) for column in cells for cell in column)


def _check_flags(names: Sequence[str], cells: Sequence[Sequence[Any]], flags: Sequence[Sequence[bool | None]]) -> None:
    for name, column, said in zip(names, cells, flags, strict=True):
        rows = [row for row, flag in enumerate(said) if flag is None]
        if not rows:
            continue
        expected = "yes or no in every row of columns that are classes each"
        empty = [row for row in rows if not is_label(column[row])]
        if empty:
            fix = 'Fill or drop these rows; false_values=["0", ""] takes an empty cell for no.'
            raise DataError(f"column {name!r}: rows {empty[:5]} are empty", expected=expected, fix=fix)
        fix = SOFT if not math.isnan(_number(column[rows[0]])) else "true_values= and false_values= name other words."
        raise DataError(f"column {name!r}: row {rows[0]}", got=column[rows[0]], expected=expected, fix=fix)


def _number(cell: Any) -> float:
    """The cell as a number; nan for anything else."""
    number = number_in(cell) if isinstance(cell, str) else cell
    return float(number) if isinstance(number, bool | int | float) else math.nan


def _labels(cell: Any, delimiter: str) -> list[str]:
    parts = label_text(cell).split(delimiter) if is_label(cell) else []
    return [part.strip() for part in parts if part.strip()]


def _numbers(cell: Any, delimiter: str) -> Any:
    """The numbers in a cell as text; None without any."""
    if not isinstance(cell, str):
        return cell if is_label(cell) else None
    return cell.split() if delimiter.isspace() else cell.split(delimiter)
