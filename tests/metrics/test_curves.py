"""ROC and precision-recall curves against scikit-learn, ties included."""

import numpy as np
import pytest
import sklearn.metrics

from learnkit.metrics.curves import mean_area, pr_curve, ranked_counts, roc_curve
from tests.doubles import refused


def scored(
    n: int, levels: int, seed: int
) -> tuple["np.ndarray[tuple[int], np.dtype[np.float32]]", "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Scores with about `levels` distinct values, higher for items of the class."""
    numbers = np.random.default_rng(seed)
    actual = numbers.random(n) < 0.3
    actual[:2] = True, False
    scores = np.round((numbers.random(n) + 0.3 * actual) / 1.3 * levels) / levels
    return scores.astype(np.float32), actual


@pytest.mark.parametrize(("n", "levels"), [(2, 10), (50, 5), (200, 10**6), (200, 1)])
def test_a_roc_curve_is_that_of_scikit_learn(n: int, levels: int) -> None:
    scores, actual = scored(n, levels, seed=n)
    curve = roc_curve(scores, actual)
    fpr, tpr, thresholds = sklearn.metrics.roc_curve(actual, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert curve.area == pytest.approx(sklearn.metrics.roc_auc_score(actual, scores), abs=1e-12)


@pytest.mark.parametrize(("n", "levels"), [(2, 10), (50, 5), (200, 10**6), (200, 1)])
def test_a_precision_recall_curve_is_that_of_scikit_learn(n: int, levels: int) -> None:
    scores, actual = scored(n, levels, seed=n + 1)
    curve = pr_curve(scores, actual)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(actual, scores)
    np.testing.assert_allclose(curve.precision, precision)
    np.testing.assert_allclose(curve.recall, recall)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert curve.area == pytest.approx(sklearn.metrics.average_precision_score(actual, scores), abs=1e-12)


def test_the_area_is_the_share_of_pairs_in_the_right_order_ties_counting_half() -> None:
    scores, actual = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert roc_curve(scores, actual).area == (1 + 1 + 0.5 + 1) / 4
    assert roc_curve(scores, actual).thresholds.tolist() == [np.inf, 0.9, 0.5, 0.1]


@pytest.mark.parametrize("there", [True, False])
def test_the_area_is_nan_without_items_of_the_class_or_others(there: bool) -> None:
    scores, actual = np.array([0.2, 0.8]), np.array([there, there])
    curve = roc_curve(scores, actual)
    assert np.isnan(curve.area)
    assert np.isnan(curve.fpr).all() == there
    assert np.isnan(curve.tpr).all() == (not there)
    pr = pr_curve(scores, actual)
    assert (pr.area == 1) if there else np.isnan(pr.area)


def test_counts_are_those_at_or_above_each_distinct_score() -> None:
    scores, actual = np.array([0.1, 0.7, 0.7, 0.7]), np.array([False, True, False, True])
    distinct, tps, fps = ranked_counts(scores, actual)
    assert (distinct.tolist(), tps.tolist(), fps.tolist()) == ([0.7, 0.1], [2, 2], [1, 2])


@pytest.mark.parametrize(
    ("scores", "actual", "what"),
    [
        (np.zeros(3), np.zeros(2, bool), "scores: the shape"),
        (np.zeros(0), np.zeros(0, bool), "scores: the shape"),
        (np.zeros((2, 2)), np.zeros((2, 2), bool), "scores: the shape"),
        (np.array([0.1, np.nan]), np.array([True, False]), "scores"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(
    scores: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    actual: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    what: str,
) -> None:
    for curve in (roc_curve, pr_curve):
        with refused(what):
            curve(scores, actual)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_the_mean_area_is_over_the_classes_that_have_one(average: str) -> None:
    """Class 0 has no items, class 3 all of them: neither has a ROC curve, the latter an average precision of 1."""
    scores = np.random.default_rng(0).random((40, 4))
    actual = np.stack([scores[:, 0] > 2, scores[:, 1] > 0.7, scores[:, 0] + scores[:, 2] > 0.9, scores[:, 3] > -1], 1)
    for curve, area, classes in (
        (roc_curve, sklearn.metrics.roc_auc_score, [1, 2]),
        (pr_curve, sklearn.metrics.average_precision_score, [1, 2, 3]),
    ):
        areas = [area(actual[:, c], scores[:, c]) for c in classes]
        weights = actual[:, classes].sum(0) if average == "weighted" else None
        expected = np.average(areas, weights=weights)
        assert mean_area(curve, scores, actual, average) == pytest.approx(expected, abs=1e-12)


def test_without_any_area_their_mean_is_nan() -> None:
    scores = np.array([[0.1], [0.2]])
    assert np.isnan(mean_area(roc_curve, scores, np.array([[True], [True]]), "macro"))
    assert np.isnan(mean_area(pr_curve, scores, np.array([[False], [False]]), "weighted"))
    assert np.isnan(mean_area(roc_curve, scores[:0], np.zeros((0, 1), bool), "macro"))
    assert np.isnan(mean_area(roc_curve, np.array([[0.1], [np.nan]]), np.array([[True], [False]]), "macro"))
