"""What a report says: plain data, gathered once. What is None or empty is left out of the page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Bin",
    "Chart",
    "Column",
    "Facts",
    "Item",
    "Line",
    "Matrix",
    "Number",
    "Problems",
    "Reliability",
    "ReportContent",
    "Suspect",
    "Table",
]


@dataclass(frozen=True)
class Number:
    """One of the main numbers at the top: its text, what it is, and a word more."""

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
    """One course in a chart: a thin or a strong line, or a line with a dot at each point."""

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
    """A column of numbers: decimals, and whether its numbers are shares, drawn as bars too."""

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


@dataclass(frozen=True, eq=False)
class Item:
    """A predicted item.

    Attributes:
        number: of the item in its set.
        chances: (class, probability) of the most probable classes.
        is_right: None where there is no right or wrong.
        heat: where the model looked, float (H, W) in [0, 1].
        overlay: a picture beside the item's own, uint8 (H, W, 3), and what it shows.
    """

    number: int
    name: str
    prediction: str
    target: str
    loss: float
    chances: tuple[tuple[str, float], ...] = ()
    is_right: bool | None = None
    heat: "np.ndarray[Any, Any] | None" = None
    overlay: "np.ndarray[Any, Any] | None" = None
    overlay_shows: str = ""


@dataclass(frozen=True)
class Matrix:
    """How often each class was taken for each, by (actual, predicted); and items of each cell, the worst first.

    Cells without items are not in `counts`. `items` holds a part of them where there are too many to show.
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
    """How often the model is right when it says how sure it is; `ece` is the mean distance of the two."""

    ece: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Suspect:
    """An item that may be labelled wrongly; its score says how suspicious it is."""

    item: Item
    label: str
    suggestion: str
    score: float


@dataclass(frozen=True)
class Problems:
    """What is odd about the data: sentences, suspicious labels, files left out as (name, why), items by class."""

    notes: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    n_skipped: int = 0
    counts: Table | None = None


@dataclass(frozen=True)
class ReportContent:
    """Everything the page shows, section by section; `picture` gives item i as uint8 (H, W, 3)."""

    title: str
    subtitle: str = ""
    numbers: tuple[Number, ...] = ()
    settings: tuple[Facts, ...] = ()
    charts: tuple[Chart, ...] = ()
    history: Table | None = None
    matrix: Matrix | None = None
    top_losses: tuple[Item, ...] = ()
    table: Table | None = None
    reliability: Reliability | None = None
    problems: Problems | None = None
    picture: "Callable[[int], np.ndarray[Any, Any]] | None" = field(default=None, repr=False)
