"""The table of samples: one row per item, with its path, its target, its split and any other columns."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from learnkit.data.table.splits import Split, split_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SPLITS", "in_order", "rows_text", "split_samples"]

SPLITS = ("train", "valid", "test")
MAX_SHOWN = 5  # rows named in an error


def split_samples(samples: "pd.DataFrame", split: Split) -> "pd.DataFrame":
    """The table with a column `split`; rows that are in the test set already (column `split` is "test") stay there."""
    is_test = samples["split"] == "test" if "split" in samples else None
    if is_test is None or not is_test.any():
        return samples.assign(split=split_names(samples, split))
    rest = samples[~is_test]
    samples = samples.copy()
    samples.loc[~is_test, "split"] = split_names(rest, split)
    return samples


def in_order(samples: "pd.DataFrame") -> "pd.DataFrame":
    """Training, validation and test rows in this order, otherwise in their own, numbered from 0.

    The columns input, target and split come first.
    """
    ranks = samples["split"].map({name: rank for rank, name in enumerate(SPLITS)})
    ordered = samples.iloc[ranks.argsort(kind="stable")].reset_index(drop=True)
    others = [name for name in ordered.columns if name not in ("input", "target", "split")]
    return ordered[["input", "target", "split", *others]]


def rows_text(samples: "pd.DataFrame", rows: Iterable[Any]) -> str:
    """The first rows as text: their numbers and files.

    >>> import pandas as pd
    >>> rows_text(pd.DataFrame({"input": ["a.jpg", "b.jpg"]}), [1])
    "'b.jpg' (row 1)"
    """
    return ", ".join(f"{samples['input'][row]!r} (row {row})" for row in list(rows)[:MAX_SHOWN])
