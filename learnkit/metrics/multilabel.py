"""Metrics of any number of labels an item, made by name or with settings.

All take raw outputs (N, C) or (N, C, ...) and targets of the same shape, 0 or 1; the name ends in _multi.
"""

from typing import Any

from learnkit.metrics.counts import check_threshold, f_of, jaccard_of, label_counts, precision_of, recall_of
from learnkit.metrics.lazy import LABELS, LazyMetric, import_torchmetrics
from learnkit.metrics.ranking import label_ranking
from learnkit.metrics.shapes import label_probabilities

__all__ = [
    "auroc_multi",
    "average_precision_multi",
    "f1_multi",
    "f2_multi",
    "f_beta_multi",
    "hamming_multi",
    "jaccard_multi",
    "precision_multi",
    "recall_multi",
]


def precision_multi(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Share of the yes to a label that are right.

    Args:
        average: "macro", the mean over labels, of which those neither there nor answered are left out; "weighted" by
            the items of each label; "micro", all answers together; "samples", the mean over items of each item's own,
            of which those without a label that also got none are left out.
        threshold: probability above which an output means yes.
        name: its column in the history; "precision_multi", or for example "precision_multi_micro", unless given.

    Raises:
        UsageError: settings that cannot be, or torchmetrics is not installed.
    """
    return label_counts(name or _named("precision", average), precision_of, average, threshold)


def recall_multi(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Share of the items of a label that got it; arguments as for `precision_multi`."""
    return label_counts(name or _named("recall", average), recall_of, average, threshold)


def f_beta_multi(
    beta: float = 1.0, *, average: str = "macro", threshold: float = 0.5, name: str | None = None
) -> LazyMetric:
    """Harmonic mean of precision and recall, recall `beta` times as important; others as for `precision_multi`."""
    return label_counts(name or _named(f"f{beta:g}", average), f_of(beta), average, threshold)


def f1_multi(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """`f_beta_multi` for beta 1."""
    return f_beta_multi(1.0, average=average, threshold=threshold, name=name)


def f2_multi(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """`f_beta_multi` for beta 2."""
    return f_beta_multi(2.0, average=average, threshold=threshold, name=name)


def jaccard_multi(*, average: str = "macro", threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Right yes by yes answered or wanted; arguments as for `precision_multi`."""
    return label_counts(name or _named("jaccard", average), jaccard_of, average, threshold)


def hamming_multi(*, threshold: float = 0.5, name: str | None = None) -> LazyMetric:
    """Share of single yes/no answers that are wrong, over all items and labels: 1 - `accuracy_multi`."""
    check_threshold(threshold)

    def build(n_labels: int) -> Any:
        return import_torchmetrics("hamming_multi").classification.BinaryHammingDistance(threshold, validate_args=False)

    name = name or "hamming_multi"
    return LazyMetric(name, label_probabilities, build, takes=LABELS, higher_is_better=False)


def auroc_multi(*, average: str = "macro", name: str | None = None) -> LazyMetric:
    """Area under the ROC curve of each label, exact; every probability is kept until the end.

    Args:
        average: "macro", the mean over the labels that some items have and some have not (nan when there is none);
            "weighted" by the items of each label; "micro", the answers to all labels ranked together.
        name: its column in the history; "auroc_multi" unless given.

    Raises:
        UsageError: another average, or torchmetrics is not installed.
    """
    return label_ranking(name or _named("auroc", average), "AUROC", average)


def average_precision_multi(*, average: str = "macro", name: str | None = None) -> LazyMetric:
    """Average precision of each label that some items have, exact; arguments as for `auroc_multi`."""
    return label_ranking(name or _named("average_precision", average), "AveragePrecision", average)


def _named(name: str, average: str) -> str:
    return f"{name}_multi" if average == "macro" else f"{name}_multi_{average}"
