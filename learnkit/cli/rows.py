"""Predictions as rows: an input, its label and the probability of that, in a table, CSV or JSON."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from learnkit.cli.output import print_line
from learnkit.data.points import Points
from learnkit.data.tasks import MultiLabel, Regression, Task
from learnkit.inference.predictor import Prediction
from learnkit.text import printable, spreadsheet_safe

__all__ = ["FORMATS", "Row", "print_rows", "row_of"]

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


def print_rows(rows: Iterable[Row], form: str, *, has_top: bool) -> None:
    """Print rows in one of FORMATS; JSON and CSV one by one, a table once all are known."""
    if form == "json":
        for row in rows:
            _print_at_once(json.dumps(_json(row)))
        return
    names = ["input", "label", "probability", *(["top"] if has_top else [])]
    if form == "csv":
        _print_at_once(_csv_line(names))
        for row in rows:
            _print_at_once(_csv_line(_cells(row, "{:.6f}".format)))
        return
    table = [names, *(list(map(printable, _cells(row, "{:.4f}".format))) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print_line("  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())


def _print_at_once(line: str) -> None:
    print_line(line)
    sys.stdout.flush()


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
