"""Label issues: items whose label is probably wrong, by confident learning."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.interpretation.naming import named_items

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["label_issues_table", "rank_label_issues"]


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
    probs, targets = probs.detach().cpu().double(), targets.cpu().long()
    wrong = targets[(targets < 0) | (targets >= c)]
    if len(wrong):
        raise UsageError("targets", got=int(wrong[0]), expected=f"class indices from 0 to {c - 1}")
    labels = targets[:, None]
    own = probs.gather(1, labels)[:, 0]
    scores = probs.scatter(1, labels, -torch.inf).amax(1) - own
    sums = torch.zeros(c, dtype=torch.float64).index_add_(0, targets, own)
    thresholds = sums / torch.bincount(targets, minlength=c)  # nan for a class without items: never suggested
    confident = probs.where(probs >= thresholds, -torch.inf)
    best, suggestions = confident.max(1)
    return scores, torch.where(best > -torch.inf, suggestions, targets)


def label_issues_table(
    probs: Tensor, targets: Tensor, classes: Sequence[str], name: Callable[[int], str] | None = None
) -> "pd.DataFrame":
    """All items, the most suspicious first: item (its index), path, label, suggestion, score.

    Args:
        probs, targets: as for `rank_label_issues`, of items the model was not trained on.
        classes: C names.
        name: returns the name of item i; None for its index.
    """
    import pandas as pd

    scores, suggestions = rank_label_issues(probs, targets)
    order = scores.argsort(descending=True, stable=True).tolist()
    return pd.DataFrame(
        {
            "item": order,
            "path": named_items(order, name),
            "label": [classes[int(targets[i])] for i in order],
            "suggestion": [classes[int(suggestions[i])] for i in order],
            "score": scores[order].numpy(),
        },
    )
