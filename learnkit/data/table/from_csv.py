"""Tables of samples from lists: a CSV file, a DataFrame, names with labels, or names that contain their label."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from learnkit.data.table.columns import column_of
from learnkit.data.table.files import existing_folder, get_image_files
from learnkit.data.table.samples import rows_text
from learnkit.errors import DataError, MissingFileError, UnsafeFileError, UsageError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Column", "frame_samples", "list_samples", "named_samples", "pattern_label", "read_table"]

Column: TypeAlias = str | int


def read_table(file: Path, delimiter: str | None, header: Any, *, empty_is_none: bool) -> "pd.DataFrame":
    """A CSV file, unchanged.

    Args:
        file: the CSV file.
        delimiter: what separates its columns; None for a tab in .tsv and a comma elsewhere.
        header: as for pandas.read_csv: "infer", or None for a file without names.
        empty_is_none: read only empty cells as missing, so that "NA" or "None" can be a label.

    Raises:
        MissingFileError: no such file.
        DataError: no rows, or not a table.
    """
    import pandas as pd

    if not file.is_file():
        there = sorted(entry.name for entry in file.parent.glob("*.csv")) if file.parent.is_dir() else []
        raise MissingFileError(f"no file {file}", fix=f"CSV files there: {', '.join(there) or 'none'}.")
    missing: dict[str, Any] = {"keep_default_na": False, "na_values": [""]} if empty_is_none else {}
    try:
        table: pd.DataFrame = pd.read_csv(
            file, sep=delimiter or ("\t" if file.suffix == ".tsv" else ","), header=header, **missing
        )
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
    as_numbers: bool,
    allow_outside: bool,
) -> "pd.DataFrame":
    """A user's table with the columns input (paths) and target added, its rows numbered from 0.

    Other columns of these names are kept as input_ and target_.

    Args:
        path: the names in the table are relative to this.
        table: one row per image.
        folder: below `path`, where the images are.
        fn_col: the column of the names, by name or number.
        label_col: the column of the labels, or several.
        label_delim: what separates several labels in a cell.
        suffix: what to add to the names.
        as_numbers: several label columns are numbers, even if all are 0 or 1.
        allow_outside: let names point outside `path`.

    Raises:
        DataError: no rows, no such column, or no name in a row.
        UnsafeFileError: names that point outside `path`.
    """
    import pandas as pd

    root = existing_folder(path)
    if not len(table):
        raise DataError("the table has 0 rows", expected="one per file")
    table = table.reset_index(drop=True)
    names = column_of(table, fn_col)
    nameless = names.isna() | (names.astype(str) == "")
    if nameless.any():
        raise DataError(f"column {fn_col!r}: no name in rows {names.index[nameless].tolist()[:5]}")
    targets = _targets(table, label_col, label_delim, as_numbers=as_numbers)
    inputs = [os.path.join(root, folder, f"{name}{suffix}") for name in names]
    used = [
        column_of(table, one).name
        for one in (fn_col, *([label_col] if isinstance(label_col, str | int) else label_col))
    ]
    own = {name: f"{name}_" for name in ("input", "target") if name in table.columns and name not in used}
    as_they_are = pd.Series(inputs, index=table.index, dtype=object)  # names need not be valid UTF-8
    samples = table.rename(columns=own).assign(input=as_they_are, target=targets)
    if not allow_outside:
        _check_inside(samples, root)
    return samples


def list_samples(path: PathLike, fnames: Iterable[PathLike], labels: Iterable[Any]) -> "pd.DataFrame":
    """Names (absolute, relative to `path`, or from `get_image_files(path)`) and their labels.

    Raises:
        DataError: no names, or not as many labels as names.
    """
    inputs, targets = _paths(path, fnames), list(labels)
    if len(inputs) != len(targets):
        raise DataError(f"got {len(inputs)} names and {len(targets)} labels", expected="as many labels as names")
    return _table(inputs, targets)


def named_samples(path: PathLike, fnames: Iterable[PathLike] | None, label: Callable[[str], Any]) -> "pd.DataFrame":
    """Files labeled by a function of their whole POSIX path; `fnames` None for all images below `path`."""
    files = _paths(path, get_image_files(path) if fnames is None else fnames)
    return _table(files, [label(Path(file).as_posix()) for file in files])


def pattern_label(pattern: str | re.Pattern[str]) -> Callable[[str], str]:
    """A label function: group 1 of a regular expression found in the path.

    Raises:
        UsageError: not a regular expression, or one without a group.

    >>> pattern_label(r"/([^/]+)_\\d+.jpg$")("images/great_pyrenees_173.jpg")
    'great_pyrenees'
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UsageError("pat", got=pattern, expected=f"a regular expression ({error})") from error
    if not compiled.groups:
        raise UsageError("pat", got=compiled.pattern, expected="a group in parentheses around the label")

    def label(path: str) -> str:
        match = compiled.search(path)
        if match is None:
            raise DataError(
                f"the pattern {compiled.pattern!r} is not found in {path!r}", fix="The whole path is searched."
            )
        return match.group(1)

    return label


def _table(inputs: list[str], targets: list[Any]) -> "pd.DataFrame":
    import pandas as pd

    samples = pd.DataFrame({"input": inputs}, dtype=object)  # names need not be valid UTF-8
    samples["target"] = pd.Series(targets, dtype=object if any(isinstance(t, list | tuple) for t in targets) else None)
    return samples


def _paths(path: PathLike, fnames: Iterable[PathLike]) -> list[str]:
    root = existing_folder(path)
    files = [_path(root, name) for name in fnames]
    if not files:
        raise DataError(f"0 files under {root}", expected="at least 2, one for training and one for validation")
    return files


def _path(root: Path, name: PathLike) -> str:
    joined = root / name
    if not root.is_absolute() and Path(name).is_relative_to(root) and not os.path.exists(joined):
        return str(name)  # from get_image_files, which begins with the root
    return str(joined)


def _targets(
    table: "pd.DataFrame", label_col: Column | Sequence[Column], label_delim: str | None, *, as_numbers: bool
) -> Any:
    import pandas as pd

    if isinstance(label_col, str | int):
        column = column_of(table, label_col)
        if label_delim is None:
            return column
        split = [[] if pd.isna(cell) else _labels_in(str(cell), label_delim) for cell in column]
        return pd.Series(split, index=table.index, dtype=object)
    parts = table[[column_of(table, one).name for one in label_col]]
    if label_delim is not None:
        raise UsageError("label_delim", got=label_delim, expected="None with several label columns")
    if all(kind.kind in "biuf" for kind in parts.dtypes):
        if not as_numbers and parts.isin([0, 1]).all(axis=None):  # one column per class, yes or no
            rows = [[name for name, is_there in zip(parts, row, strict=True) if is_there] for row in parts.values]
            return pd.Series([list(map(str, row)) for row in rows], index=table.index, dtype=object)
        numbers = [tuple(map(float, row)) for row in parts.values]
        return pd.Series(numbers, index=table.index, dtype=object)
    texts = [[str(cell) for cell in row if not pd.isna(cell)] for row in parts.values]
    return pd.Series(texts, index=table.index, dtype=object)


def _labels_in(cell: str, delimiter: str) -> list[str]:
    return list(dict.fromkeys(label.strip() for label in cell.split(delimiter) if label.strip()))


def _check_inside(samples: "pd.DataFrame", root: Path) -> None:
    """Names from a table are not trusted: none may point outside its folder."""
    real_root = os.path.realpath(root)
    folders: dict[str, bool] = {}
    outside = []
    for row, name in zip(samples.index, samples["input"], strict=True):
        if "\0" in name:
            raise UnsafeFileError(f"row {row}: a NUL character in the name {name!r}")
        where = os.path.realpath(name) if os.path.islink(name) else os.path.dirname(name)
        if where not in folders:
            folders[where] = os.path.commonpath([real_root, os.path.realpath(where)]) == real_root
        if not folders[where] or "://" in name:
            outside.append(row)
    if outside:
        raise UnsafeFileError(
            f"{len(outside)} names point outside {root}, first {rows_text(samples, outside)}",
            fix="Correct them, or pass allow_outside=True if you trust the table.",
        )
