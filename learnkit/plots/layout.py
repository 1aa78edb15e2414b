"""The size of a figure and the grid of what it shows: the arguments that every show and plot method takes."""

import math
from typing import Any, NamedTuple, TypeAlias, TypedDict

from learnkit.checks import check_int, is_number
from learnkit.errors import UsageError

__all__ = ["FigSize", "Grid", "Panels", "check_figsize", "grid_of", "grid_shape"]

FigSize: TypeAlias = tuple[float, float] | None  # width and height in inches; None for one that fits


class Panels(TypedDict, total=False):
    """How several panels are laid out."""

    figsize: FigSize
    nrows: int | None
    ncols: int | None


class Grid(NamedTuple):
    """How many things a figure shows at most, and how many stand in a row."""

    n: int
    columns: int


def check_figsize(figsize: Any) -> tuple[float, float] | None:
    """Width and height in inches, or None.

    Raises:
        UsageError: not two numbers above 0.
    """
    if figsize is None:
        return None
    sides = list(figsize) if hasattr(figsize, "__iter__") and not isinstance(figsize, str) else [figsize]
    if len(sides) != 2 or not all(is_number(side) and 0 < side < math.inf for side in sides):
        raise UsageError("figsize", got=figsize, expected="(width, height) in inches, such as (8, 6)")
    return float(sides[0]), float(sides[1])


def grid_of(rows: int = 3, nrows: int | None = None, ncols: int | None = None, max_n: int | None = None) -> Grid:
    """The grid for `rows` x `rows` things, or for `nrows` x `ncols`, with at most `max_n` in it.

    `max_n` alone takes about as many rows as columns; with one of `nrows` and `ncols` the other follows.

    Raises:
        UsageError: not integers above 0.

    >>> grid_of(3), grid_of(nrows=2, ncols=5), grid_of(max_n=10), grid_of(ncols=4, max_n=6)
    (Grid(n=9, columns=3), Grid(n=10, columns=5), Grid(n=10, columns=4), Grid(n=6, columns=4))
    """
    given = {"rows": rows, "nrows": nrows, "ncols": ncols, "max_n": max_n}
    for name, value in given.items():
        if value is not None:
            check_int(name, value, 1)
    if nrows is not None and ncols is not None:
        n, columns = nrows * ncols, ncols
    elif ncols is not None:
        n, columns = max_n or rows * ncols, ncols
    elif nrows is not None:
        columns = rows if max_n is None else -(-max_n // nrows)
        n = nrows * columns
    elif max_n is not None:
        n, columns = max_n, math.ceil(max_n**0.5)
    else:
        n, columns = rows * rows, rows
    return Grid(int(n if max_n is None else min(n, max_n)), int(columns))


def grid_shape(n: int, nrows: int | None = None, ncols: int | None = None, widest: int = 3) -> tuple[int, int]:
    """(rows, columns) for n panels: those given, or at most `widest` in a row.

    Raises:
        UsageError: not integers above 0, or too few places.
    """
    for name, value in (("nrows", nrows), ("ncols", ncols)):
        if value is not None:
            check_int(name, value, 1)
    columns = ncols or (-(-n // nrows) if nrows else min(widest, n))
    rows = nrows or -(-n // columns)
    if rows * columns < n:
        raise UsageError("nrows and ncols", got=(nrows, ncols), expected=f"places for {n} panels")
    return int(rows), int(columns)
