"""Rates from counts, against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from learnkit.metrics.rates import RATES, class_report, mean_of, most_frequent_pairs, rates


def test_the_report_is_that_of_scikit_learn() -> None:
    """Class 3 is predicted but has no items, class 4 has items but is not predicted: what is 0 / 0 is left out."""
    draw = np.random.default_rng(0)
    actual, predicted = draw.choice([0, 1, 2, 4], 60), draw.integers(0, 4, 60)
    counts = torch.from_numpy(confusion_matrix(actual, predicted, labels=range(5)))
    tp = counts.diagonal()
    table = class_report(tp, counts.sum(0) - tp, counts.sum(1) - tp, list("abcde"), "accuracy")
    assert list(table.columns) == [*RATES, "support"]
    assert list(table.index) == [*"abcde", "accuracy", "macro avg", "weighted avg"]
    for average, row in ((None, slice(0, 5)), ("micro", 5), ("macro", 6), ("weighted", 7)):
        expected = precision_recall_fscore_support(
            actual, predicted, labels=range(5), average=average, zero_division=np.nan
        )
        got = table.iloc[row][list(RATES)].to_numpy(dtype=float)
        np.testing.assert_allclose(got.T if average is None else got, np.stack(expected[:3]).astype(float))
    assert table["support"].tolist() == [*np.bincount(actual, minlength=5), 60, 60, 60]


def test_rates_by_hand() -> None:
    got = rates(torch.tensor([3, 0, 0]), torch.tensor([1, 2, 0]), torch.tensor([2, 0, 0]))
    assert got.dtype == torch.float64
    expected = [[3 / 4, 3 / 5, 6 / 9], [0, math.nan, 0], [math.nan] * 3]
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(None, [2.0, 4.0, math.nan]), ([3, 1], [1.5, 4.0, math.nan]), ([1, 0], [1.0, 4.0, math.nan])],
)
def test_means_leave_out_what_is_nan(weights: list[int] | None, expected: list[float]) -> None:
    values = torch.tensor([[1.0, math.nan, math.nan], [3.0, 4.0, math.nan]], dtype=torch.float64)
    got = mean_of(values, None if weights is None else torch.tensor(weights))
    np.testing.assert_allclose(got, expected)


def test_the_most_frequent_pairs_come_first_and_ties_in_the_order_of_the_classes() -> None:
    counts = torch.tensor([[0, 2, 1], [5, 0, 2], [0, 1, 0]])
    assert most_frequent_pairs(counts, ["a", "b", "c"], 2) == [("b", "a", 5), ("a", "b", 2), ("b", "c", 2)]
    assert len(most_frequent_pairs(counts, ["a", "b", "c"], 0)) == 5
