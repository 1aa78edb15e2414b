"""The columns of an external table: one by name or position, and the groups in one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from learnkit.checks import is_int
from learnkit.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_flat", "column_of", "group_numbers", "missing_column", "place_of", "with_column"]


def check_flat(table: "pd.DataFrame") -> None:
    """Refuse a table whose columns have names of several levels.

    Raises:
        DataError: showing the first of them.
    """
    if table.columns.nlevels > 1:
        raise DataError(
            f"columns have names of {table.columns.nlevels} levels, such as {table.columns[0]!r}",
            expected="one name for each column",
            fix="Join them: table.columns = ['_'.join(map(str, name)) for name in table.columns].",
        )


def column_of(samples: "pd.DataFrame", column: str | int) -> "pd.Series[Any]":
    """A column by name or position.

    Raises:
        DataError: no column of this name, or several, or a position that is the name of another column; columns with
            names of several levels.
    """
    check_flat(samples)
    place = place_of(list(samples.columns), column)
    if place is None:
        raise missing_column(samples, column)
    return samples.iloc[:, place]


def place_of(names: Sequence[Any], column: str | int) -> int | None:
    """Where a column is among the names of all, given by name or position; None if there is none.

    A number is that of a position, or else a name: columns of a file are called "2019", never 2019.

    Raises:
        DataError: several columns of this name, or a position that is the name of another column.
    """
    if column in names:
        if names.count(column) > 1:
            raise DataError(f"several columns are called {column!r}", fix="Rename them, or pass the position of one.")
        return names.index(column)
    if not is_int(column):
        return None
    called = [place for place, name in enumerate(names) if name == str(int(column))]
    place = int(column) % len(names) if -len(names) <= column < len(names) else None
    if place is None or called == [place]:
        return called[0] if len(called) == 1 else place
    if called:
        raise DataError(
            f"column {column} is called {names[place]!r}, and another one is called '{column}'",
            fix=f"Pass a name, as text: {names[place]!r}, or '{column}', on a command line '\"{column}\"'.",
        )
    return place


def missing_column(samples: "pd.DataFrame", *columns: str | int) -> DataError:
    """The error for a table that has none of these columns; a separator that was not split at is named."""
    names = [str(name) for name in samples.columns]
    shown = ", ".join(name if name == name.strip() else repr(name) for name in names)
    separator = next((text for text in ";\t|," if len(names) == 1 and text in names[0]), None)
    spaced = next((name for name in names if name.strip() in columns), None)
    fix = f"There is {spaced!r}, with a space: pass that name, or correct the file." if spaced else ""
    if separator is not None:
        fix = f"The file is separated by {separator!r}: read it with delimiter={separator!r}."
    return DataError(f"no column {' or '.join(map(repr, columns))}; columns are {shown}", fix=fix)


def with_column(samples: "pd.DataFrame", name: str, values: Sequence[Any]) -> "pd.DataFrame":
    """The table with a column of these objects, one per row; lists, tuples and images stay whole."""
    import pandas as pd

    return samples.assign(**{name: pd.Series(values, index=samples.index, dtype=object)})


def group_numbers(samples: "pd.DataFrame", column: str) -> npt.NDArray[np.int64]:
    """A number for each row's group, in the order in which groups first appear."""
    import pandas as pd

    values = column_of(samples, column)
    if values.isna().any():
        raise DataError(f"column {column!r}: no group in rows {values.index[values.isna()].tolist()[:5]}")
    return np.asarray(pd.factorize(values)[0], dtype=np.int64)
