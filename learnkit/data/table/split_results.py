"""What a split says of each row: read by place, and refused unless it names a split for every row."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.checks import is_int
from learnkit.data.table.split_folders import split_named
from learnkit.data.table.splits import NoValidation, Split
from learnkit.errors import DataError, LearnkitError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["split_names", "split_of", "splits_of"]

_TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def split_names(samples: "pd.DataFrame", split: Split) -> list[str]:
    """ "train", "valid" or "test" for every row.

    Raises:
        DataError: any other result (the message names the row), or no rows to train or to validate on.
    """
    given = _results(samples, split)
    if len(given) != len(samples):
        fix = "" if not all(map(is_int, given)) else "Numbers of rows become np.isin(np.arange(len(table)), numbers)."
        expected = f"one per row, {len(samples)} in all"
        raise DataError(f"{_called(split)}", got=f"{len(given)} results", expected=expected, fix=fix)
    found = splits_of(given)
    names = [name for name in found if name is not None]
    if len(names) < len(found):
        place = found.index(None)
        raise DataError(
            f"split: row {samples.index[place]}", got=given[place],
            expected="True or False, 1 or 0, or one of train, valid, val, test",
        )  # fmt: skip
    needed = ("train",) if isinstance(split, NoValidation) else ("train", "valid")
    for name in needed:
        if name not in names:
            use = "train on" if name == "train" else "validate on"
            fix = "" if name == "train" else "To train without a validation set, pass valid_pct=0 instead."
            raise DataError(f"{_called(split)}: no row is left to {use}", got=dict(Counter(names)), fix=fix)
    return names


def _results(samples: "pd.DataFrame", split: Split) -> list[Any]:
    """What a split says of each row, by place.

    Raises:
        UsageError: a function that fails, or that sorts its table.
        DataError: no results, or a Series whose rows are in another order.
    """
    import pandas as pd

    table = samples.copy()  # a function may change it
    try:
        result = split(table)
    except LearnkitError:
        raise
    except Exception as error:  # of the user's function
        raise UsageError(f"split: the function failed with {type(error).__name__} ({error})") from error
    if not isinstance(result, Iterable) or hasattr(result, "columns"):
        raise DataError("split", got=result, expected=f"one result per row, {len(samples)} in all")
    for one in (table.index, result.index if isinstance(result, pd.Series) else table.index):
        if not one.equals(samples.index) and sorted(one) == sorted(samples.index):
            raise UsageError(
                "split: the results are in another order than the rows", expected="one per row, in their order",
                fix="Leave the table's order as it is, or sort the results: result.sort_index().",
            )  # fmt: skip
    return list(result.tolist() if hasattr(result, "tolist") else result)


def _called(split: Split) -> str:
    """What a split is called in errors: a function's address says nothing."""
    return f"split {split}" if is_dataclass(split) else "split"


def splits_of(values: Sequence[Any]) -> list[str | None]:
    """`split_of` each cell; equal cells are read once."""
    try:
        known = {value: split_of(value) for value in set(values)}  # True, 1 and 1.0 are one key, and say the same
    except TypeError:  # a list is not a split
        return list(map(split_of, values))
    return [known[value] for value in values]


def split_of(value: Any) -> str | None:
    """The split that a cell names: True or 1 for validation, False or 0 for training, or a name of a split."""
    if isinstance(value, bool | np.bool_):
        return "valid" if value else "train"
    text = str(value).strip().lower()
    if text in _TRUTHS:
        return "valid" if _TRUTHS[text] else "train"
    return split_named(text)
