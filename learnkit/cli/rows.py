"""Predictions as rows in a table, CSV or JSON: an input with its label and the probability of that, or with its set."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from learnkit.cli.output import flush_output, print_line
from learnkit.data.points import Points
from learnkit.data.tasks import MultiLabel, Regression, Task
from learnkit.inference.predictor import Prediction
from learnkit.inference.sets import PredictionSet
from learnkit.text import printable, spreadsheet_safe

__all__ = ["FORMATS", "Row", "SetRow", "print_rows", "print_set_rows", "row_of", "set_row_of"]

FORMATS = ("table", "csv", "json")


class Row(NamedTuple):
    """The prediction for one image.

    Attributes:
        input: its path.
        label: a class; several; a number, or several by their names; points [x, y] in pixels by their names; the path
            of a mask.
        probability: of the class, or of each of several; None without classes.
        top: the most probable classes, each with its probability; None if they are not asked for.
    """

    input: str
    label: Any
    probability: Any = None
    top: list[tuple[str, float]] | None = None


class SetRow(NamedTuple):
    """The set for one image, as of `predict_set`.

    Attributes:
        input: its path.
        labels: classes, the most probable first; of a number its interval [low, high], of several by their names.
        is_familiar: False for "none of these"; None if nothing tells.
        score: how familiar it is, 0 or more for a familiar image; None if nothing tells.
    """

    input: str
    labels: Any
    is_familiar: bool | None
    score: float | None


class _Line(NamedTuple):
    """A row as an object of JSON, and as cells with numbers in a format."""

    named: dict[str, Any]
    cells: Callable[[Callable[[float], str]], list[str]]


def row_of(path: str, prediction: Prediction, task: Task, k: int | None = None) -> Row:
    """A prediction as a row, with the k most probable classes."""
    label, index, probs = prediction
    if isinstance(task, Points):
        return Row(path, {name: list(point) for name, point in zip(task.point_names, label, strict=True)})
    if isinstance(task, Regression):
        return Row(path, label[0] if task.n_out == 1 else dict(zip(task.names, label, strict=True)))
    chances = probs.tolist()
    likely = sorted(range(len(chances)), key=lambda place: (-chances[place], place))[:k]
    top = None if k is None else [(task.classes[place], chances[place]) for place in likely]
    if isinstance(task, MultiLabel):
        return Row(path, label, [chances[task.classes.index(name)] for name in label], top)
    return Row(path, label, chances[int(index)], top)


def set_row_of(path: str, found: PredictionSet, task: Task) -> SetRow:
    """The answer of `predict_set` as a row."""
    labels: Any = found.labels
    if isinstance(task, Regression):
        ends = [list(interval) for interval in labels]
        labels = ends[0] if task.n_out == 1 else dict(zip(task.names, ends, strict=True))
    return SetRow(path, labels, found.is_familiar, None if math.isnan(found.score) else found.score)


def print_set_rows(rows: Iterable[SetRow], form: str) -> None:
    """Print rows of sets as `print_rows` does."""
    _print((_Line(row._asdict(), partial(_set_cells, row)) for row in rows), list(SetRow._fields), form)


def _set_cells(row: SetRow, shown: Callable[[float], str]) -> list[str]:
    is_number = bool(row.labels) and isinstance(row.labels, list) and isinstance(row.labels[0], float)
    labels = _number(row.labels) if is_number else _text(row.labels)
    familiar = "" if row.is_familiar is None else str(row.is_familiar).lower()
    return [row.input, labels, familiar, "" if row.score is None else shown(row.score)]


def print_rows(rows: Iterable[Row], form: str, *, has_top: bool) -> None:
    """Print rows in one of FORMATS; JSON and CSV one by one, a table once all are known."""
    names = ["input", "label", "probability", *(["top"] if has_top else [])]
    _print((_Line(_json(row), partial(_cells, row)) for row in rows), names, form)


def _print(lines: Iterable[_Line], names: list[str], form: str) -> None:
    if form == "json":
        for line in lines:
            _print_at_once(json.dumps(line.named))
        return
    if form == "csv":
        ahead = iter(lines)
        first = next(ahead, None)  # or an error, before anything is printed
        _print_at_once(_csv_line(names))
        for line in chain([] if first is None else [first], ahead):
            _print_at_once(_csv_line(line.cells("{:.6f}".format)))
        return
    table = [names, *(list(map(printable, line.cells("{:.4f}".format))) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print_line("  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())


def _print_at_once(line: str) -> None:
    print_line(line)
    flush_output()


def _json(row: Row) -> dict[str, Any]:
    named: dict[str, Any] = {"input": row.input, "label": row.label, "probability": row.probability}
    if row.top is None:
        return named
    return named | {"top": [{"label": name, "probability": chance} for name, chance in row.top]}


def _cells(row: Row, shown: Callable[[float], str]) -> list[str]:
    several = row.probability if isinstance(row.probability, list) else [row.probability]
    chances = ";".join(shown(chance) for chance in several if chance is not None)
    top = [] if row.top is None else [";".join(f"{name} {shown(chance)}" for name, chance in row.top)]
    return [row.input, _text(row.label), chances, *top]


def _text(label: Any) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, float):
        return f"{label:.6g}"
    if isinstance(label, dict):
        return ";".join(f"{name} {_number(value)}" for name, value in label.items())
    return ";".join(label)


def _number(value: float | Sequence[float]) -> str:
    return f"{value:.6g}" if isinstance(value, float) else " ".join(map(_number, value))


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([_safe(cell) for cell in cells])
    return line.getvalue()


def _safe(cell: str) -> str:
    """The cell without what a spreadsheet would run; a negative number stays one."""
    try:
        float(cell)
    except ValueError:
        return str(spreadsheet_safe(cell))
    return cell
