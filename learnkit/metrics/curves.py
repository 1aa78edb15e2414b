"""ROC and precision-recall curves of one class against the others, exact: a point for every distinct score.

Fawcett, "An introduction to ROC analysis" (2006).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learnkit.errors import UsageError

__all__ = ["Curve", "PRCurve", "ROCCurve", "areas", "mean_area", "pr_curve", "ranked_counts", "roc_curve"]

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ROCCurve:
    """False and true positive rate, as the threshold falls.

    Attributes:
        fpr: (P,), share of the other items at or above the threshold; nan without other items.
        tpr: (P,), share of the class's items at or above the threshold; nan without items of the class.
        thresholds: (P,), falling, the first infinite.
        area: under the curve: the probability that an item of the class scores higher than another; ties count half.
    """

    fpr: Floats
    tpr: Floats
    thresholds: Floats
    area: float


@dataclass(frozen=True, eq=False)
class PRCurve:
    """Precision and recall, as the threshold rises.

    Attributes:
        precision: (P + 1,), share of the items at or above the threshold that are of the class; 1 at the end.
        recall: (P + 1,), share of the class's items at or above the threshold; 0 at the end; nan without such items.
        thresholds: (P,), rising; the last point has none.
        area: the average precision: the mean of the precisions, weighted by the steps of recall.
    """

    precision: Floats
    recall: Floats
    thresholds: Floats
    area: float


def roc_curve(scores: npt.NDArray[Any], actual: npt.NDArray[np.bool_]) -> ROCCurve:
    """The curve of scores (N,) for items (N,) that are of the class or not.

    Raises:
        UsageError: shapes that do not fit each other, or a score that is nan.
    """
    thresholds, tps, fps = ranked_counts(scores, actual)
    tpr, fpr = (_shares(np.concatenate([[0], counts])) for counts in (tps, fps))
    return ROCCurve(
        fpr, tpr, np.concatenate([[np.inf], thresholds]), float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1])) / 2)
    )


def pr_curve(scores: npt.NDArray[Any], actual: npt.NDArray[np.bool_]) -> PRCurve:
    """The curve of scores (N,) for items (N,) that are of the class or not.

    Raises:
        UsageError: shapes that do not fit each other, or a score that is nan.
    """
    thresholds, tps, fps = ranked_counts(scores, actual)
    precision, recall = tps / (tps + fps), _shares(tps)
    area = float(np.sum(np.diff(recall, prepend=0) * precision))
    return PRCurve(np.append(precision[::-1], 1), np.append(recall[::-1], 0), thresholds[::-1], area)


Curve: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_]], ROCCurve | PRCurve]


def areas(curve: Curve, scores: npt.NDArray[Any], actual: npt.NDArray[np.bool_]) -> list[float]:
    """The areas of C classes, from scores and whether each item is of the class, (N, C) each; nan if a score is nan."""
    if not len(scores) or np.isnan(scores).any():
        return [float("nan")] * scores.shape[1]
    return [float(curve(scores[:, c], actual[:, c]).area) for c in range(scores.shape[1])]


def mean_area(curve: Curve, scores: npt.NDArray[Any], actual: npt.NDArray[np.bool_], average: str) -> float:
    """Mean of the areas of C classes, over those that have an area; nan when none has, or a score is nan.

    Args:
        curve: `roc_curve` or `pr_curve`.
        scores: (N, C).
        actual: (N, C), whether the item is of the class.
        average: "weighted" by the items of each class; any other counts classes the same.
    """
    of_class = np.array(areas(curve, scores, actual))
    weights = actual.sum(axis=0) if average == "weighted" else np.ones(len(of_class))
    known = ~np.isnan(of_class)
    return float(np.average(of_class[known], weights=weights[known])) if known.any() else float("nan")


def ranked_counts(
    scores: npt.NDArray[Any], actual: npt.NDArray[np.bool_]
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(scores, true positives, false positives) of the items at or above each distinct score, falling.

    Raises:
        UsageError: shapes that do not fit each other, or a score that is nan.
    """
    if scores.ndim != 1 or scores.shape != actual.shape or not len(scores):
        raise UsageError("scores: the shape", got=scores.shape, expected=f"{actual.shape}: one per item, 1 or more")
    if np.isnan(scores).any():
        raise UsageError("scores", got=float("nan"), expected="numbers", fix="Look at the top losses for these items.")
    order = np.argsort(scores, kind="stable")[::-1]
    falling = scores[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of each run of equal scores
    tps = np.cumsum(actual[order], dtype=np.int64)[last]
    return falling[last].astype(np.float64), tps, last + 1 - tps


def _shares(counts: npt.NDArray[np.int64]) -> Floats:
    """Counts that only grow, as shares of the last one; nan when that is 0."""
    return counts / counts[-1] if counts[-1] else np.full(len(counts), np.nan)
