"""The folds of a cross-validation: properties that hold for every size and seed."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit.data.table.splits import fold_numbers
from learnkit.errors import DataError, UsageError


def table(targets: Any, **columns: Any) -> pd.DataFrame:
    targets = list(targets)
    samples = pd.DataFrame({"input": [f"{i}.jpg" for i in range(len(targets))], **columns})
    samples["target"] = pd.Series(targets, dtype=object)
    return samples


def letters(n: int, seed: int) -> list[str]:
    drawn: list[str] = np.random.default_rng(seed).choice(list("abcd"), n, p=[0.6, 0.25, 0.1, 0.05]).tolist()
    return drawn


@pytest.mark.parametrize("stratify", [True, False])
def test_every_row_is_in_one_fold_and_folds_are_even(stratify: bool) -> None:
    for n in (5, 7, 20, 83):
        for k in (2, 3, 5):
            for seed in range(4):
                targets = letters(n, seed)
                folds = fold_numbers(table(targets), k, stratify=stratify, group=None, seed=seed)
                sizes = np.bincount(folds, minlength=k)
                assert folds.shape == (n,)
                assert len(sizes) == k
                assert sizes.max() - sizes.min() <= 1
                if stratify:
                    for name in set(targets):
                        counts = np.bincount(folds[np.array(targets) == name], minlength=k)
                        assert counts.max() - counts.min() <= 1


def test_folds_are_the_draw_of_their_seed() -> None:
    samples = table(letters(50, 0))
    before = torch.get_rng_state()
    one, same, other = (fold_numbers(samples, 5, stratify=True, group=None, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_groups_share_a_fold() -> None:
    for seed in range(20):
        groups = np.random.default_rng(seed).integers(0, 15, 100)
        folds = fold_numbers(table("a" * 100, camera=groups), 4, stratify=True, group="camera", seed=seed)
        assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
        sizes = np.bincount(folds, minlength=4)
        assert sizes.min() > 0
        assert sizes.max() - sizes.min() <= np.bincount(groups).max()  # the last group went into the emptiest fold


def test_equal_groups_make_equal_folds() -> None:
    folds = fold_numbers(table("a" * 60, camera=np.arange(60) % 12), 4, stratify=False, group="camera", seed=0)
    assert np.bincount(folds).tolist() == [15] * 4


def test_large_groups_are_dealt_out_first() -> None:
    groups = list("a" * 8 + "b" * 3 + "c" * 3 + "d" * 2)
    for seed in range(10):
        folds = fold_numbers(table(groups, camera=groups), 2, stratify=False, group="camera", seed=seed)
        assert np.bincount(folds).tolist() == [8, 8]


@pytest.mark.parametrize("k", [1, 0, -2, 2.0, True, "5", None])
def test_numbers_of_folds_that_are_none_are_refused(k: Any) -> None:
    with pytest.raises(UsageError, match=r"k: got .* expected a number of folds, 2 or more"):
        fold_numbers(table("abcd"), k, stratify=True, group=None, seed=0)


def test_more_folds_than_rows_or_groups_are_refused() -> None:
    with pytest.raises(DataError, match="5 folds: got '4 rows', expected 5 or more"):
        fold_numbers(table("abcd"), 5, stratify=True, group=None, seed=0)
    with pytest.raises(DataError, match="3 folds: got '2 groups'"):
        fold_numbers(table("abcd", camera=[1, 1, 2, 2]), 3, stratify=True, group="camera", seed=0)
