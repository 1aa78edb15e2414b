"""Changing a table of samples: other labels for some files, or fewer rows."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.checks import check_kind, is_int, nearest
from learnkit.data.image.sources import HeldImage
from learnkit.data.table.columns import column_of, missing_column, with_column
from learnkit.data.table.from_csv import read_table
from learnkit.data.table.label_columns import targets_in
from learnkit.data.table.label_values import as_python, class_names, is_label, several_names
from learnkit.data.table.labels import task_kind
from learnkit.data.table.samples import absolute, file_name
from learnkit.data.tasks import MultiLabel, Task
from learnkit.errors import DataError, UsageError
from learnkit.text import counted
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["dropped", "relabeled"]

FILES, LABELS = ("input", "path"), ("target", "label")  # the columns of `samples`, and of a table of label issues
MAX_SHOWN = 5


def relabeled(
    samples: "pd.DataFrame",
    table: Any,
    root: Path,
    task: Task | None,
    delimiter: str | None = None,
    change: Callable[[str], str] | None = None,
) -> "pd.DataFrame":
    """The table with other targets for the files that another table names.

    Args:
        samples: columns input and target.
        table: a DataFrame or a CSV file, with a column of files, input or path, and one of labels, target or label.
        root: what relative names of files, masks included, are relative to.
        task: what the labels mean; their classes stay.
        delimiter: what separates several labels in a cell.
        change: how labels are normalized.

    Raises:
        DataError: no such columns, a file that is not in `samples` or has two labels, or a label that is missing or no
            class.
    """
    kind = task_kind(task)
    if not hasattr(table, "columns"):
        check_kind("table", table, str | os.PathLike, "a DataFrame or the path of a CSV file")
        table = read_table(Path(table), None, "infer", empty_is_none=True, text_columns=(*FILES, *LABELS))
    files, labels = (_column_among(table, names) for names in (FILES, LABELS))
    named = column_of(table, files).tolist()
    names = _inputs(named, samples, root)
    targets = targets_in(table, labels, delimiter, kind)
    if missing := [row for row, target in enumerate(targets) if not is_label(target)]:
        raise DataError(f"column {labels!r}: no label in rows {missing[:MAX_SHOWN]}", fix="Drop a row with dls.drop.")
    if kind == "masks":
        targets = [absolute(os.path.join(root, target)) for target in targets]
    elif kind in ("classification", "multilabel"):
        targets = _class_targets(targets, task, change)
    new: dict[str, Any] = {}
    for name, target in zip(names, targets, strict=True):
        if name in new and new[name] != target:
            raise DataError(f"{name} has two labels", got=[new[name], target], expected="one row for each file")
        new[name] = target
    old = zip(samples["input"], samples["target"], strict=True)
    return with_column(samples, "target", [new.get(file, target) for file, target in old])


def dropped(samples: "pd.DataFrame", rows: Any, root: Path) -> "pd.DataFrame":
    """The table without some rows.

    Args:
        samples: column input; rows numbered from 0.
        rows: numbers of rows, True for each row to drop and False for each to keep, or files and names of images.
        root: what relative names of files are relative to.

    Raises:
        UsageError: anything else, or a number out of range.
        DataError: a file that is not in the table.
    """
    is_table = hasattr(rows, "columns")
    if is_table or isinstance(rows, str | bytes | os.PathLike | Mapping) or not isinstance(rows, Iterable):
        got = f"a {type(rows).__name__}" if is_table else rows
        raise UsageError("rows", got=got, expected="a list of row numbers, of True and False, or of files",
                         fix='Of a table, pass a column of files, such as issues["path"].')  # fmt: skip
    if getattr(rows, "name", None) == "item":
        raise UsageError("rows", got="the column item", expected="files: an item's number counts its own set alone",
                         fix='Pass issues["path"].')  # fmt: skip
    given, n = list(as_python(rows.tolist() if hasattr(rows, "tolist") else list(rows))), len(samples)
    if given and all(isinstance(row, bool) for row in given):
        if len(given) != n:
            raise UsageError("rows", got=f"{len(given)} of True and False", expected=f"{n}, one per row")
        return samples[~np.array(given)]
    if all(map(is_int, given)):
        if wrong := [row for row in given if not 0 <= row < n]:
            raise UsageError("rows", got=wrong[0], expected=f"row numbers from 0 to {n - 1}")
        return samples[~np.isin(np.arange(n), given)]
    return samples[~samples["input"].isin(set(_inputs(given, samples, root)))]


def _class_targets(targets: Sequence[Any], task: Any, change: Callable[[str], str] | None) -> list[Any]:
    """The names of classes that the targets are, or lists of names."""
    several = isinstance(task, MultiLabel)
    names: Sequence[Any] = (several_names if several else class_names)(targets, range(len(targets)), change)
    for row, name in enumerate(names):
        if unknown := set(name if several else [name]) - set(task.classes):
            raise DataError(
                f"row {row}: label", got=min(unknown), expected=f"one of {nearest(min(unknown), task.classes)}, ...",
                fix="ImageDataBunch.from_samples(table, classes=[...]) takes other classes.",
            )  # fmt: skip
    return list(names)


def _column_among(table: "pd.DataFrame", names: Sequence[str]) -> str:
    """Which of the two names the table has.

    Raises:
        DataError: neither, or both with different labels: which were edited?
    """
    found = [name for name in names if name in table.columns]
    if not found:
        raise missing_column(table, *names)
    if names == LABELS and len(found) > 1:
        one, two = (column_of(table, name).tolist() for name in found)
        for row, (ours, theirs) in enumerate(zip(one, two, strict=True)):
            if str(ours) != str(theirs) and (is_label(ours) or is_label(theirs)):
                raise DataError(
                    f"the columns {found[0]!r} and {found[1]!r} differ in row {row}", got=[ours, theirs],
                    expected="one of them", fix=f"Pass the table without the other: table.drop(columns={found[1]!r}).",
                )  # fmt: skip
    return found[0]


def _inputs(given: Sequence[Any], samples: "pd.DataFrame", root: Path) -> list[Any]:
    """The input in `samples` of each file or name of an image.

    Raises:
        DataError: files that are not there, or a name of several images.
    """
    inputs = samples["input"].tolist()
    held: dict[str, list[HeldImage]] = {}
    for one in set(filter(lambda one: isinstance(one, HeldImage), inputs)):
        held.setdefault(str(one), []).append(one)
    known, found, unknown = set(inputs), [], []
    for row, name in enumerate(given):
        images = held.get(name, ()) if isinstance(name, str) else ()
        if len(images) > 1:
            raise DataError(f"{len(images)} images are called {name!r}", fix="Pass the rows by number.")
        path = images[0] if images else name if isinstance(name, HeldImage) else _path(root, name, row)
        found.append(path)
        unknown += [] if path in known else [path]
    if unknown:
        raise DataError(
            f"{counted(len(unknown), 'file is', 'files are')} not in the table of samples, first {unknown[:MAX_SHOWN]}",
            fix="Use the names of dls.samples['input'], or names relative to dls.path.",
        )
    return found


def _path(root: Path, file: PathLike | bytes, row: int) -> str:
    return absolute(os.path.join(root, file_name(file, row)))
