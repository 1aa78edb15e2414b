"""Label issues: items whose label is probably wrong, by confident learning."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.interpretation.naming import named_items

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["class_indices", "count_label_issues", "label_issues_table", "rank_label_issues"]


def rank_label_issues(probs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How suspicious the label of each item is, after confident learning (Northcutt, Jiang, Chuang 2021).

    The score is the normalized margin: by how much the best of the other classes beats the label. Another class is
    suggested if the model is confident of it: its probability is at least its mean over the items that
    have its label. So a class the model is never confident of does not lose its items to the others.

    The probabilities must be those of a model that was not trained on these items: of the validation set, or of folds
    combined. A model that has memorized its labels repeats them, the wrong ones included.

    Args:
        probs: (N, C), rows sum to 1.
        targets: (N,), the labels as class indices.

    Returns:
        (scores, suggestions): float64 (N,) in [-1, 1], the higher the more suspicious; int64 (N,), the most probable of
        the classes the model is confident of, or the label itself without one.

    Raises:
        UsageError: shapes or targets that do not fit each other, or fewer than two classes.

    >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.9, 0.1]])
    >>> scores, suggestions = rank_label_issues(probs, torch.tensor([0, 0, 1, 1]))
    >>> scores.argmax().item(), suggestions.tolist()
    (3, [0, 0, 1, 0])
    """
    n, c = len(targets), probs.shape[-1]
    if probs.shape != (n, c) or targets.ndim != 1 or c < 2:
        expected = "(N, C) and targets (N,), with at least two classes"
        raise UsageError("probs: the shapes", got=(tuple(probs.shape), tuple(targets.shape)), expected=expected)
    probs, targets = probs.detach().cpu().double(), class_indices(targets, c)
    labels = targets[:, None]
    own = probs.gather(1, labels)[:, 0]
    scores = probs.scatter(1, labels, -torch.inf).amax(1) - own
    confident, suggestions = _confident(probs, targets)
    return scores, torch.where(confident, suggestions, targets)


def class_indices(targets: Tensor, n_classes: int) -> Tensor:
    """The targets as int64 (N,), on the CPU.

    Raises:
        UsageError: anything but class indices from 0 to n_classes - 1.
    """
    expected = f"class indices from 0 to {n_classes - 1}"
    if targets.ndim != 1 or targets.is_floating_point():
        raise UsageError("targets", got=f"{targets.dtype} {tuple(targets.shape)}", expected=f"{expected}, (N,)")
    targets = targets.detach().cpu().long()
    if len(wrong := targets[(targets < 0) | (targets >= n_classes)]):
        raise UsageError("targets", got=int(wrong[0]), expected=expected)
    return targets


def _confident(probs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the model is confident of any class of an item, bool (N,), and of which most, int64 (N,)."""
    probs, c = probs.detach().cpu().double(), probs.shape[1]
    own = probs.gather(1, targets[:, None])[:, 0]
    sums = torch.zeros(c, dtype=torch.float64).index_add_(0, targets, own)
    thresholds = sums / torch.bincount(targets, minlength=c)  # nan for a class without items: never suggested
    best, classes = probs.where(probs >= thresholds, -torch.inf).max(1)
    return best > -torch.inf, classes


def count_label_issues(probs: Tensor, targets: Tensor) -> int:
    """How many labels are probably wrong: the confident joint of given and true labels, off its diagonal.

    The confident joint counts, for each label, the items that the model is confident belong to each class (Northcutt,
    Jiang, Chuang 2021, section 3.1). Items that it is not confident of at all are not counted, so this is rather too
    low than too high; the paper's scaling to all items (equation 3) counted up to twice as many as were planted in
    photos, see docs/performance.md.

    Args:
        probs, targets: as for `rank_label_issues`.

    >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.9, 0.1]])
    >>> count_label_issues(probs, torch.tensor([0, 0, 1, 1]))
    1
    """
    targets = targets.cpu().long()
    if not len(targets):
        return 0
    confident, suggestions = _confident(probs, targets)
    return int((confident & (suggestions != targets)).sum())


def label_issues_table(
    probs: Tensor, targets: Tensor, classes: Sequence[str], name: Callable[[int], str] | None = None
) -> "pd.DataFrame":
    """All items, the most suspicious first: item (its index), path, label, suggestion, score, is_issue.

    The first `count_label_issues` of them, those that are probably wrong, have True in `is_issue`.

    Args:
        probs, targets: as for `rank_label_issues`, of items the model was not trained on.
        classes: C names.
        name: returns the name of item i; None for its index.
    """
    import pandas as pd

    scores, suggestions = rank_label_issues(probs, targets)
    n_issues = count_label_issues(probs, targets)
    order = scores.argsort(descending=True, stable=True).tolist()
    return pd.DataFrame(
        {
            "item": order,
            "path": named_items(order, name),
            "label": [classes[int(targets[i])] for i in order],
            "suggestion": [classes[int(suggestions[i])] for i in order],
            "score": scores[order].numpy(),
            "is_issue": [place < n_issues for place in range(len(order))],
        },
    )
