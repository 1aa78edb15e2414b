"""Which cells and which items a page of limited size shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from learnkit.interpretation.report.content import Matrix

__all__ = ["MAX_CLASSES", "MAX_ITEMS", "confused_cells", "items_per_cell", "limit_items", "shown_cells"]

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


def items_per_cell(losses: Mapping[Cell, Sequence[float]], max_items: int) -> dict[Cell, int]:
    """How many items of each cell to show: one of each, then the wrong ones, then those with the largest losses.

    Args:
        losses: losses of the items of each cell, the largest (or nan) first.
        max_items: items of all cells together.

    >>> items_per_cell({(0, 0): [0.3, 0.2, 0.1], (0, 1): [2.0, 1.0]}, 4)
    {(0, 0): 2, (0, 1): 2}
    """
    queue = [
        (place > 0, cell[0] == cell[1], -math.inf if math.isnan(loss) else -loss, cell)
        for cell, values in losses.items()
        for place, loss in enumerate(values)
    ]
    chosen = dict.fromkeys(losses, 0)
    for *_, cell in sorted(queue)[:max_items]:
        chosen[cell] += 1
    return chosen


def limit_items(matrix: Matrix, max_items: int) -> Matrix:
    """The same with at most `max_items` items for all cells."""
    places = items_per_cell({cell: [item.loss for item in items] for cell, items in matrix.items.items()}, max_items)
    return replace(matrix, items={cell: items[: places[cell]] for cell, items in matrix.items.items()})
