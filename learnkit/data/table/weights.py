"""The weights of `sampler=`: a column of the table, so that each stays with its row in folds and filtered tables."""

from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.errors import DataError, UsageError
from learnkit.text import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WEIGHTS", "sampler_of", "with_weights"]

WEIGHTS = "sampler_weight"  # the column of weights that were passed as numbers


def with_weights(samples: "pd.DataFrame", sampler: Any) -> "pd.DataFrame":
    """The table with a column `sampler_weight`, if the weights were passed as numbers.

    Args:
        samples: column split.
        sampler: None, "balanced", the name of a column, or a weight for each row or for each training row.

    Raises:
        UsageError: another number of weights, or no such column.
    """
    if sampler is None or isinstance(sampler, str):
        if sampler not in (None, "balanced", *samples.columns):
            raise UsageError("sampler", got=sampler, expected="None, 'balanced', a column, or one weight per item")
        return samples
    try:
        weights = np.asarray(sampler, dtype=np.float64)
    except (OverflowError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            "sampler", got=sampler, expected="None, 'balanced', a column, or one weight per item"
        ) from error
    is_train = (samples["split"] == "train").to_numpy()
    if weights.shape == (len(samples),):
        return samples.assign(**{WEIGHTS: weights})
    if weights.shape != (is_train.sum(),):
        got = f"weights of shape {weights.shape}"
        there = f" or {WEIGHTS!r}, the column of the table" if WEIGHTS in samples else ""
        raise UsageError("sampler", got=got, expected=f"({is_train.sum()},), one per training item{there}")
    column = np.full(len(samples), np.nan)
    column[is_train] = weights
    return samples.assign(**{WEIGHTS: column})


def sampler_of(train: "pd.DataFrame", sampler: Any) -> Any:
    """What the training set's sampler is: None, "balanced", or a weight for each of its rows, float64 (N,).

    Raises:
        DataError: training rows without a weight.
    """
    import pandas as pd

    if sampler is None or (sampler == "balanced" if isinstance(sampler, str) else False):
        return sampler
    name = sampler if isinstance(sampler, str) else WEIGHTS
    weights = pd.to_numeric(train[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if len(missing := np.flatnonzero(np.isnan(weights))):
        raise DataError(
            f"sampler: {counted(len(missing), 'training row has', 'training rows have')} no number in column {name!r}, "
            f"first rows {train.index[missing].tolist()[:5]}",
            fix="Give a weight for every row of the table: folds train on those that were validated on.",
        )  # fmt: skip
    return np.array(weights)  # pandas' own cannot be written to
