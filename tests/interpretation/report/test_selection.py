"""Which cells and items are shown if there are too many."""

import pytest

from learnkit.interpretation.report.content import Item, Matrix
from learnkit.interpretation.report.selection import confused_cells, items_per_cell, limit_items, shown_cells


def test_wrong_items_are_shown_first_and_every_cell_has_one() -> None:
    losses = {(0, 0): [0.5, 0.4, 0.3], (0, 1): [3.0, 2.0], (1, 1): [0.1]}
    assert items_per_cell(losses, 3) == {(0, 0): 1, (0, 1): 1, (1, 1): 1}
    assert items_per_cell(losses, 4) == {(0, 0): 1, (0, 1): 2, (1, 1): 1}
    assert items_per_cell(losses, 5) == {(0, 0): 2, (0, 1): 2, (1, 1): 1}
    assert items_per_cell(losses, 99) == {(0, 0): 3, (0, 1): 2, (1, 1): 1}
    items = {cell: tuple(Item(0, "", "", "", loss) for loss in values) for cell, values in losses.items()}
    less = limit_items(Matrix(("a", "b"), {(0, 0): 3, (0, 1): 2, (1, 1): 1}, items), 4)
    assert [item.loss for item in less.items[0, 1]] == [3.0, 2.0]
    assert less.sums == (5, 1)


def test_an_item_whose_loss_is_nan_is_shown_before_others() -> None:
    losses = {(0, 1): [float("nan"), 1.0], (1, 0): [2.0, 1.5]}
    assert items_per_cell(losses, 3) == {(0, 1): 1, (1, 0): 2}


def test_confused_cells_are_sorted_by_their_number_and_then_by_class() -> None:
    counts = {(0, 0): 9, (2, 1): 3, (0, 1): 3, (1, 2): 5}
    assert confused_cells(counts) == [(1, 2), (0, 1), (2, 1)]


@pytest.mark.parametrize("n", [40, 41])
def test_for_many_classes_sixty_confused_pairs_are_shown(n: int) -> None:
    counts = {(row, column): row + column + 1 for row in range(n) for column in range(n)}
    cells = shown_cells(n, counts)
    assert cells == (sorted(counts) if n == 40 else confused_cells(counts)[:60])
