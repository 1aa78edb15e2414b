"""Tables of a report from the DataFrames of an interpretation."""

import math
from typing import TYPE_CHECKING

from learnkit.interpretation.report.content import Column, Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["table_of"]

MOST_ROWS = 1000
SHARES = {"precision", "recall", "f1-score", "iou", "dice"}
COUNTS = {"support", "pixels", "n"}


def table_of(head: str, frame: "pd.DataFrame", n: int) -> Table:
    """A table of a DataFrame whose index names the rows; of very many those with the lowest last share.

    Args:
        head: what the rows are.
        frame: numbers.
        n: how many rows there are; those after them are totals.
    """
    columns = [Column(str(name), 0 if name in COUNTS else 3, name in SHARES) for name in frame.columns]
    rows = [
        (str(label), tuple(float(v) for v in row)) for label, row in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    found, totals = rows[:n], rows[n:]
    note = ""
    if len(found) > MOST_ROWS:
        share = max((place for place, column in enumerate(columns) if column.is_share), default=0)
        found.sort(key=lambda row: (math.isnan(row[1][share]), row[1][share]))
        note = f"The {MOST_ROWS:,} of {n:,} rows with the lowest {columns[share].name}."
        found = found[:MOST_ROWS]
    return Table(head, tuple(columns), tuple(found), tuple(totals), note)
