"""Near-duplicates: rows that are almost the same."""

import pytest
import torch
from torch import Tensor

from learnkit.neighbors.duplicates import near_duplicates
from tests.doubles import refused


def spread(n: int, d: int = 64) -> Tensor:
    """Random directions: of 64 dimensions, none is near another."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def moved(rows: Tensor, by: float, seed: int = 1) -> Tensor:
    """Each row turned by this cosine distance, in a random direction."""
    other = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
    unit = rows / rows.norm(dim=1, keepdim=True)
    other -= (other * unit).sum(1, keepdim=True) * unit
    angle = torch.arccos(torch.tensor(1 - by, dtype=torch.float64))
    return (angle.cos() * unit.double() + angle.sin() * other.double() / other.double().norm(dim=1, keepdim=True)) * 3


def test_each_row_that_was_moved_a_little_is_found_with_its_distance() -> None:
    rows = spread(50).double()
    features = torch.cat([rows, moved(rows[:7], 0.01), moved(rows[10:15], 0.03)])
    pairs = near_duplicates(features, 0.02)
    assert dict(zip(pairs.later.tolist(), pairs.earlier.tolist(), strict=True)) == {50 + i: i for i in range(7)}
    assert pairs.distances.tolist() == pytest.approx([0.01] * 7)
    assert len(near_duplicates(features, 0.031).later) == 12
    assert not len(near_duplicates(features, 0.001).later)


def test_of_each_group_the_nearest_is_found() -> None:
    one, other = spread(2).double()
    rows = torch.stack([one, one * 2, other, *moved(torch.stack([one, one]), 0.01)])
    pairs = near_duplicates(rows, 0.015, ["train", "train", "train", "valid", "test"])
    found = {*zip(pairs.later.tolist(), pairs.earlier.tolist(), strict=True)}
    assert {(1, 0), (3, 0), (4, 0)} <= found
    assert all(2 not in pair for pair in found)
    assert (pairs.later > pairs.earlier).all()
    assert pairs.distances[0] == 0


def test_pairs_across_groups_only_are_found_too() -> None:
    rows = spread(2).double()[[0, 1, 0, 1]]
    pairs = near_duplicates(rows, 0.01, ["a", "b", "c", "d"])
    assert {*zip(pairs.later.tolist(), pairs.earlier.tolist(), strict=True)} == {(2, 0), (3, 1)}


def test_many_of_the_same() -> None:
    rows = spread(1)[[0] * 40]
    pairs = near_duplicates(rows, 0.0)
    assert {*pairs.later.tolist(), *pairs.earlier.tolist()} == set(range(40))
    assert len(pairs.later) < 40


def test_single_rows_and_wrong_arguments() -> None:
    assert not len(near_duplicates(spread(1)).later)
    with refused("max_distance", got=-0.1):
        near_duplicates(spread(3), -0.1)
    with refused("groups", got="2 of them"):
        near_duplicates(spread(3), groups=["a", "b"])
