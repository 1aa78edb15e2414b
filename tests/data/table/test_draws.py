"""Draws of groups: the best choice of a few, a good one of many, each class with its share."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from learnkit.data.table.draws import MAX_EXHAUSTIVE, by_class, choose_groups, class_counts, permutation

Counts = npt.NDArray[np.float64]


def series(values: Any) -> "pd.Series[Any]":
    return pd.Series(list(values), dtype=object)


def random_counts(seed: int, n_groups: int, n_classes: int) -> Counts:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 8, (n_groups, n_classes)).astype(float)
    counts[0] += 1
    counts[:, 0] += 1
    return np.concatenate([counts, counts.sum(1, keepdims=True)], 1)


def distance(counts: Counts, chosen: Any, share: float) -> tuple[int, float]:
    """(classes without training items, sum of the squared differences of the shares) of a choice, by hand."""
    chosen = set(np.flatnonzero(chosen).tolist())
    whole, apart = 0, 0.0
    for column in range(counts.shape[1]):
        total = sum(counts[group, column] for group in range(len(counts)))
        part = sum(counts[group, column] for group in chosen)
        whole += column < counts.shape[1] - 1 and part == total
        apart += (part / total - share) ** 2
    return whole, apart


def nearest(counts: Counts, share: float) -> tuple[int, float]:
    """The smallest distance of all choices with a group on each side."""
    choices = itertools.product([False, True], repeat=len(counts))
    return min(distance(counts, choice, share) for choice in choices if 0 < sum(choice) < len(counts))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.8])
def test_of_a_few_groups_the_best_choice_is_found(share: float) -> None:
    for seed in range(12):
        n_groups = 2 + seed % 7
        counts = random_counts(seed, n_groups, 1 + seed % 4)
        found = distance(counts, choose_groups(counts, share, seed), share)
        assert found == pytest.approx(nearest(counts, share))


def test_the_limits_of_the_two_ways_agree() -> None:
    counts = random_counts(5, MAX_EXHAUSTIVE, 2)
    best = distance(counts, choose_groups(counts, 0.3, 0), 0.3)
    split = np.concatenate([counts, np.zeros((1, 3))])  # an empty group more: searched, not gone through
    for seed in range(5):
        found = distance(split, choose_groups(split, 0.3, seed), 0.3)
        assert found[0] == best[0]
        assert best[1] - 1e-9 <= found[1] < best[1] + 0.002


@pytest.mark.parametrize(("n_groups", "n_classes"), [(13, 1), (20, 3), (60, 5), (301, 4)])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_of_many_groups_no_single_move_helps(n_groups: int, n_classes: int, share: float) -> None:
    counts = random_counts(n_groups, n_groups, n_classes)
    chosen = choose_groups(counts, share, 1)
    found = distance(counts, chosen, share)
    assert found[0] == 0
    assert found[1] < 0.01 * (n_classes + 1)  # a tenth from every share at most, in the mean
    if n_groups < 100:
        for group in range(n_groups):
            other = chosen.copy()
            other[group] ^= True
            assert distance(counts, other, share) >= (0, found[1] - 1e-4)


def test_many_small_groups_meet_the_shares_closely() -> None:
    counts = random_counts(0, 1000, 6)
    for seed in range(3):
        chosen = choose_groups(counts, 0.2, seed)
        shares = counts[chosen].sum(0) / counts.sum(0)
        assert abs(shares - 0.2).max() < 0.002


def test_a_class_is_not_taken_whole_where_that_can_be_avoided() -> None:
    counts = np.array([[9, 0, 9], [0, 1, 1], [9, 1, 10], [9, 0, 9.0]])
    for seed in range(5):
        chosen = choose_groups(counts, 0.6, seed)
        assert 0 < counts[chosen, 1].sum() < 2


def test_equally_good_choices_are_drawn() -> None:
    counts = np.array([[2, 2, 4.0]] * 6)
    found = {tuple(np.flatnonzero(choose_groups(counts, 1 / 3, seed))) for seed in range(40)}
    assert all(len(choice) == 2 for choice in found)
    assert len(found) > 5
    many = np.array([[2, 2, 4.0]] * 30)
    drawn = {tuple(np.flatnonzero(choose_groups(many, 0.2, seed))) for seed in range(10)}
    assert all(len(choice) == 6 for choice in drawn)
    assert len(drawn) == 10
    assert np.array_equal(choose_groups(many, 0.2, 3), choose_groups(many, 0.2, 3))


def test_classes_are_counted_in_each_group() -> None:
    counts = class_counts(series("aabbc"), np.array([0, 1, 1, 1, 0]), 0)
    assert counts.tolist() == [[1, 0, 1, 2], [1, 2, 0, 3]]
    several = class_counts(series([["x", "y"], ["y"], [], {"y", "x"}]), np.array([0, 0, 1, 1]), 0)
    assert sorted(several[:, :-1].T.tolist()) == [[1, 1], [2, 1]]  # of x, of y
    assert several[:, -1].tolist() == [2, 2]
    missing = class_counts(series(["a", None, "a"]), np.array([0, 1, 1]), 0)
    assert missing.tolist() == [[1, 1], [1, 2]]


def test_of_numbers_each_tenth_of_the_range_is_counted() -> None:
    values = np.random.default_rng(0).permutation(100) / 7
    counts = class_counts(series(values), np.arange(100) % 4, 0)
    assert counts.shape == (4, 11)
    tenths = (values.argsort().argsort() // 10).tolist()
    for group in range(4):
        assert [tenths[group::4].count(tenth) for tenth in range(10)] == counts[group, :10].tolist()
    assert class_counts(series([(0.5, 1.0), (2.0, 3.0)]), np.array([0, 1]), 0)[:, -1].tolist() == [1, 1]


def test_rows_are_ordered_by_class_and_drawn_within() -> None:
    targets = series("ba" * 10)
    orders = [by_class(targets, seed).tolist() for seed in range(3)]
    for order in orders:
        assert sorted(order[:10]) == list(range(1, 20, 2))
        assert sorted(order[10:]) == list(range(0, 20, 2))
    assert orders[0] != orders[1]


def test_a_permutation_is_that_of_its_seed() -> None:
    assert sorted(permutation(9, 0).tolist()) == list(range(9))
    assert permutation(9, 0).tolist() == permutation(9, 0).tolist() != permutation(9, 1).tolist()
