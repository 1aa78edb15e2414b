"""Metrics of one class per item, made by name or with settings.

All take raw outputs: (N, C) or (N, C, ...) for C classes with targets (N,) or (N, ...) of class indices, or one output
per item, (N,) or (N, 1, ...), for yes/no. With two outputs both classes are classes; average="binary" takes class 1.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from learnkit.checks import check_choice
from learnkit.metrics.accumulate import Kept, Sums, mean, total_and_count
from learnkit.metrics.accumulated import CLASSES, AccumulatedMetric, Batch
from learnkit.metrics.counts import (
    class_counts,
    class_tally,
    f_of,
    jaccard_of,
    precision_of,
    recall_of,
    tally,
)
from learnkit.metrics.curves import Curve, mean_area, pr_curve, roc_curve
from learnkit.metrics.shapes import ClassRows, check_classes, class_rows, class_scores

__all__ = [
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "f1",
    "f2",
    "f_beta",
    "hamming",
    "jaccard",
    "kappa",
    "mcc",
    "precision",
    "recall",
]


def precision(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """Share of the predictions of a class that are right.

    Args:
        average: "macro", the mean over classes, leaving out those without items and predictions; "weighted" by the
            items of each class; "micro", all predictions together; "binary", class 1 of two outputs.
        threshold: probability above which one output per item (or "binary") means yes.
        name: its column in the history; "precision", with another average "precision_micro", unless given.

    Raises:
        UsageError: an unknown average, or a threshold that is not between 0 and 1.
    """
    return class_counts(name or _named("precision", average), precision_of, average, threshold)


def recall(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """Share of the items of a class that are found; arguments as for `precision`."""
    return class_counts(name or _named("recall", average), recall_of, average, threshold)


def f_beta(
    beta: float = 1.0, *, average: str = "macro", threshold: float = 0.5, name: str | None = None
) -> AccumulatedMetric:
    """Harmonic mean of precision and recall, recall `beta` times as important; other arguments as for `precision`."""
    return class_counts(name or _named(f"f{beta:g}", average), f_of(beta), average, threshold)


def f1(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """`f_beta` for beta 1."""
    return f_beta(1.0, average=average, threshold=threshold, name=name)


def f2(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """`f_beta` for beta 2."""
    return f_beta(2.0, average=average, threshold=threshold, name=name)


def jaccard(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """Right predictions of a class by items that are or are predicted to be of it; arguments as for `precision`."""
    return class_counts(name or _named("jaccard", average), jaccard_of, average, threshold)


def balanced_accuracy(*, name: str | None = None) -> AccumulatedMetric:
    """Mean of the recalls of the classes that have items."""

    def finish(counts: Tensor) -> float:
        right, _, actual = counts[:, counts[2] > 0]
        return float((right / actual).mean())

    return _of_classes(name or "balanced_accuracy", class_tally, finish)


def kappa(*, weights: str | None = None, name: str | None = None) -> AccumulatedMetric:
    """Cohen's kappa: agreement beyond chance (Cohen, 1960); nan when all items and predictions are of one class.

    Args:
        weights: None, or "linear" or "quadratic" if classes are ordered and near misses count less.
        name: its column in the history; "kappa" unless given.

    Raises:
        UsageError: other weights.
    """
    check_choice("weights", weights, (None, "linear", "quadratic"))

    def table(made: ClassRows) -> Tensor:
        cells = made.actual * made.n_classes + made.predicted
        return tally(cells, made.counted, made.n_classes**2).view(made.n_classes, -1)

    def finish(table: Tensor) -> float:
        steps = torch.arange(len(table), dtype=torch.float64)
        apart = (steps[:, None] - steps).abs()
        cost = (apart > 0).double() if weights is None else apart if weights == "linear" else apart**2
        by_chance = table.sum(dim=1)[:, None] * table.sum(dim=0) / table.sum()
        return float(1 - (cost * table).sum() / (cost * by_chance).sum())

    return _of_classes(name or "kappa", table, finish)


def mcc(*, name: str | None = None) -> AccumulatedMetric:
    """Matthews' correlation of predictions and targets (Gorodkin, 2004); 0 when all of either are the same."""

    def finish(counts: Tensor) -> float:
        right, predicted, actual = counts
        n = actual.sum()
        if not n:
            return float("nan")
        spread = (n**2 - actual @ actual) * (n**2 - predicted @ predicted)
        return float((n * right.sum() - actual @ predicted) / spread.sqrt()) if spread > 0 else 0.0

    return _of_classes(name or "mcc", class_tally, finish)


def hamming(*, name: str | None = None) -> AccumulatedMetric:
    """Share of predictions that are wrong, for one class per item the error rate."""

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        made = class_rows(preds, targets)
        return Batch(total_and_count(made.predicted != made.actual), made.n_outputs, made.checked)

    return AccumulatedMetric(
        name or "hamming", prepare, Sums(), mean, takes=CLASSES, higher_is_better=False, check=check_classes
    )


def auroc(*, average: str = "macro", name: str | None = None) -> AccumulatedMetric:
    """Area under the ROC curve of each class against the others, exact; every output is kept until the end.

    Args:
        average: "macro", the mean over the classes that have items (nan with only one), or "weighted" by their items.
        name: its column in the history; "auroc" unless given.

    Raises:
        UsageError: another average.
    """
    return _of_curves(name or _named("auroc", average), roc_curve, average)


def average_precision(*, average: str = "macro", name: str | None = None) -> AccumulatedMetric:
    """Average precision of each class against the others, exact; arguments as for `auroc`."""
    return _of_curves(name or _named("average_precision", average), pr_curve, average)


def _of_classes(
    name: str, count: Callable[[ClassRows], Tensor], finish: Callable[[Tensor], float]
) -> AccumulatedMetric:
    """From counts of classes; one output per item is two classes."""

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        made = class_rows(preds, targets)
        return Batch((count(made),), made.n_outputs, made.checked)

    return AccumulatedMetric(name, prepare, Sums(), finish, takes=CLASSES, check=check_classes)


def _of_curves(name: str, curve: Curve, average: str) -> AccumulatedMetric:
    check_choice("average", average, ("macro", "weighted"))

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        scores, actual = class_scores(preds, targets)
        return Batch((scores, actual), scores.shape[1], actual)

    def finish(scores: Tensor, actual: Tensor) -> float:
        if scores.shape[1] == 1:  # probabilities are in the same order as the outputs
            return mean_area(curve, scores.double().numpy(), (actual > 0.5).numpy()[:, None], average)
        of_class = actual.numpy()[:, None] == np.arange(scores.shape[1])
        return mean_area(curve, scores.double().softmax(dim=1).numpy(), of_class, average)

    return AccumulatedMetric(name, prepare, Kept(), finish, takes=CLASSES, check=check_classes)


def _named(name: str, average: str) -> str:
    return name if average == "macro" else f"{name}_{average}"
