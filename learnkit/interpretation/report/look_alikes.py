"""What `alike.py` finds, as plain data for the page: items that look alike, and items unlike all others."""

from dataclasses import dataclass

__all__ = ["Alike", "Outlier", "Pair", "Place"]


@dataclass(frozen=True)
class Place:
    """An item of any part of the data: the number of its image, its name, its label or "", and its part."""

    number: int
    name: str
    label: str
    part: str


@dataclass(frozen=True)
class Pair:
    """Two items that look almost alike."""

    first: Place
    second: Place
    distance: float
    labels_differ: bool = False


@dataclass(frozen=True)
class Outlier:
    """An item that is unlike all others."""

    place: Place
    score: float


@dataclass(frozen=True)
class Alike:
    """Near-duplicates across and within the parts of the data, and outliers; those shown, and how many there are."""

    note: str = ""  # why there is nothing
    across: tuple[Pair, ...] = ()
    n_across: int = 0
    within: tuple[Pair, ...] = ()
    n_within: int = 0
    outliers: tuple[Outlier, ...] = ()
    n_outliers: int = 0
