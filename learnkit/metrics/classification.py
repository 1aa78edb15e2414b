"""Metrics of one class per item, made by name or with settings.

All take raw outputs: (N, C) or (N, C, ...) for C classes with targets (N,) or (N, ...) of class indices, or one output
per item, (N,) or (N, 1, ...), for yes/no. With two outputs both classes are classes; average="binary" takes class 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from learnkit.checks import check_choice
from learnkit.metrics.accumulate import Kept, Sums, mean, total_and_count
from learnkit.metrics.accumulated import CLASSES, AccumulatedMetric, Batch
from learnkit.metrics.counts import (
    averaged_name,
    class_counts,
    class_tally,
    f_of,
    jaccard_of,
    precision_of,
    recall_of,
    tally,
)
from learnkit.metrics.curves import Curve, areas, mean_area, pr_curve, roc_curve
from learnkit.metrics.shapes import ClassRows, check_classes, check_ignored, class_rows, class_scores, ordered

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


def precision(
    *, average: str | None = "macro", threshold: float = 0.5, ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Share of the predictions of a class that are right.

    Args:
        average: "macro", the mean over classes, leaving out those without items and predictions; "weighted" by the
            items of each class; "micro", all predictions together; "binary", class 1 of two outputs; None, one
            number and one column per class, nan without either.
        threshold: probability above which one output per item (or "binary") means yes.
        ignore_index: items (or pixels) of this number do not count, nor does the class of this number.
        name: its column in the history; "precision", with another average "precision_micro", unless given.

    Raises:
        UsageError: an unknown average, or a threshold that is not between 0 and 1.
    """
    return class_counts(name or averaged_name("precision", average), precision_of, average, threshold, ignore_index)


def recall(
    *, average: str | None = "macro", threshold: float = 0.5, ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Share of the items of a class that are found; arguments as for `precision`."""
    return class_counts(name or averaged_name("recall", average), recall_of, average, threshold, ignore_index)


def f_beta(
    beta: float = 1.0,
    *,
    average: str | None = "macro",
    threshold: float = 0.5,
    ignore_index: int | None = None,
    name: str | None = None,
) -> AccumulatedMetric:
    """Harmonic mean of precision and recall, recall `beta` times as important; other arguments as for `precision`."""
    formula = f_of(beta)
    return class_counts(name or averaged_name(f"f{beta:g}", average), formula, average, threshold, ignore_index)


def f1(
    *, average: str | None = "macro", threshold: float = 0.5, ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """`f_beta` for beta 1."""
    return f_beta(1.0, average=average, threshold=threshold, ignore_index=ignore_index, name=name)


def f2(
    *, average: str | None = "macro", threshold: float = 0.5, ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """`f_beta` for beta 2."""
    return f_beta(2.0, average=average, threshold=threshold, ignore_index=ignore_index, name=name)


def jaccard(
    *, average: str | None = "macro", threshold: float = 0.5, ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Right predictions of a class by items that are or are predicted to be of it; arguments as for `precision`."""
    return class_counts(name or averaged_name("jaccard", average), jaccard_of, average, threshold, ignore_index)


def balanced_accuracy(*, ignore_index: int | None = None, name: str | None = None) -> AccumulatedMetric:
    """Mean of the recalls of the classes that have items; those of `ignore_index` do not count.

    `name` is its column in the history.
    """

    def finish(counts: Tensor) -> float:
        right, _, actual = counts[:, counts[2] > 0]
        return float((right / actual).mean())

    return _of_classes(name or "balanced_accuracy", class_tally, finish, ignore_index)


def kappa(*, weights: str | None = None, ignore_index: int | None = None, name: str | None = None) -> AccumulatedMetric:
    """Cohen's kappa: agreement beyond chance (Cohen, 1960); nan when all items and predictions are of one class.

    Args:
        weights: None, or "linear" or "quadratic" if classes are ordered and near misses count less.
        ignore_index: items of this number do not count.
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

    return _of_classes(name or "kappa", table, finish, ignore_index)


def mcc(*, ignore_index: int | None = None, name: str | None = None) -> AccumulatedMetric:
    """Matthews' correlation of predictions and targets (Gorodkin, 2004); 0 when all of either are the same.

    Items of `ignore_index` do not count.
    `name` is its column in the history.
    """

    def finish(counts: Tensor) -> float:
        right, predicted, actual = counts
        n = actual.sum()
        if not n:
            return float("nan")
        spread = (n**2 - actual @ actual) * (n**2 - predicted @ predicted)
        return float((n * right.sum() - actual @ predicted) / spread.sqrt()) if spread > 0 else 0.0

    return _of_classes(name or "mcc", class_tally, finish, ignore_index)


def hamming(*, ignore_index: int | None = None, name: str | None = None) -> AccumulatedMetric:
    """Share of predictions that are wrong, for one class per item the error rate; but for items of `ignore_index`.

    `name` is its column in the history.
    """
    check_ignored(ignore_index)

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        made = class_rows(preds, targets, ignore_index=ignore_index)
        wrong = total_and_count(made.predicted != made.actual, made.counted)
        return Batch(wrong, made.n_outputs, made.checked)

    return AccumulatedMetric(
        name or "hamming", prepare, Sums(), mean, takes=CLASSES, higher_is_better=False, check=check_classes
    )


def auroc(
    *, average: str | None = "macro", ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Area under the ROC curve of each class against the others, exact; every output is kept until the end.

    Args:
        average: "macro", the mean over the classes that have items (nan with only one), or "weighted" by their items;
            None, one number and one column per class.
        ignore_index: items of this number do not count.
        name: its column in the history; "auroc" unless given.

    Raises:
        UsageError: another average.
    """
    return _of_curves(name or averaged_name("auroc", average), roc_curve, average, ignore_index)


def average_precision(
    *, average: str | None = "macro", ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Average precision of each class against the others, exact; arguments as for `auroc`."""
    return _of_curves(name or averaged_name("average_precision", average), pr_curve, average, ignore_index)


def _of_classes(
    name: str, count: Callable[[ClassRows], Tensor], finish: Callable[[Tensor], float], ignore_index: int | None
) -> AccumulatedMetric:
    """From counts of classes; one output per item is two classes."""
    check_ignored(ignore_index)

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        made = class_rows(preds, targets, ignore_index=ignore_index)
        return Batch((count(made),), made.n_outputs, made.checked)

    return AccumulatedMetric(name, prepare, Sums(), finish, takes=CLASSES, check=check_classes)


def _of_curves(name: str, curve: Curve, average: str | None, ignore_index: int | None) -> AccumulatedMetric:
    check_choice("average", average, ("macro", "weighted", None))
    check_ignored(ignore_index)

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        scores, actual = class_scores(preds, targets)
        if ignore_index is None:
            return Batch((scores, actual), scores.shape[1], actual)
        counted = actual != ignore_index
        return Batch((scores, actual, counted), scores.shape[1], actual.where(counted, 0))

    def finish(scores: Tensor, actual: Tensor, counted: Tensor | None = None) -> float | list[float]:
        if counted is not None:
            scores, actual = scores[counted], actual[counted]
        if scores.shape[1] == 1:  # probabilities are in the same order as the outputs
            scores, actual = scores.double(), (actual > 0.5).long()
            if average is not None:
                return mean_area(curve, scores.numpy(), actual.bool().numpy()[:, None], average)
            of_class, ranks = actual[:, None] == torch.arange(2), torch.cat([-scores, scores], dim=1)
            return areas(curve, ranks.numpy(), of_class.numpy())
        of_class, ranks = actual[:, None] == torch.arange(scores.shape[1]), ordered(scores)
        if average is None:
            return areas(curve, ranks.numpy(), of_class.numpy())
        return mean_area(curve, ranks.numpy(), of_class.numpy(), average)

    return AccumulatedMetric(
        name, prepare, Kept(), finish, takes=CLASSES, check=check_classes, is_per_class=average is None
    )
