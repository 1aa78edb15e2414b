"""Metrics from how often each class or label is right, predicted and actual, over a whole set."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from learnkit.checks import check_choice, check_number
from learnkit.metrics.accumulate import Sums, precise, total_and_count
from learnkit.metrics.accumulated import CLASSES, LABELS, AccumulatedMetric, Batch, Targets
from learnkit.metrics.shapes import (
    ClassRows,
    check_classes,
    check_ignored,
    check_labels,
    check_threshold,
    class_rows,
    label_rows,
)

__all__ = [
    "Formula",
    "averaged_name",
    "class_counts",
    "class_tally",
    "f_of",
    "jaccard_of",
    "label_counts",
    "label_predictions",
    "precision_of",
    "recall_of",
    "tally",
]

Formula: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Numerator and denominator from the true positives, false positives and false negatives of each class, (C,) each."""

CLASS_AVERAGES = ("macro", "micro", "weighted", "binary", None)
LABEL_AVERAGES = ("macro", "micro", "weighted", "samples", None)


def precision_of(tp: Tensor, fp: Tensor, fn: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the predictions that are right."""
    return tp, tp + fp


def recall_of(tp: Tensor, fp: Tensor, fn: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the items that are found."""
    return tp, tp + fn


def jaccard_of(tp: Tensor, fp: Tensor, fn: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union."""
    return tp, tp + fp + fn


def f_of(beta: float) -> Formula:
    """Harmonic mean of precision and recall, recall `beta` times as important; for 1 this is the Dice score."""
    check_number("beta", beta, "(0, inf)", expected="a number above 0")

    def formula(tp: Tensor, fp: Tensor, fn: Tensor) -> tuple[Tensor, Tensor]:
        top = (1 + beta**2) * tp
        return top, top + beta**2 * fn + fp

    return formula


def averaged_name(name: str, average: str | None) -> str:
    """The column of a metric: its name, and how it averages the classes unless that is "macro", or None."""
    return name if average in ("macro", None) else f"{name}_{average}"


def class_counts(
    name: str,
    formula: Formula,
    average: str | None = "macro",
    threshold: float = 0.5,
    ignore_index: int | None = None,
    takes: tuple[Targets, ...] = CLASSES,
) -> AccumulatedMetric:
    """The metric of this formula for one class per item.

    Args:
        name: its column in the history.
        formula: from counts to the number of a class.
        average: "macro" counts classes the same, leaving out those without items and predictions, "weighted" by their
            items, "micro" adds all counts first, "binary" takes class 1 of two, None is one number per class.
        threshold: for one output per item, and for "binary".
        ignore_index: targets of this number do not count, nor does the class of this number.
        takes: the targets it is for.

    Raises:
        UsageError: an unknown average, or a threshold that is not between 0 and 1.
    """
    check_choice("average", average, CLASS_AVERAGES)
    check_threshold(threshold)
    check_ignored(ignore_index)

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        made = class_rows(preds, targets, threshold=threshold, ignore_index=ignore_index, second=average == "binary")
        counts = class_tally(made)
        counts = counts[:, 1:] if made.n_outputs == 1 and average is not None else counts  # of yes and no, yes
        return Batch((counts, made.counted.sum()), made.n_outputs, made.checked)

    finish = partial(_average, formula, average, ignore_index)
    return AccumulatedMetric(
        name, prepare, Sums(), finish, takes=takes, check=check_classes, is_per_class=average is None
    )


def label_counts(
    name: str, formula: Formula, average: str | None = "macro", threshold: float = 0.5
) -> AccumulatedMetric:
    """The metric of this formula for any number of labels per item; arguments as for `class_counts`.

    Average "samples" is the mean over items of the number of each item's labels, leaving out items without a label
    that are predicted to have none.
    """
    check_choice("average", average, LABEL_AVERAGES)
    check_threshold(threshold)

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        predicted, actual, checked = label_predictions(preds, targets, threshold)
        counts = torch.stack([part.sum(int(average == "samples")) for part in (predicted & actual, predicted, actual)])
        if average == "samples":
            scores, exist = _scores(formula, precise(counts))
            return Batch(total_and_count(scores, exist), predicted.shape[1], checked)
        n = torch.full((), len(predicted), device=counts.device)
        return Batch((counts, n), predicted.shape[1], checked)

    finish = _mean_of_samples if average == "samples" else partial(_average, formula, average, None)
    return AccumulatedMetric(
        name, prepare, Sums(), finish, takes=LABELS, check=check_labels, is_per_class=average is None
    )


def label_predictions(preds: Tensor, targets: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted and actual labels, bool (M, C) each, and the targets whose values are checked."""
    scores, actual, checked = label_rows(preds, targets)
    return precise(scores).sigmoid() > threshold, actual, checked


def class_tally(made: ClassRows) -> Tensor:
    """How often each class is right, predicted and actual, (3, C)."""
    predicted, actual, counted, n = made.predicted, made.actual, made.counted, made.n_classes
    right = counted & (predicted == actual)
    return torch.stack([tally(actual, right, n), tally(predicted, counted, n), tally(actual, counted, n)])


def tally(numbers: Tensor, counted: Tensor, n: int) -> Tensor:
    """How often each number from 0 to n - 1 occurs among those that count, (n,); bincount would synchronize."""
    return torch.zeros(n, dtype=torch.long, device=numbers.device).index_add_(0, numbers, counted.long())


def _average(
    formula: Formula, average: str | None, ignore_index: int | None, counts: Tensor, n: Tensor
) -> float | list[float]:
    """One number from how often each class is right, predicted and actual, (3, C); nan if no target counts.

    For average None one per class; nan for a class that is ignored, or has neither items nor predictions.
    """
    if average is None:
        scores, exist = _scores(formula, counts)
        return scores.where(exist & (torch.arange(len(scores)) != ignore_index), torch.nan).tolist()
    if not n:
        return float("nan")
    if ignore_index is not None and counts.shape[1] > 1:
        counts = counts[:, torch.arange(counts.shape[1]) != ignore_index]
    if average == "micro":
        counts = counts.sum(dim=1)
    scores, exist = _scores(formula, counts)
    weights = counts[2] if average == "weighted" else exist.double()
    return float((weights * scores).sum() / weights.sum().clamp(min=1.0))


def _scores(formula: Formula, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The number of each class, and whether the class has items or predictions; 0 by 0 is 0."""
    right, predicted, actual = counts
    top, bottom = formula(right, predicted - right, actual - right)
    return top / bottom.where(bottom > 0, 1.0), predicted + actual > 0


def _mean_of_samples(total: Tensor, n: Tensor) -> float:
    return float(total / n.clamp(min=1.0))
