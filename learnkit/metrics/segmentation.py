"""Metrics of masks over all pixels of the set, made by name or with settings.

All take raw outputs (N, C, ...) and masks of class numbers, (N, ...), or one output a pixel for yes/no.
"""

from typing import Any

from torch import Tensor

from learnkit.metrics.counts import class_counts, f_of, jaccard_of
from learnkit.metrics.lazy import MASKS, LazyMetric, Prepared, import_torchmetrics
from learnkit.metrics.shapes import class_answers

__all__ = ["dice", "foreground_accuracy", "iou"]


def dice(*, average: str = "macro", ignore_index: int | None = None, name: str | None = None) -> LazyMetric:
    """Twice the pixels of a class that are right, by pixels answered plus pixels wanted, counted over the whole set.

    Args:
        average: "macro", the mean over classes (the background is one), of which those neither there nor answered are
            left out; "weighted" by the pixels of each class; "micro", all together; "binary", class 1 of two.
        ignore_index: pixels of this number do not count, nor does the class of this number.
        name: its column in the history; "dice" unless given.

    Raises:
        UsageError: another average, or torchmetrics is not installed.
    """
    return class_counts(name or _named("dice", average), f_of(1.0), average, ignore_index=ignore_index, takes=MASKS)


def iou(*, average: str = "macro", ignore_index: int | None = None, name: str | None = None) -> LazyMetric:
    """Intersection over union of a class, its pixels counted over the whole set; arguments as for `dice`."""
    return class_counts(name or _named("iou", average), jaccard_of, average, ignore_index=ignore_index, takes=MASKS)


def foreground_accuracy(*, background: int = 0, ignore_index: int | None = None, name: str | None = None) -> LazyMetric:
    """Share of the pixels that are not background whose class is right.

    Args:
        background: class whose pixels do not count.
        ignore_index: another number whose pixels do not count (void).
        name: its column in the history; "foreground_accuracy" unless given.

    Raises:
        UsageError: torchmetrics is not installed.
    """

    def prepare(preds: Tensor, targets: Tensor) -> Prepared:
        answers, wanted, n_outputs = class_answers(preds, targets, ignore_index=ignore_index)
        keep = wanted != background
        return answers[keep], wanted[keep], n_outputs

    def build(n_outputs: int) -> Any:
        kinds = import_torchmetrics("foreground_accuracy").classification
        return kinds.MulticlassAccuracy(max(n_outputs, 2), average="micro", validate_args=False)

    return LazyMetric(name or "foreground_accuracy", prepare, build, takes=MASKS)


def _named(name: str, average: str) -> str:
    return name if average == "macro" else f"{name}_{average}"
