"""Tables of samples from a table of the user: a CSV file or a DataFrame."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.checks import is_int
from learnkit.data.classes import label_text, sorted_names
from learnkit.data.image.read import EXTENSIONS
from learnkit.data.table.columns import column_of, place_of
from learnkit.data.table.files import existing_folder
from learnkit.data.table.label_columns import FALSE_VALUES, TRUE_VALUES, Column, column_list, labels_in
from learnkit.data.table.remembered import forget, remember
from learnkit.data.table.samples import rows_text
from learnkit.data.table.split_results import split_of
from learnkit.data.tasks import MultiLabel
from learnkit.errors import DataError, MissingFileError, UnsafeFileError, UsageError, warn
from learnkit.text import counted
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SPACES", "frame_samples", "read_table", "without_split_columns"]

SPACES = r"\s+"  # the one delimiter of pandas.read_csv that is a pattern


def read_table(
    file: Path,
    delimiter: str | None,
    header: Any,
    *,
    empty_is_none: bool,
    text_columns: Sequence[Column] = (),
    images: tuple[Path, Column, str] | None = None,
) -> "pd.DataFrame":
    """A CSV file, unchanged.

    Args:
        file: the CSV file.
        delimiter: what separates its columns; None for a tab in .tsv and a comma elsewhere.
        header: as for pandas.read_csv: "infer" for a first line of names, or None for a file without.
        empty_is_none: read only empty cells as missing, so that "NA" or "None" can be a label.
        text_columns: columns that are read as text, by name or number: "0001" is not 1. No such column is not an error.
        images: (folder, column, suffix) of the files that the table names, to notice a first line that is not a header.

    Raises:
        MissingFileError: no such file.
        DataError: no rows, not a table, a first line that names an image, or rows longer than it.
        UsageError: a header that is neither "infer" nor a line's number nor None, a delimiter of several characters.
    """
    import pandas as pd

    if header not in ("infer", None) and not is_int(header):
        fix = "Pass header=None for a file without names of columns." if header is False else ""
        raise UsageError("header", got=header, expected='"infer", the number of a line, or None', fix=fix)

    if delimiter not in (None, SPACES) and (not isinstance(delimiter, str) or len(delimiter) != 1):
        raise UsageError("delimiter", got=delimiter, expected=f"one character, or {SPACES!r} for spaces and tabs")
    if not file.is_file():
        there = sorted(entry.name for entry in file.parent.glob("*.csv")) if file.parent.is_dir() else []
        raise MissingFileError(f"no file {file}", fix=f"CSV files there: {', '.join(there) or 'none'}.")
    options: dict[str, Any] = {"sep": delimiter or ("\t" if file.suffix.lower() == ".tsv" else ","), "header": header}
    options |= {"index_col": False}  # a row with one cell more than there are names would shift all of them
    if empty_is_none:
        options |= {"keep_default_na": False, "na_values": [""]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            names = list(pd.read_csv(file, nrows=1, **options).columns)
            if header in ("infer", 0) and images is not None:
                _check_header(file, names, *images)
            found = [name for column in text_columns if (name := _name(names, column)) is not None]
            if twice := next((column for column in text_columns if {column, f"{column}.1"} <= set(names)), None):
                raise DataError(f"{file}: several columns are called {twice!r}", fix="Rename them, or pass a number.")
            table: pd.DataFrame = pd.read_csv(file, dtype=dict.fromkeys(found, str), **options)
    except pd.errors.ParserWarning as error:
        raise DataError(f"{file}: rows have more cells than the first line", expected="a name for each column",
                        fix="Correct the first line, or pass header=None.") from error  # fmt: skip
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{file} has 0 rows", expected="one per file") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8 text ({error})",
            fix="Save it as UTF-8, or pass pd.read_csv(..., encoding=) to from_df.",
        ) from error
    except pd.errors.ParserError as error:
        raise DataError(
            f"{file} cannot be read as a table ({str(error).strip()})", fix="Pass delimiter= or header=None."
        ) from error
    if not len(table):
        raise DataError(f"{file} has 0 rows", expected="one per file")
    return table


def frame_samples(
    path: PathLike,
    table: "pd.DataFrame",
    folder: str,
    fn_col: Column,
    label_col: Column | Sequence[Column],
    label_delim: str | None,
    suffix: str,
    *,
    kind: str | None,
    allow_outside: bool,
    true_values: Sequence[str] = TRUE_VALUES,
    false_values: Sequence[str] = FALSE_VALUES,
) -> "pd.DataFrame":
    """A user's table with the columns input (paths) and target added, its rows numbered from 0.

    Where each of several columns is a class, the table remembers them all, also one that no item has.

    Other columns of these names are kept as input_ and target_.

    Args:
        path: the names in the table are relative to this.
        table: one row per image.
        folder: below `path`, where the images are.
        fn_col: the column of the names, by name or number.
        label_col: the column of the labels, or several; of the paths of masks, with the kind "masks".
        label_delim: what separates several labels in a cell.
        suffix: what to add to the names.
        kind: "classification", "multilabel", "regression" or "masks"; None if the task is not known.
        allow_outside: let names point outside `path`.
        true_values, false_values: what means yes and no in several columns of labels.

    Raises:
        DataError: no rows, no such column, an index in the place of the names, or no name in a row.
        UnsafeFileError: names that point outside `path`.
    """
    import pandas as pd

    root = existing_folder(path)
    if not len(table):
        raise DataError("the table has 0 rows", expected="one per file")
    table = table.reset_index(drop=True)
    columns = [column_of(table, one) for one in (fn_col, *column_list(label_col))]
    _check_index(table, [str(column.name) for column in columns])
    names = columns[0]
    nameless = names.isna() | (names.astype(str) == "")
    if nameless.any():
        raise DataError(f"column {fn_col!r}: no name in rows {names.index[nameless].tolist()[:5]}")
    start = os.path.join(root, folder)
    inputs = [os.path.join(start, f"{_file_name(name, row)}{suffix}") for row, name in enumerate(names)]
    targets, classes = labels_in(
        table, label_col, label_delim, kind, true_values=true_values, false_values=false_values
    )  # fmt: skip
    if kind == "masks":
        targets = [os.path.join(root, mask) if isinstance(mask, str) else mask for mask in targets]
    used = [column.name for column in columns]
    own = {name: f"{name}_" for name in ("input", "target") if name in table.columns and name not in used}
    added = {name: pd.Series(values, dtype=object) for name, values in (("input", inputs), ("target", targets))}
    samples = table.rename(columns=own).assign(**added)  # names need not be valid UTF-8
    if not allow_outside:
        _check_inside(samples["input"], root)
        if kind == "masks":
            _check_inside(samples["target"][[isinstance(mask, str) for mask in targets]], root)
    if classes is not None:
        return remember(samples, MultiLabel(sorted_names(dict.fromkeys(classes))))
    return samples if used[1:] == ["target"] else forget(samples)


def without_split_columns(samples: "pd.DataFrame", *, is_split: bool) -> "pd.DataFrame":
    """The table without a column `split`, which nobody asked for; a warning says how to use it.

    Args:
        samples: a table of samples.
        is_split: whether the rows are split in another way that the caller chose.
    """
    for name in ("split", "is_valid"):
        if name in samples.columns and not is_split:
            found = {split_of(cell) for cell in samples[name].tolist()}
            if {"train", "valid"} <= found and None not in found:
                warn(f"the column {name!r} names splits and is not used: valid_col={name!r} uses it")
    return samples.drop(columns="split", errors="ignore")


def _name(names: Sequence[Any], column: Any) -> Any:
    """The name of a column given by name or number; None if there is none."""
    place = place_of(names, column)
    return None if place is None else names[place]


def _check_header(file: Path, names: Sequence[Any], folder: Path, fn_col: Column, suffix: str) -> None:
    """A first line whose cell in the column of names is itself that of an image is not a header."""
    if isinstance(fn_col, str) and fn_col in names:
        return
    cells = names if isinstance(fn_col, str) else [_name(names, fn_col)]
    for cell in map(str, cells):
        if os.path.isfile(folder / f"{cell}{suffix}") or os.path.splitext(cell)[1].lower() in EXTENSIONS:
            raise DataError(
                f"{file}: the first line names an image, {cell!r}", expected="the names of the columns",
                fix="Pass header=None for a file without them.",
            )  # fmt: skip


def _check_index(table: "pd.DataFrame", used: Sequence[str]) -> None:
    """The column without a name that DataFrame.to_csv writes numbers the rows: it holds no files and no labels."""
    first = str(table.columns[0])
    if not first.startswith("Unnamed: 0") or first not in used:
        return
    if table.iloc[:, 0].astype(str).tolist() == [str(row) for row in range(len(table))]:
        raise UsageError(
            "the first column has no name and numbers the rows", expected="names of files, and labels",
            fix=f"Pass fn_col= and label_col= by name, of {', '.join(map(str, table.columns[1:]))}; "
            "to_csv(index=False) leaves it out.",
        )  # fmt: skip


def _file_name(name: Any, row: int) -> str:
    if isinstance(name, bytes | os.PathLike):
        return os.fsdecode(name)
    try:
        return label_text(name, "name")
    except DataError as error:
        raise error.prefixed(f"row {row}") from error


def _check_inside(files: "pd.Series[str]", root: Path) -> None:
    """Names from a table are not trusted: none may point outside its folder."""
    real_root = os.path.realpath(root)
    folders: dict[str, bool] = {}
    outside = []
    for row, name in files.items():
        if "\0" in name:
            raise UnsafeFileError(f"row {row}: a NUL character in the name {name!r}")
        where = os.path.realpath(name) if os.path.islink(name) else os.path.dirname(name)
        if where not in folders:
            folders[where] = os.path.commonpath([real_root, os.path.realpath(where)]) == real_root
        if not folders[where] or "://" in name:
            outside.append(row)
    if outside:
        raise UnsafeFileError(
            f"{counted(len(outside), 'name points', 'names point')} outside {root}, "
            f"first {rows_text(files.to_frame('input'), outside)}",
            fix="Correct them, or pass allow_outside=True if you trust the table.",
        )
