"""Metrics that follow from how often each class was answered rightly, answered wrongly and missed, over a whole set."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.metrics.lazy import CLASSES, LABELS, LazyMetric, Targets, check_average, import_torchmetrics
from learnkit.metrics.shapes import class_answers, label_answers

__all__ = [
    "Formula",
    "check_threshold",
    "class_counts",
    "f_of",
    "jaccard_of",
    "label_counts",
    "precision_of",
    "recall_of",
]

Formula: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Numerator and denominator from the right answers, the wrong answers and the misses of each class, (C,) each."""

CLASS_AVERAGES = ("macro", "micro", "weighted", "binary")
LABEL_AVERAGES = ("macro", "micro", "weighted", "samples")


def precision_of(right: Tensor, wrong: Tensor, missed: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the answers that are right."""
    return right, right + wrong


def recall_of(right: Tensor, wrong: Tensor, missed: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the items that are found."""
    return right, right + missed


def jaccard_of(right: Tensor, wrong: Tensor, missed: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union."""
    return right, right + wrong + missed


def f_of(beta: float) -> Formula:
    """Harmonic mean of precision and recall, recall `beta` times as important; for 1 this is the Dice score."""
    if not 0 < beta < float("inf"):
        raise UsageError("beta", got=beta, expected="a number above 0")

    def formula(right: Tensor, wrong: Tensor, missed: Tensor) -> tuple[Tensor, Tensor]:
        twice = (1 + beta**2) * right
        return twice, twice + beta**2 * missed + wrong

    return formula


def class_counts(
    name: str,
    formula: Formula,
    average: str = "macro",
    threshold: float = 0.5,
    ignore_index: int | None = None,
    takes: tuple[Targets, ...] = CLASSES,
) -> LazyMetric:
    """The metric of this formula for one class an item.

    Args:
        name: its column in the history.
        formula: from counts to the number of a class.
        average: "macro" counts classes the same, leaving out those neither there nor answered, "weighted" by their
            items, "micro" adds all counts first, "binary" takes class 1 of two.
        threshold: for one output an item, and for "binary".
        ignore_index: targets of this number do not count, nor does the class of this number.
        takes: the targets it is meant for.

    Raises:
        UsageError: an average, threshold or beta that cannot be, or no torchmetrics.
    """
    check_average(average, CLASS_AVERAGES)
    check_threshold(threshold)

    def build(n_outputs: int) -> Any:
        kinds = import_torchmetrics(name).classification
        if n_outputs == 1:
            return kinds.BinaryStatScores(validate_args=False)
        return kinds.MulticlassStatScores(n_outputs, average=None, validate_args=False)

    prepare = partial(class_answers, threshold=threshold, ignore_index=ignore_index, second=average == "binary")
    return LazyMetric(name, prepare, build, partial(_average, formula, average, ignore_index), takes=takes)


def label_counts(name: str, formula: Formula, average: str = "macro", threshold: float = 0.5) -> LazyMetric:
    """The metric of this formula for any number of labels an item; arguments as for `class_counts`.

    Average "samples" takes the number of each item, from its labels, and their mean over items, leaving out those
    that have no label and got none.
    """
    check_average(average, LABEL_AVERAGES)
    check_threshold(threshold)

    def build(n_labels: int) -> Any:
        kinds = import_torchmetrics(name).classification
        if average == "samples":
            return kinds.BinaryStatScores(multidim_average="samplewise", validate_args=False)
        if n_labels == 1:
            return kinds.BinaryStatScores(validate_args=False)
        return kinds.MultilabelStatScores(n_labels, average=None, validate_args=False)

    prepare = partial(label_answers, threshold=threshold)
    return LazyMetric(name, prepare, build, partial(_average, formula, average, None), takes=LABELS)


def check_threshold(threshold: float) -> None:
    """Raise a UsageError for what is no probability between 0 and 1."""
    if not 0 < threshold < 1:
        raise UsageError("threshold", got=threshold, expected="a probability between 0 and 1")


def _average(formula: Formula, average: str, ignore_index: int | None, values: Tensor) -> float:
    """One number from true positives, false positives, true negatives, false negatives and support, (5,) or (C, 5)."""
    counts = values.cpu().double().reshape(-1, 5)
    if ignore_index is not None and len(counts) > 1:
        counts = counts[torch.arange(len(counts)) != ignore_index]
    if average == "micro":
        counts = counts.sum(dim=0, keepdim=True)
    right, wrong, _, missed, support = counts.unbind(dim=1)
    top, bottom = formula(right, wrong, missed)
    scores = top / bottom.where(bottom > 0, 1.0)  # 0 by 0 is 0
    weights = support if average == "weighted" else (right + wrong + missed > 0).double()
    return float((weights * scores).sum() / weights.sum().clamp(min=1.0))
