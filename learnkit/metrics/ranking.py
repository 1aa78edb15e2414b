"""Metrics of how well probabilities put the items of a class before the others: exact, from all that was gathered."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from learnkit.metrics.lazy import CLASSES, LABELS, LazyMetric, Prepared, check_average, import_torchmetrics
from learnkit.metrics.shapes import class_probabilities, label_probabilities

__all__ = ["class_ranking", "label_ranking"]


def class_ranking(name: str, kind: str, average: str) -> LazyMetric:
    """The area of this kind ("AUROC", "AveragePrecision") for one class an item, each against the others."""
    check_average(average, ("macro", "weighted"))
    build = partial(_build, name, kind, "Multiclass")
    return LazyMetric(name, class_probabilities, build, partial(_mean, kind, average), takes=CLASSES)


def label_ranking(name: str, kind: str, average: str) -> LazyMetric:
    """The area of this kind for any number of labels an item; "micro" ranks the answers to all labels together."""
    check_average(average, ("macro", "weighted", "micro"))
    prepare = partial(_label_inputs, together=average == "micro")
    build = partial(_build, name, kind, "Multilabel")
    return LazyMetric(name, prepare, build, partial(_mean, kind, average), takes=LABELS)


def _label_inputs(preds: Tensor, targets: Tensor, *, together: bool) -> Prepared:
    probs, wanted, n_labels = label_probabilities(preds, targets)
    return (probs.flatten(), wanted.flatten(), 1) if together or n_labels == 1 else (probs, wanted, n_labels)


def _build(name: str, kind: str, several: str, n_outputs: int) -> Any:
    """Areas of each class, and beside them the counts that say which classes are there."""
    torchmetrics = import_torchmetrics(name)
    kinds, task = torchmetrics.classification, "Binary" if n_outputs == 1 else several
    settings: dict[str, Any] = {"validate_args": False}
    if n_outputs > 1:
        settings |= {"num_classes" if several == "Multiclass" else "num_labels": n_outputs, "average": None}
    area = getattr(kinds, f"{task}{kind}")(**settings)
    counts = getattr(kinds, f"{task}StatScores")(**settings)
    return torchmetrics.MetricCollection({"area": area, "counts": counts}, compute_groups=False)


def _mean(kind: str, average: str, values: dict[str, Tensor]) -> float:
    """Mean over the classes an area is defined for, nan when there is none."""
    areas = values["area"].cpu().double().reshape(-1)
    _, wrong, passed, _, support = values["counts"].cpu().double().reshape(-1, 5).unbind(dim=1)
    defined = support > 0
    if kind == "AUROC":
        defined &= wrong + passed > 0  # items of other classes
    if not defined.any():
        return float("nan")
    weights = support[defined] if average == "weighted" else torch.ones_like(support[defined])
    return float((weights * areas[defined]).sum() / weights.sum())
