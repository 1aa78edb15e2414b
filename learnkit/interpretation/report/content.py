"""What a report shows: plain data, gathered once. What is None or empty is left out of the page."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from learnkit.interpretation.report.look_alikes import Alike

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = [
    "Bin",
    "Certainty",
    "Chart",
    "Column",
    "Coverage",
    "Facts",
    "ImageOf",
    "Item",
    "Line",
    "Matrix",
    "Number",
    "Problems",
    "Reliability",
    "ReportContent",
    "Scored",
    "Suspect",
    "Table",
]


ImageOf: TypeAlias = Callable[[int], "np.ndarray[Any, Any]"]  # the number of an item -> uint8 (H, W, 3)

MAX_ROWS = 1000  # of a table
SHARES = {"precision", "recall", "f1-score", "iou", "dice"}
COUNTS = {"support", "pixels", "n"}


@dataclass(frozen=True)
class Number:
    """One of the main numbers at the top: its text, its label, and a note."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Settings that belong together, as (name, text)."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Line:
    """One line in a chart: thin or strong, or with a dot at each point."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    look: Literal["thin", "strong", "dots"] = "strong"


@dataclass(frozen=True)
class Chart:
    """Lines over one x axis; a line whose name is empty is not in the legend."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Column:
    """A column of numbers: decimals, and whether its numbers are shares, which have bars."""

    name: str
    digits: int = 3
    is_share: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers by row; `totals` stay below whatever the rows are sorted by."""

    head: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    totals: tuple[tuple[str, tuple[float, ...]], ...] = ()
    note: str = ""

    @classmethod
    def of_frame(cls, head: str, frame: "pd.DataFrame", n: int) -> Self:
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
        if len(found) > MAX_ROWS:
            share = max((place for place, column in enumerate(columns) if column.is_share), default=0)
            found.sort(key=lambda row: (math.isnan(row[1][share]), row[1][share]))
            note = f"The {MAX_ROWS:,} of {n:,} rows with the lowest {columns[share].name}."
            found = found[:MAX_ROWS]
        return cls(head, tuple(columns), tuple(found), tuple(totals), note)

    @property
    def has_nan(self) -> bool:
        """Whether a number is not defined."""
        return any(math.isnan(value) for _, values in (*self.rows, *self.totals) for value in values)


@dataclass(frozen=True, eq=False)
class Item:
    """A predicted item.

    Attributes:
        number: index of the item in its set.
        probabilities: (class, probability) of the most probable classes.
        is_right: None if it is neither right nor wrong.
        heat: where the model looked, float (H, W) in [0, 1].
        overlay: an image next to the item's own, uint8 (H, W, 3).
        overlay_shows: what that is.
    """

    number: int
    name: str
    prediction: str
    target: str
    loss: float
    probabilities: tuple[tuple[str, float], ...] = ()
    is_right: bool | None = None
    heat: "np.ndarray[Any, Any] | None" = None
    overlay: "np.ndarray[Any, Any] | None" = None
    overlay_shows: str = ""


@dataclass(frozen=True)
class Matrix:
    """How often each class was predicted as each, by (actual, predicted); and items of each cell, the worst first.

    Cells without items are not in `counts`. `items` holds a part of them if there are too many to show.
    """

    classes: tuple[str, ...]
    counts: Mapping[tuple[int, int], int]
    items: Mapping[tuple[int, int], tuple[Item, ...]]

    @cached_property
    def sums(self) -> tuple[int, ...]:
        """How many items each class has."""
        sums = [0] * len(self.classes)
        for (actual, _), n in self.counts.items():
            sums[actual] += n
        return tuple(sums)


@dataclass(frozen=True)
class Bin:
    """Predictions of about one confidence."""

    lower: float
    upper: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence; `ece` is the mean distance of the two."""

    ece: float
    bins: tuple[Bin, ...]

    @property
    def table(self) -> Table:
        """The bins that hold predictions, in numbers."""
        columns = (Column("confidence"), Column("accuracy"), Column("items", 0))
        rows = tuple(
            (f"{part.lower:.2f} to {part.upper:.2f}", (part.confidence, part.accuracy, float(part.n)))
            for part in self.bins
            if part.n
        )
        return Table("confidence from, to", columns, rows)


@dataclass(frozen=True)
class Suspect:
    """An item that may be mislabeled; the higher its score, the more suspicious it is."""

    item: Item
    label: str
    suggestion: str
    score: float


@dataclass(frozen=True)
class Problems:
    """Problems of the data: sentences, suspicious labels, files left out as (name, why), items by class."""

    notes: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    n_skipped: int = 0
    counts: Table | None = None


@dataclass(frozen=True)
class Coverage:
    """How many truths the conformal sets of each alpha hold, of items they were not fitted on; `name` of one number."""

    name: str
    alphas: tuple[float, ...]
    measured: tuple[float, ...]
    deviation: tuple[float, ...]  # of one fit
    sizes: tuple[float, ...]
    empty: tuple[float, ...] = ()  # shares; () for intervals


@dataclass(frozen=True)
class Scored:
    """An item with how familiar it is: below 0 it is not."""

    item: Item
    score: float


@dataclass(frozen=True)
class Certainty:
    """How sure the model is: curves with what they show in words, what is fitted, and the least familiar items.

    `n_unfamiliar` is None where nothing tells it; `size` is what the sizes count.
    """

    notes: tuple[str, ...] = ()
    how: str = ""
    size: str = ""
    coverage: tuple[Coverage, ...] = ()
    table: Table | None = None
    fitted: Facts | None = None
    unfamiliar: tuple[Scored, ...] = ()
    n_unfamiliar: int | None = None
    n_items: int = 0

    @property
    def size_charts(self) -> tuple[Chart, ...]:
        """The mean size of sets by what they state; of intervals one chart each, as each has its own unit."""
        return tuple(
            Chart(
                f"{self.size.capitalize()}, {curve.name or 'mean'}",
                "stated, 1 - alpha",
                self.size,
                (Line(self.size, tuple(1 - alpha for alpha in curve.alphas), curve.sizes, "dots"),),
            )
            for curve in self.coverage
        )


@dataclass(frozen=True)
class ReportContent:
    """Everything the page shows, section by section; `image` returns item i as uint8 (H, W, 3)."""

    title: str
    subtitle: str = ""
    run: str = ""  # model, data set and date
    numbers: tuple[Number, ...] = ()
    settings: tuple[Facts, ...] = ()
    charts: tuple[Chart, ...] = ()
    history: Table | None = None
    matrix: Matrix | None = None
    top_losses: tuple[Item, ...] = ()
    table: Table | None = None
    reliability: Reliability | None = None
    certainty: Certainty | None = None
    problems: Problems | None = None
    alike: Alike | None = None
    image: ImageOf | None = field(default=None, repr=False)
