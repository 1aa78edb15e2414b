"""Names of items and of parts of the data, and item indices."""

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PARTS", "TRAINING", "Name", "named_items", "plain_number"]

Name: TypeAlias = Callable[[int], str]

TRAINING = "training set"
PARTS = {
    DatasetType.Train: TRAINING,
    DatasetType.Fix: TRAINING,
    DatasetType.Valid: "validation set",
    DatasetType.Test: "test set",
}


def plain_number(number: Any) -> Any:
    """An integer of a tensor or of NumPy, as tables and `top_losses` return them, as an int; all else unchanged."""
    try:
        return number if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return number


def named_items(items: Sequence[int], name: Name | None) -> "pd.Series[Any]":
    """The names of these items, their indices without `name`, as a column: a path need not be valid UTF-8."""
    import pandas as pd

    return pd.Series([str(i) if name is None else name(i) for i in items], dtype=object)
