"""Predictions of one process, which are its own; `tests/distributed/room.py` has those of several."""

import pytest
import torch

from learnkit.errors import DataError, UsageError
from learnkit.inference.processes import gathered_batch, gathered_set


def test_alone_a_batch_stays_as_it_is() -> None:
    rows = {"a": torch.ones(2, 1)}
    assert gathered_batch(rows, None) is rows


def test_the_rows_of_a_set_are_put_in_their_order_without_those_that_do_not_count() -> None:
    late, early = torch.full((2, 1), 2.0), torch.full((2, 1), 1.0)
    spare = torch.full((1, 1), 9.0)
    batches = [((early, {"t": early}), 0, 2), ((late, {"t": late}), 2, 2), ((spare, {"t": spare}), 4, 0)]
    preds, targets = gathered_set(batches)
    assert preds.flatten().tolist() == targets["t"].flatten().tolist() == [1, 1, 2, 2]
    out = torch.zeros(4, 1, dtype=torch.float64)
    assert gathered_set(batches, out)[0] is out
    assert out.flatten().tolist() == [1, 1, 2, 2]
    with pytest.raises(UsageError, match=r"out: got \(3, 1\)"):
        gathered_set(batches, torch.zeros(3, 1))


def test_what_is_not_a_row_per_item_is_refused() -> None:
    with pytest.raises(DataError, match="expected tensors of 2 rows, one per item"):
        gathered_set([((torch.zeros(2, 1), ["cat", "dog"]), 0, 2)])
    with pytest.raises(DataError, match="no items to predict"):
        gathered_set([])
