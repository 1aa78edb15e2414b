"""Weights that make rare classes count as much as frequent ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learnkit.errors import UsageError, warn

__all__ = ["balanced_pos_weights", "balanced_weights", "weights_of_counts"]


def balanced_weights(targets: Tensor | Sequence[int], n_classes: int) -> Tensor:
    """Class weights, inverse to how often the classes occur: n / (classes that occur * items of the class).

    Like scikit-learn's "balanced" (King and Zeng, Logistic regression in rare events data, 2001). The weighted
    items of every class add up to the same, and all of them to the number of items.

    Args:
        targets: class indices of the training set, any shape: (N,) of images, (N, H, W) of pixels.
        n_classes: how many classes there are.

    Returns:
        float32 (n_classes,), on the CPU, for `CrossEntropyLoss(weight=...)` or `FocalLoss(alpha=...)`. A class
        without items has weight 0, with a warning.

    Raises:
        UsageError: no targets, or targets that are not class indices.

    >>> balanced_weights([0, 0, 0, 1], 2).tolist()
    [0.6666666865348816, 2.0]
    """
    numbers = torch.as_tensor(targets).cpu()
    expected = f"class indices from 0 to {n_classes - 1}"
    if numbers.numel() == 0:
        raise UsageError("targets: the shape", got=tuple(numbers.shape), expected="at least one target")
    if numbers.is_floating_point() or numbers.is_complex():
        raise UsageError("targets", got=numbers.dtype, expected=expected)
    lowest, highest = int(numbers.min()), int(numbers.max())
    if lowest < 0 or highest >= n_classes:
        raise UsageError("targets: the lowest and the highest", got=(lowest, highest), expected=expected)
    counts = torch.bincount(numbers.flatten().long(), minlength=n_classes).double()
    _warn_of(counts == 0, "classes {} have no items; their weight is 0")
    return weights_of_counts(counts)


def weights_of_counts(counts: Tensor) -> Tensor:
    """The weights of `balanced_weights` from how often each class occurs, (n_classes,), at least one of them.

    >>> weights_of_counts(torch.tensor([3, 1])).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = counts.cpu().double()
    weights = counts.sum() / (counts.count_nonzero() * counts)
    return weights.where(counts > 0, 0).float()


def balanced_pos_weights(targets: Tensor) -> Tensor:
    """Negatives over positives of each label, so that both weigh the same.

    Args:
        targets: 0 or 1, (N, C), of the training set.

    Returns:
        float32 (C,), on the CPU, for `BCEWithLogitsLoss(pos_weight=...)`. A label that is never 1 has weight 1 (there
        is nothing to weight); one that is always 1 has weight 0. Both with a warning.

    Raises:
        UsageError: targets of the wrong shape, without items, or with other values.

    >>> balanced_pos_weights(torch.tensor([[1, 0], [0, 1], [0, 1]])).tolist()
    [2.0, 0.5]
    """
    labels = torch.as_tensor(targets).cpu()
    if labels.ndim != 2 or len(labels) == 0:
        raise UsageError("targets: the shape", got=tuple(labels.shape), expected="(N, C), N at least 1")
    others = labels[(labels != 0) & (labels != 1)]
    if len(others):
        fix = "For class indices use balanced_weights."
        raise UsageError("targets", got=others[0].item(), expected="only 0 and 1", fix=fix)
    positives = labels.double().sum(0)
    negatives = len(labels) - positives
    _warn_of(positives == 0, "labels {} are never 1; their pos_weight is 1")
    _warn_of(negatives == 0, "labels {} are always 1; their pos_weight is 0")
    return (negatives / positives).where(positives > 0, 1).float()


def _warn_of(odd: Tensor, text: str) -> None:
    if odd.any():
        warn(text.format(odd.nonzero().flatten().tolist()))
