"""The table of samples: one row per item, with its path, its target, its split and any other columns."""

import os
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.data.image.sources import HeldImage
from learnkit.data.table.columns import column_of, with_column
from learnkit.data.table.label_values import all_text, as_python
from learnkit.data.table.split_results import split_names, splits_of
from learnkit.data.table.splits import Split
from learnkit.errors import DataError, WrongTypeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SPLITS", "absolute", "checked_samples", "file_name", "in_order", "rows_text", "split_samples"]

SPLITS = ("train", "valid", "test")
MAX_SHOWN = 5  # rows named in an error


def checked_samples(samples: Any, *, are_masks: bool = False) -> "pd.DataFrame":
    """A user's table, its rows numbered from 0, its paths absolute text and its targets plain Python.

    Args:
        samples: columns input and target, and maybe split; of any index and types.
        are_masks: the targets are paths.

    Raises:
        WrongTypeError: not a DataFrame.
        DataError: a column that is missing or there twice, no rows, or an input that is not a path.
    """
    import pandas as pd

    if not hasattr(samples, "columns"):
        raise WrongTypeError("samples", got=samples, expected="a DataFrame with the columns input and target")
    inputs, targets = column_of(samples, "input").tolist(), column_of(samples, "target").tolist()
    if not inputs:
        raise DataError("the table has 0 rows", expected="one per file")
    columns = {
        "input": inputs if _are_absolute(inputs) else [_absolute_input(name, row) for row, name in enumerate(inputs)],
        "target": targets if all_text(targets) else [as_python(target) for target in targets],
    }
    if are_masks:
        columns["target"] = [absolute(mask) if isinstance(mask, str) else mask for mask in columns["target"]]
    if "split" in samples.columns:
        columns["split"] = column_of(samples, "split").tolist()
    table: pd.DataFrame = samples.reset_index(drop=True)
    return table.assign(**{name: pd.Series(values, dtype=object) for name, values in columns.items()})


def _are_absolute(inputs: Sequence[Any]) -> bool:
    """Whether all are absolute paths as text, where these begin with a slash; else False."""
    return os.sep == "/" and all_text(inputs) and all(map(str.startswith, inputs, repeat("/")))


def _absolute_input(name: Any, row: int) -> Any:
    return name if isinstance(name, HeldImage) else absolute(file_name(name, row))


def file_name(name: Any, row: int) -> str:
    """The path or name of a file as text; bytes are decoded as the system does.

    Raises:
        DataError: anything else, with its row.
    """
    if isinstance(name, str):
        return str(name)
    if isinstance(name, bytes | os.PathLike):
        return os.fsdecode(name)
    raise DataError(
        f"input of row {row}", got=name, expected="the path of a file",
        fix="Items that are not files go into DataBunch.from_datasets.",
    )  # fmt: skip


def absolute(path: str) -> str:
    """The path from the root of the file system, so that a change of the working directory does not matter."""
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def split_samples(samples: "pd.DataFrame", split: Split) -> "pd.DataFrame":
    """The table with a column `split`; rows that are in the test set already (column `split` is "test") stay there."""

    if "split" not in samples:
        return with_column(samples, "split", split_names(samples, split))
    there = samples["split"].tolist()
    is_test = [name == "test" for name in splits_of([one if isinstance(one, str) else None for one in there])]
    rest = samples[[not one for one in is_test]] if any(is_test) else samples
    names = iter(split_names(rest, split))
    splits = ["test" if one else next(names) for one in is_test]
    return with_column(samples, "split", splits)


def in_order(samples: "pd.DataFrame") -> "pd.DataFrame":
    """Training, validation and test rows in this order, otherwise in their own, numbered from 0.

    The columns input, target and split come first.
    """
    rank_of = {name: rank for rank, name in enumerate(SPLITS)}
    ranks = np.array([rank_of[name] for name in samples["split"].tolist()], dtype=np.int8)
    ordered = samples.iloc[ranks.argsort(kind="stable")].reset_index(drop=True)
    names = ordered.columns.tolist()
    first = [names.index(name) for name in ("input", "target", "split")]
    places = [*first, *(place for place in range(len(names)) if place not in first)]  # two may have one name
    return ordered.iloc[:, places]


def rows_text(samples: "pd.DataFrame", rows: Iterable[Any]) -> str:
    """The first rows as text: their numbers and files.

    >>> import pandas as pd
    >>> rows_text(pd.DataFrame({"input": ["a.jpg", "b.jpg"]}), [1])
    "'b.jpg' (row 1)"
    """
    return ", ".join(f"{samples['input'][row]!r} (row {row})" for row in list(rows)[:MAX_SHOWN])
