"""Class weights: the loss of a task with a weight per class."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.data.bunch import DataBunch
from learnkit.data.loading.loaders import ImageLoader, TensorLoader
from learnkit.data.tasks import Classification, MultiLabel
from learnkit.errors import UsageError, warn
from learnkit.losses.weights import balanced_pos_weights, balanced_weights

__all__ = ["ClassWeights", "weighted_loss"]

ClassWeights = str | Sequence[float] | Tensor


def weighted_loss(dls: DataBunch, class_weights: ClassWeights) -> nn.Module:
    """The loss of the data's task with a weight per class.

    Args:
        dls: data with one class or several labels per item.
        class_weights: "balanced" for weights inverse to the frequency of each class in the training set (for several
            labels, negatives over positives), or one number per class.

    Raises:
        UsageError: another task, or not one weight per class.
    """
    task = dls.task
    if not isinstance(task, Classification | MultiLabel):
        raise UsageError(
            "class_weights: the task of the data", got=type(task).__name__, expected="Classification or MultiLabel",
            fix="Pass a loss_func= with weights.",
        )  # fmt: skip
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise UsageError("class_weights", got=class_weights, expected="'balanced', or one number per class")
        targets = _training_targets(dls)
        if getattr(getattr(dls.train_dl, "order", None), "sampling", None) is not None:
            warn("class_weights='balanced' together with a sampler: rare classes are weighted twice")
        if isinstance(task, MultiLabel):
            return nn.BCEWithLogitsLoss(pos_weight=balanced_pos_weights(targets))
        return nn.CrossEntropyLoss(weight=balanced_weights(targets, task.n_out))
    weights = torch.as_tensor(class_weights, dtype=torch.float32)
    if weights.shape != (task.n_out,) or not bool((weights >= 0).all()) or not bool(weights.isfinite().all()):
        raise UsageError(
            "class_weights", got=class_weights, expected=f"{task.n_out} numbers of 0 or more, one per class"
        )
    if isinstance(task, MultiLabel):
        return nn.BCEWithLogitsLoss(pos_weight=weights)
    return nn.CrossEntropyLoss(weight=weights)


def _training_targets(dls: DataBunch) -> Tensor:
    loader: Any = dls.fix_dl
    if isinstance(loader, TensorLoader) and len(loader.tensors) > 1:
        return loader.tensors[1]
    if isinstance(loader, ImageLoader) and isinstance(loader.dataset.targets, Tensor):
        return loader.dataset.targets
    raise UsageError(
        "class_weights='balanced': the targets of a custom loader, or of a stream, are unknown",
        fix="Pass one number per class.",
    )
