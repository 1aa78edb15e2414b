"""Which cells and which items a page of limited size shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from learnkit.interpretation.report.content import Matrix

__all__ = ["MAX_CLASSES", "MAX_ITEMS", "confused_cells", "fewer", "room", "shown_cells"]

MAX_CLASSES = 40  # above which the pairs confused most often are listed instead of a matrix
MAX_PAIRS = 60
MAX_ITEMS = 1000  # of all cells together

Cell = tuple[int, int]  # the actual class, the predicted one


def shown_cells(n_classes: int, counts: Mapping[Cell, int]) -> list[Cell]:
    """Every cell with items; for many classes, the pairs confused most often."""
    if n_classes <= MAX_CLASSES:
        return sorted(counts)
    return confused_cells(counts)[:MAX_PAIRS]


def confused_cells(counts: Mapping[Cell, int]) -> list[Cell]:
    """The cells off the diagonal, those with the most items first."""
    return sorted((cell for cell in counts if cell[0] != cell[1]), key=lambda cell: (-counts[cell], cell))


def room(losses: Mapping[Cell, Sequence[float]], most: int) -> dict[Cell, int]:
    """How many items of each cell to show: one of each, then the wrong ones, then those with the largest losses.

    Args:
        losses: losses of the items of each cell, the largest (or nan) first.
        most: items of all cells together.

    >>> room({(0, 0): [0.3, 0.2, 0.1], (0, 1): [2.0, 1.0]}, 4)
    {(0, 0): 2, (0, 1): 2}
    """
    queue = [
        (place > 0, cell[0] == cell[1], -math.inf if math.isnan(loss) else -loss, cell)
        for cell, values in losses.items()
        for place, loss in enumerate(values)
    ]
    chosen = dict.fromkeys(losses, 0)
    for *_, cell in sorted(queue)[:most]:
        chosen[cell] += 1
    return chosen


def fewer(matrix: Matrix, most: int) -> Matrix:
    """The same with at most `most` items for all cells."""
    places = room({cell: [item.loss for item in items] for cell, items in matrix.items.items()}, most)
    return replace(matrix, items={cell: items[: places[cell]] for cell, items in matrix.items.items()})
