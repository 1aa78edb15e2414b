"""Precision, recall and F1 from counts, as tables; 0 / 0 is nan and is left out of means."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from learnkit.metrics.counts import f_of, precision_of, recall_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RATES", "class_report", "mean_of", "most_frequent_pairs", "rates"]

RATES = ("precision", "recall", "f1-score")


def rates(tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
    """Precision, recall and F1, float64 (M, 3), of M classes or items; nan for 0 / 0.

    Args:
        tp: (M,), true positives.
        fp: (M,), false positives.
        fn: (M,), false negatives.
    """
    parts = [formula(tp.double(), fp.double(), fn.double()) for formula in (precision_of, recall_of, f_of(1))]
    return torch.stack([top / bottom for top, bottom in parts], dim=1)  # 0 / 0 is nan


def mean_of(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted means (3,) of the rows of (M, 3), each over the values that are not nan; nan without any.

    If only rows of weight 0 are left, it is their mean, as in scikit-learn.
    """
    known = ~values.isnan()
    each = (known if weights is None else known * weights[:, None]).double()
    each = torch.where(each.sum(0) > 0, each, known)
    return (values.nan_to_num(0) * each).sum(0) / each.sum(0)


def class_report(tp: Tensor, fp: Tensor, fn: Tensor, classes: Sequence[str], over_all: str) -> "pd.DataFrame":
    """One row per class, then three over all; columns precision, recall, f1-score, support (items of the class).

    Args:
        tp: (C,), true positives of each class.
        fp: (C,), false positives.
        fn: (C,), false negatives.
        classes: C names.
        over_all: the name of the row of all counts together; "macro avg" and "weighted avg" come after it.
    """
    import pandas as pd

    support = (tp + fn).long()
    of_class = rates(tp, fp, fn)
    together = rates(*(part.sum().view(1) for part in (tp, fp, fn)))[0]
    rows = torch.stack([*of_class, together, mean_of(of_class), mean_of(of_class, support)])
    table = pd.DataFrame(rows.numpy(), [*classes, over_all, "macro avg", "weighted avg"], list(RATES))
    table["support"] = [*support.tolist(), *[int(support.sum())] * 3]
    return table


def most_frequent_pairs(counts: Tensor, classes: Sequence[str], min_val: int) -> list[tuple[str, str, int]]:
    """(row's class, column's class, count) of the counts (C, C) from `min_val` on, and not 0, largest first."""
    found = [(row, column, int(counts[row, column])) for row, column in (counts >= max(1, min_val)).nonzero().tolist()]
    found.sort(key=lambda pair: -pair[2])  # stable: ties stay in the order of the classes
    return [(classes[row], classes[column], times) for row, column, times in found]
