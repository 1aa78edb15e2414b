"""Class weights: the loss of a task in which rare classes count more."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.data.bunch import DataBunch
from learnkit.data.loading.loaders import ImageLoader, TensorLoader
from learnkit.data.tasks import Classification, MultiLabel
from learnkit.errors import UsageError, warn
from learnkit.losses.weights import balanced_pos_weights, balanced_weights
from learnkit.types import Loss

__all__ = ["ClassWeights", "chosen_loss", "weighted_loss"]

ClassWeights = str | Sequence[float] | Tensor


def chosen_loss(dls: DataBunch, loss_func: Loss | None, class_weights: ClassWeights | None) -> Loss:
    """The loss of the user's, or that of the data's task.

    Raises:
        UsageError: a loss that is none, none for data without a task, or class weights beside one of the user's.
    """
    if loss_func is None:
        if dls.task is None:
            raise UsageError("the data does not say which loss fits it", fix="Pass loss_func=.")
        return dls.task.loss() if class_weights is None else weighted_loss(dls, class_weights)
    if class_weights is not None:
        raise UsageError("class_weights", got=class_weights, expected="None beside a loss_func of your own")
    if isinstance(loss_func, type) or not callable(loss_func):
        expected = "a function or a module of (outputs, targets), such as nn.CrossEntropyLoss()"
        raise UsageError("loss_func", got=loss_func, expected=expected)
    return loss_func


def weighted_loss(dls: DataBunch, class_weights: ClassWeights) -> nn.Module:
    """The loss of the data's task with a weight for each class.

    Args:
        dls: data with one class an item, or several labels.
        class_weights: "balanced" for weights inverse to how often each class occurs in the training set (for several
            labels, negatives over positives), or one number a class.

    Raises:
        UsageError: another task, or not one weight a class.
    """
    task = dls.task
    if not isinstance(task, Classification | MultiLabel):
        raise UsageError(
            f"class_weights: this data is of task {type(task).__name__}", expected="Classification or MultiLabel",
            fix="Pass loss_func= with weights of your own.",
        )  # fmt: skip
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise UsageError("class_weights", got=class_weights, expected="'balanced', or one number a class")
        if getattr(getattr(dls.train_dl, "order", None), "sampling", None) is not None:
            warn("class_weights='balanced' beside a sampler of the data: rare classes count twice over")
        targets = _training_targets(dls)
        if isinstance(task, MultiLabel):
            return nn.BCEWithLogitsLoss(pos_weight=balanced_pos_weights(targets))
        return nn.CrossEntropyLoss(weight=balanced_weights(targets, task.n_out))
    weights = torch.as_tensor(class_weights, dtype=torch.float32)
    if weights.shape != (task.n_out,) or not bool((weights >= 0).all()) or not bool(weights.isfinite().all()):
        raise UsageError("class_weights", got=class_weights, expected=f"{task.n_out} numbers of 0 or more, one a class")
    if isinstance(task, MultiLabel):
        return nn.BCEWithLogitsLoss(pos_weight=weights)
    return nn.CrossEntropyLoss(weight=weights)


def _training_targets(dls: DataBunch) -> Tensor:
    loader: Any = dls.fix_dl
    if isinstance(loader, TensorLoader) and len(loader.tensors) > 1:
        return loader.tensors[1]
    if isinstance(loader, ImageLoader) and loader.dataset.targets is not None:
        return loader.dataset.targets
    raise UsageError(
        "class_weights='balanced': the targets of a loader of your own are not known", fix="Pass one number a class."
    )
