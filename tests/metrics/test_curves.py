"""ROC and precision-recall curves against scikit-learn, ties included."""

import numpy as np
import pytest
import sklearn.metrics

from learnkit.errors import UsageError
from learnkit.metrics.curves import pr_curve, ranked_counts, roc_curve


def scored(
    n: int, levels: int, seed: int
) -> tuple["np.ndarray[tuple[int], np.dtype[np.float32]]", "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Scores with about `levels` distinct values, higher for items of the class."""
    numbers = np.random.default_rng(seed)
    is_there = numbers.random(n) < 0.3
    is_there[:2] = True, False
    scores = np.round((numbers.random(n) + 0.3 * is_there) / 1.3 * levels) / levels
    return scores.astype(np.float32), is_there


@pytest.mark.parametrize(("n", "levels"), [(2, 10), (50, 5), (200, 10**6), (200, 1)])
def test_a_roc_curve_is_that_of_scikit_learn(n: int, levels: int) -> None:
    scores, is_there = scored(n, levels, seed=n)
    curve = roc_curve(scores, is_there)
    fpr, tpr, thresholds = sklearn.metrics.roc_curve(is_there, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert curve.area == pytest.approx(sklearn.metrics.roc_auc_score(is_there, scores), abs=1e-12)


@pytest.mark.parametrize(("n", "levels"), [(2, 10), (50, 5), (200, 10**6), (200, 1)])
def test_a_precision_recall_curve_is_that_of_scikit_learn(n: int, levels: int) -> None:
    scores, is_there = scored(n, levels, seed=n + 1)
    curve = pr_curve(scores, is_there)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(is_there, scores)
    np.testing.assert_allclose(curve.precision, precision)
    np.testing.assert_allclose(curve.recall, recall)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert curve.area == pytest.approx(sklearn.metrics.average_precision_score(is_there, scores), abs=1e-12)


def test_the_area_is_the_share_of_pairs_in_the_right_order_ties_counting_half() -> None:
    scores, is_there = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert roc_curve(scores, is_there).area == (1 + 1 + 0.5 + 1) / 4
    assert roc_curve(scores, is_there).thresholds.tolist() == [np.inf, 0.9, 0.5, 0.1]


@pytest.mark.parametrize("there", [True, False])
def test_without_items_of_the_class_or_others_there_is_no_area(there: bool) -> None:
    scores, is_there = np.array([0.2, 0.8]), np.array([there, there])
    curve = roc_curve(scores, is_there)
    assert np.isnan(curve.area)
    assert np.isnan(curve.fpr).all() == there
    assert np.isnan(curve.tpr).all() == (not there)
    pr = pr_curve(scores, is_there)
    assert (pr.area == 1) if there else np.isnan(pr.area)


def test_counts_are_those_at_or_above_each_distinct_score() -> None:
    scores, is_there = np.array([0.1, 0.7, 0.7, 0.7]), np.array([False, True, False, True])
    distinct, found, invented = ranked_counts(scores, is_there)
    assert (distinct.tolist(), found.tolist(), invented.tolist()) == ([0.7, 0.1], [2, 2], [1, 2])


@pytest.mark.parametrize(
    ("scores", "is_there", "message"),
    [
        (np.zeros(3), np.zeros(2, bool), r"scores: the shape: got \(3,\), expected \(2,\)"),
        (np.zeros(0), np.zeros(0, bool), "an item"),
        (np.array([0.1, np.nan]), np.array([True, False]), "scores: got nan, expected numbers"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(
    scores: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    is_there: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        roc_curve(scores, is_there)
