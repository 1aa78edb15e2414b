"""Metrics of any number of labels per item, made by name or with settings.

All take raw outputs (N, C) or (N, C, ...) and targets of the same shape, 0 or 1; the name ends in _multi.
"""

from torch import Tensor

from learnkit.checks import check_choice
from learnkit.metrics.accumulate import Kept, Sums, mean, total_and_count
from learnkit.metrics.accumulated import LABELS, AccumulatedMetric, Batch
from learnkit.metrics.counts import (
    averaged_name,
    f_of,
    jaccard_of,
    label_counts,
    label_predictions,
    precision_of,
    recall_of,
)
from learnkit.metrics.curves import Curve, areas, mean_area, pr_curve, roc_curve
from learnkit.metrics.shapes import check_labels, check_threshold, label_rows

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


def precision_multi(
    *, average: str | None = "macro", threshold: float = 0.5, name: str | None = None
) -> AccumulatedMetric:
    """Share of the predictions of a label that are right.

    Args:
        average: "macro", the mean over labels, leaving out those without items and predictions; "weighted" by the items
            of each label; "micro", all predictions together; "samples", the mean over items, leaving out those without
            a label that are predicted to have none; None, one number and one column per label, nan without either.
        threshold: probability above which an output means yes.
        name: its column in the history; "precision_multi", or for example "precision_multi_micro", unless given.

    Raises:
        UsageError: an unknown average, or a threshold that is not between 0 and 1.
    """
    return label_counts(name or averaged_name("precision_multi", average), precision_of, average, threshold)


def recall_multi(
    *, average: str | None = "macro", threshold: float = 0.5, name: str | None = None
) -> AccumulatedMetric:
    """Share of the items of a label that are found; arguments as for `precision_multi`."""
    return label_counts(name or averaged_name("recall_multi", average), recall_of, average, threshold)


def f_beta_multi(
    beta: float = 1.0, *, average: str | None = "macro", threshold: float = 0.5, name: str | None = None
) -> AccumulatedMetric:
    """Harmonic mean of precision and recall, recall `beta` times as important; others as for `precision_multi`."""
    formula = f_of(beta)
    return label_counts(name or averaged_name(f"f{beta:g}_multi", average), formula, average, threshold)


def f1_multi(*, average: str | None = "macro", threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """`f_beta_multi` for beta 1."""
    return f_beta_multi(1.0, average=average, threshold=threshold, name=name)


def f2_multi(*, average: str | None = "macro", threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """`f_beta_multi` for beta 2."""
    return f_beta_multi(2.0, average=average, threshold=threshold, name=name)


def jaccard_multi(
    *, average: str | None = "macro", threshold: float = 0.5, name: str | None = None
) -> AccumulatedMetric:
    """Right predictions of a label by items that have it or are predicted to; arguments as for `precision_multi`."""
    return label_counts(name or averaged_name("jaccard_multi", average), jaccard_of, average, threshold)


def hamming_multi(*, threshold: float = 0.5, name: str | None = None) -> AccumulatedMetric:
    """Share of single yes/no predictions that are wrong, over all items and labels: 1 - `accuracy_multi`.

    `name` is its column in the history.
    """
    check_threshold(threshold)

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        predicted, actual, checked = label_predictions(preds, targets, threshold)
        return Batch(total_and_count(predicted != actual), predicted.shape[1], checked)

    return AccumulatedMetric(
        name or "hamming_multi", prepare, Sums(), mean, takes=LABELS, higher_is_better=False, check=check_labels
    )


def auroc_multi(*, average: str | None = "macro", name: str | None = None) -> AccumulatedMetric:
    """Area under the ROC curve of each label, exact; every output is kept until the end.

    Args:
        average: "macro", the mean over the labels that some items have and some do not (nan without such labels);
            "weighted" by the items of each label; "micro", the outputs of all labels ranked together; None, one number
            and one column per label.
        name: its column in the history; "auroc_multi" unless given.

    Raises:
        UsageError: another average.
    """
    return _of_curves(name or averaged_name("auroc_multi", average), roc_curve, average)


def average_precision_multi(*, average: str | None = "macro", name: str | None = None) -> AccumulatedMetric:
    """Average precision of each label that some items have, exact; arguments as for `auroc_multi`."""
    return _of_curves(name or averaged_name("average_precision_multi", average), pr_curve, average)


def _of_curves(name: str, curve: Curve, average: str | None) -> AccumulatedMetric:
    check_choice("average", average, ("macro", "weighted", "micro", None))

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        scores, actual, checked = label_rows(preds, targets)
        return Batch((scores, actual), scores.shape[1], checked)

    def finish(scores: Tensor, actual: Tensor) -> float | list[float]:
        if average is None:
            return areas(curve, scores.double().numpy(), actual.numpy())
        shape = (-1, 1) if average == "micro" else scores.shape
        return mean_area(curve, scores.double().reshape(shape).numpy(), actual.reshape(shape).numpy(), average)

    return AccumulatedMetric(
        name, prepare, Kept(), finish, takes=LABELS, check=check_labels, is_per_class=average is None
    )
