"""Class weights: the loss of a task with a weight per class."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.checks import nearest
from learnkit.data.bunch import DataBunch
from learnkit.data.classes import label_text
from learnkit.data.loading.loaders import ImageLoader, TensorLoader
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel
from learnkit.errors import UsageError, warn
from learnkit.losses.settings import are_weights
from learnkit.losses.weights import balanced_pos_weights, balanced_weights, weights_of_counts
from learnkit.text import shortened

__all__ = ["ClassWeights", "weighted_loss"]

ClassWeights = str | Sequence[float] | Mapping[str, float] | Tensor

EXPECTED = "one number per class, or {class: number}"


def weighted_loss(dls: DataBunch, class_weights: ClassWeights) -> nn.Module:
    """The loss of the data's task with a weight per class.

    Args:
        dls: data with one class or several labels per item, or with masks.
        class_weights: "balanced" for weights inverse to the frequency of each class in the training set (for several
            labels, negatives over positives; of masks, that of pixels, for which the training set is read once); one
            number per class, in the order of the classes; or {class: number}, which names every class.

    Raises:
        UsageError: another task, not one weight per class, a negative or infinite one, or only zeros.
    """
    task = dls.task
    if not isinstance(task, Classification | MultiLabel | Segmentation):
        raise UsageError(
            "class_weights: the task of the data", got=type(task).__name__,
            expected="Classification, MultiLabel or Segmentation", fix="Pass a loss_func= with weights.",
        )  # fmt: skip
    if isinstance(class_weights, str) and class_weights != "balanced":
        raise UsageError("class_weights", got=class_weights, expected=f"'balanced', or {EXPECTED}")
    weights = _balanced(dls, task) if isinstance(class_weights, str) else _as_given(class_weights, task)
    if isinstance(task, MultiLabel):
        return nn.BCEWithLogitsLoss(pos_weight=weights)
    if isinstance(task, Classification):
        return nn.CrossEntropyLoss(weight=weights)
    loss = task.loss()
    if not task.binary:
        loss.weight = weights
        return loss
    if not weights[0]:
        raise UsageError("class_weights", got=weights.tolist(), expected="above 0 for the first of two classes")
    loss.pos_weight = weights[1] / weights[0]
    return loss


def _balanced(dls: DataBunch, task: Classification | MultiLabel | Segmentation) -> Tensor:
    """Weights by how often the classes occur in the training set."""
    counted = _count_pixels(dls, task) if isinstance(task, Segmentation) else _training_targets(dls)
    if getattr(getattr(dls.train_dl, "order", None), "sampling", None) is not None:
        warn("class_weights='balanced' together with a sampler: rare classes are weighted twice")
    if isinstance(task, Segmentation):
        return weights_of_counts(counted)
    return balanced_pos_weights(counted) if isinstance(task, MultiLabel) else balanced_weights(counted, task.n_out)


def _count_pixels(dls: DataBunch, task: Segmentation) -> Tensor:
    """How many pixels of the training masks, as the model sees them and not augmented, each class has."""
    loader: Any = dls.fix_dl
    has_masks = isinstance(loader, TensorLoader) or (isinstance(loader, ImageLoader) and loader.dataset.masks)
    if not has_masks:
        raise _unknown_targets()
    counts, ignored = torch.zeros(len(task.classes), dtype=torch.int64), -1 if task.ignored is None else task.ignored
    for _, targets in loader:
        classes = task.indices(targets)
        counts += torch.bincount(classes[classes != ignored], minlength=len(counts)).cpu()
    if not counts.any():
        raise UsageError(
            "class_weights='balanced': no pixel of the training masks counts", fix="Look at ignore_index=."
        )
    missing = [name for number, name in enumerate(task.classes) if not counts[number] and number != ignored]
    if missing:
        warn(f"class_weights='balanced': no pixel of the training masks is of {shortened(missing)}, the weight is 0")
    return counts


def _as_given(class_weights: Any, task: Classification | MultiLabel | Segmentation) -> Tensor:
    """The weights of the classes in their order."""
    numbers = _in_order(class_weights, task.classes) if isinstance(class_weights, Mapping) else class_weights
    try:
        weights = torch.as_tensor(numbers, dtype=torch.float32)
    except (OverflowError, TypeError, ValueError, RuntimeError):  # not numbers, or lists of different lengths
        weights = torch.empty(0)
    if weights.shape != (len(task.classes),) or not are_weights(weights):
        expected = f"{len(task.classes)} numbers of 0 or more, one per class, not all of them 0"
        raise UsageError("class_weights", got=class_weights, expected=expected)
    return weights


def _in_order(by_name: Mapping[Any, Any], classes: Sequence[str]) -> list[Any]:
    """The weights of a mapping in the order of the classes."""
    by_name = {label_text(name): weight for name, weight in by_name.items()}
    for name in by_name:
        if name not in classes:
            raise UsageError("class_weights", got=name, expected=f"the name of a class: {nearest(name, classes)}")
    missing = [name for name in classes if name not in by_name]
    if missing:
        raise UsageError(f"class_weights: without {shortened(missing)}", got=by_name, expected="every class")
    return [by_name[name] for name in classes]


def _training_targets(dls: DataBunch) -> Tensor:
    loader: Any = dls.fix_dl
    if isinstance(loader, TensorLoader) and len(loader.tensors) > 1:
        return loader.tensors[1]
    if isinstance(loader, ImageLoader) and isinstance(loader.dataset.targets, Tensor):
        return loader.dataset.targets
    raise _unknown_targets()


def _unknown_targets() -> UsageError:
    return UsageError(
        "class_weights='balanced': the targets of a custom loader, or of a stream, are unknown",
        fix="Pass one number per class.",
    )
