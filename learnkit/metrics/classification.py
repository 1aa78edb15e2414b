"""Metrics of one class an item, made by name or with settings.

All take raw outputs: (N, C) or (N, C, ...) for C classes with targets (N,) or (N, ...) of class numbers, or one output
an item, (N,) or (N, 1, ...), for yes/no. With two outputs both classes are classes; average="binary" takes class 1.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from learnkit.errors import UsageError
from learnkit.metrics.counts import class_counts, f_of, jaccard_of, precision_of, recall_of
from learnkit.metrics.lazy import CLASSES, LazyMetric, import_torchmetrics
from learnkit.metrics.ranking import class_ranking
from learnkit.metrics.shapes import class_answers

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


def precision(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Share of the answers of a class that are right.

    Args:
        average: "macro", the mean over classes, of which those neither there nor answered are left out; "weighted"
            by the items of each class; "micro", all answers together; "binary", class 1 of two outputs.
        threshold: probability above which one output an item (or "binary") means yes.
        name: its column in the history; "precision", with another average "precision_micro", unless given.

    Raises:
        UsageError: settings that cannot be, or torchmetrics is not installed.
    """
    return class_counts(name or _named("precision", average), precision_of, average, threshold)


def recall(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Share of the items of a class that are found; arguments as for `precision`."""
    return class_counts(name or _named("recall", average), recall_of, average, threshold)


def f_beta(beta: float = 1.0, *, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Harmonic mean of precision and recall, recall `beta` times as important; other arguments as for `precision`."""
    return class_counts(name or _named(f"f{beta:g}", average), f_of(beta), average, threshold)


def f1(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """`f_beta` for beta 1."""
    return f_beta(1.0, average=average, threshold=threshold, name=name)


def f2(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """`f_beta` for beta 2."""
    return f_beta(2.0, average=average, threshold=threshold, name=name)


def jaccard(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Right answers of a class by items answered or wanted to be of it; arguments as for `precision`."""
    return class_counts(name or _named("jaccard", average), jaccard_of, average, threshold)


def balanced_accuracy(*, name: str | None = None) -> LazyMetric:
    """Mean of the recalls of the classes that are there."""

    def finish(table: Tensor) -> float:
        there = table.sum(dim=1) > 0
        return float((table.diagonal()[there] / table.sum(dim=1)[there]).mean())

    return _of_table(name or "balanced_accuracy", finish)


def kappa(*, weights: str | None = None, name: str | None = None) -> LazyMetric:
    """Cohen's kappa: agreement beyond chance (Cohen, 1960); nan when one class is all that is there and answered.

    Args:
        weights: None, or "linear" or "quadratic" where classes are in order and near misses count less.
        name: its column in the history; "kappa" unless given.

    Raises:
        UsageError: other weights, or torchmetrics is not installed.
    """
    if weights not in (None, "linear", "quadratic"):
        raise UsageError("weights", got=weights, expected="None, 'linear' or 'quadratic'")
    name = name or "kappa"

    def build(n_outputs: int) -> Any:
        kinds = import_torchmetrics(name).classification
        return kinds.MulticlassCohenKappa(max(n_outputs, 2), weights=weights, validate_args=False)

    return LazyMetric(name, class_answers, build, takes=CLASSES)


def mcc(*, name: str | None = None) -> LazyMetric:
    """Matthews' correlation of answers and targets (Gorodkin, 2004); 0 when all answers or all targets are the same."""

    def finish(table: Tensor) -> float:  # torchmetrics' own is above 0 for two classes and always the same answer
        wanted, answered, n = table.sum(dim=1), table.sum(dim=0), table.sum()
        spread = (n**2 - wanted @ wanted) * (n**2 - answered @ answered)
        return float((n * table.trace() - wanted @ answered) / spread.sqrt()) if spread > 0 else 0.0

    return _of_table(name or "mcc", finish)


def hamming(*, name: str | None = None) -> LazyMetric:
    """Share of answers that are wrong, for one class an item the error rate."""

    def build(n_outputs: int) -> Any:
        kinds = import_torchmetrics("hamming").classification
        return kinds.MulticlassHammingDistance(max(n_outputs, 2), average="micro", validate_args=False)

    return LazyMetric(name or "hamming", class_answers, build, takes=CLASSES, higher_is_better=False)


def auroc(*, average: str = "macro", name: str | None = None) -> LazyMetric:
    """Area under the ROC curve of each class against the others, exact; every probability is kept until the end.

    Args:
        average: "macro", the mean over the classes that are there (nan with only one), or "weighted" by their items.
        name: its column in the history; "auroc" unless given.

    Raises:
        UsageError: another average, or torchmetrics is not installed.
    """
    return class_ranking(name or _named("auroc", average), "AUROC", average)


def average_precision(*, average: str = "macro", name: str | None = None) -> LazyMetric:
    """Average precision of each class against the others, exact; arguments as for `auroc`."""
    return class_ranking(name or _named("average_precision", average), "AveragePrecision", average)


def _of_table(name: str, finish: Callable[[Tensor], float]) -> LazyMetric:
    """From how often each class (row) was answered as each (column); one output an item is two classes."""

    def build(n_outputs: int) -> Any:
        kinds = import_torchmetrics(name).classification
        return kinds.MulticlassConfusionMatrix(max(n_outputs, 2), validate_args=False)

    return LazyMetric(name, class_answers, build, lambda table: finish(table.cpu().double()), takes=CLASSES)


def _named(name: str, average: str) -> str:
    return name if average == "macro" else f"{name}_{average}"
