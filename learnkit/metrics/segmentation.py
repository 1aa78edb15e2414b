"""Metrics of masks over all pixels of the set, made by name or with settings.

All take raw outputs (N, C, ...) and masks of class indices, (N, ...), or one output per pixel for yes/no.
"""

from torch import Tensor

from learnkit.checks import check_int
from learnkit.metrics.accumulate import Sums, mean, total_and_count
from learnkit.metrics.accumulated import MASKS, AccumulatedMetric, Batch
from learnkit.metrics.counts import averaged_name, class_counts, f_of, jaccard_of
from learnkit.metrics.shapes import check_classes, check_ignored, class_rows

__all__ = ["dice", "foreground_accuracy", "iou"]


def dice(
    *, average: str | None = "macro", ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Twice the right pixels of a class by its predicted plus its actual pixels, counted over the whole set.

    Args:
        average: "macro", the mean over classes (the background is one), leaving out those without pixels and
            predictions; "weighted" by the pixels of each class; "micro", all together; "binary", class 1 of two; None,
            one number and one column per class, nan without either.
        ignore_index: pixels of this number do not count, nor does the class of this number.
        name: its column in the history; "dice" unless given.

    Raises:
        UsageError: another average.
    """
    return class_counts(
        name or averaged_name("dice", average), f_of(1.0), average, ignore_index=ignore_index, takes=MASKS
    )


def iou(
    *, average: str | None = "macro", ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Intersection over union of a class, its pixels counted over the whole set; arguments as for `dice`."""
    return class_counts(
        name or averaged_name("iou", average), jaccard_of, average, ignore_index=ignore_index, takes=MASKS
    )


def foreground_accuracy(
    *, background: int = 0, ignore_index: int | None = None, name: str | None = None
) -> AccumulatedMetric:
    """Share of the pixels other than background whose class is right.

    Args:
        background: class whose pixels do not count.
        ignore_index: another number whose pixels do not count (void).
        name: its column in the history; "foreground_accuracy" unless given.
    """

    check_int("background", background)
    check_ignored(ignore_index)

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        made = class_rows(preds, targets, ignore_index=ignore_index)
        counted = made.counted & (made.actual != background)
        return Batch(total_and_count(made.predicted == made.actual, counted), made.n_outputs, made.checked)

    return AccumulatedMetric(name or "foreground_accuracy", prepare, Sums(), mean, takes=MASKS, check=check_classes)
