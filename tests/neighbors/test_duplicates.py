"""Near-duplicates: rows that are almost the same."""

import pytest
import torch
from torch import Tensor

from learnkit.errors import LearnkitWarning
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
    """Random rows are about 1 apart, and their 10th nearest about 0.8."""
    rows = spread(50).double()
    features = torch.cat([rows, moved(rows[:7], 0.01), moved(rows[10:15], 0.3)])
    pairs = near_duplicates(features, 0.1)
    assert dict(zip(pairs.later.tolist(), pairs.earlier.tolist(), strict=True)) == {50 + i: i for i in range(7)}
    assert pairs.distances.tolist() == pytest.approx([0.01] * 7)
    assert len(near_duplicates(features, 0.5).later) == 12
    assert not len(near_duplicates(features, 0.001).later)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_the_ratio_is_to_the_tenth_nearest(offset: float) -> None:
    """Features after a ReLU have a common direction, and are all nearer to each other: the same pairs are found."""
    rows = spread(60).double() + offset
    rows[59] = rows[3] + 0.3 * spread(61).double()[60]
    unit = rows / rows.norm(dim=1, keepdim=True)
    distances = (1 - unit @ unit.T).fill_diagonal_(torch.inf)
    ratio = (distances.sort(1).values[:, 0] / distances.sort(1).values[:, 9])[59].item()
    found = [near_duplicates(rows, limit).later.tolist() for limit in (ratio * 0.999, ratio * 1.001)]
    assert 59 in found[1]
    assert ratio < 0.3
    assert near_duplicates(rows).later.tolist() == [59]


def test_of_each_group_the_nearest_is_found() -> None:
    one, other, third, fourth = spread(4).double()
    rows = torch.stack([one, one * 2, other, *moved(torch.stack([one, one]), 0.01), third, fourth])
    pairs = near_duplicates(rows, 0.1, ["train", "train", "train", "valid", "test", "test", "test"])
    found = {*zip(pairs.later.tolist(), pairs.earlier.tolist(), strict=True)}
    assert {(1, 0), (3, 0), (4, 0)} <= found
    assert all(2 not in pair for pair in found)
    assert (pairs.later > pairs.earlier).all()
    assert pairs.distances[0] == 0


def test_pairs_across_groups_only_are_found_too() -> None:
    rows = spread(4).double()[[0, 1, 2, 3, 0, 1]]
    pairs = near_duplicates(rows, 0.01, list("abcdef"))
    assert {*zip(pairs.later.tolist(), pairs.earlier.tolist(), strict=True)} == {(4, 0), (5, 1)}


def test_many_of_the_same() -> None:
    rows = spread(1)[[0] * 40]
    pairs = near_duplicates(rows)
    assert {*pairs.later.tolist(), *pairs.earlier.tolist()} == set(range(40))
    assert len(pairs.later) < 40


def test_single_rows_and_wrong_arguments() -> None:
    for n in (0, 1):
        assert [len(part) for part in near_duplicates(spread(n))] == [0, 0, 0]
    with refused("max_ratio", got=1.5):
        near_duplicates(spread(3), 1.5)
    with refused("groups", got="2 of them"):
        near_duplicates(spread(3), groups=["a", "b"])


def test_features_that_vary_in_one_direction_are_doubted() -> None:
    turns = torch.rand(60, generator=torch.Generator().manual_seed(0))
    with pytest.warns(LearnkitWarning, match=r"of 60 items look almost like two others. Either the data comes in"):
        near_duplicates(torch.stack([turns.cos(), turns.sin()], 1))
