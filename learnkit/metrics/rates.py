"""Precision, recall and F1 from counts, as tables; what is 0 of 0 is nan and is left out of means."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from learnkit.metrics.counts import f_of, precision_of, recall_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RATES", "class_report", "mean_of", "most_frequent_pairs", "rates"]

RATES = ("precision", "recall", "f1-score")


def rates(right: Tensor, wrong: Tensor, missed: Tensor) -> Tensor:
    """Precision, recall and F1, float64 (M, 3), of M classes or items; nan where there is nothing to divide by.

    Args:
        right: (M,), answers that are right.
        wrong: (M,), answers that are wrong.
        missed: (M,), what should have been answered and was not.
    """
    parts = [formula(right.double(), wrong.double(), missed.double()) for formula in (precision_of, recall_of, f_of(1))]
    return torch.stack([top / bottom for top, bottom in parts], dim=1)  # 0 / 0 is nan


def mean_of(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted means (3,) of the rows of (M, 3), each over what is not nan; nan where nothing is left.

    Where only rows of weight 0 are left, it is their mean, as with scikit-learn.
    """
    known = ~values.isnan()
    each = (known if weights is None else known * weights[:, None]).double()
    each = torch.where(each.sum(0) > 0, each, known)
    return (values.nan_to_num(0) * each).sum(0) / each.sum(0)


def class_report(right: Tensor, wrong: Tensor, missed: Tensor, classes: Sequence[str], over_all: str) -> "pd.DataFrame":
    """A row a class, then three over all classes; columns precision, recall, f1-score, support (items of the class).

    Args:
        right: (C,), answers of this class that are right.
        wrong: (C,), answers of this class that are wrong.
        missed: (C,), items of this class that are not answered.
        classes: C names.
        over_all: the name of the row of all counts together; "macro avg" and "weighted avg" come after it.
    """
    import pandas as pd

    support = (right + missed).long()
    of_class = rates(right, wrong, missed)
    together = rates(*(part.sum().view(1) for part in (right, wrong, missed)))[0]
    rows = torch.stack([*of_class, together, mean_of(of_class), mean_of(of_class, support)])
    table = pd.DataFrame(rows.numpy(), [*classes, over_all, "macro avg", "weighted avg"], list(RATES))
    table["support"] = [*support.tolist(), *[int(support.sum())] * 3]
    return table


def most_frequent_pairs(counts: Tensor, classes: Sequence[str], min_val: int) -> list[tuple[str, str, int]]:
    """(row's class, column's class, times) of the counts (C, C) that are `min_val` or more, and not 0, most first."""
    found = [(row, column, int(counts[row, column])) for row, column in (counts >= max(1, min_val)).nonzero().tolist()]
    found.sort(key=lambda pair: -pair[2])  # stable: ties stay in the order of the classes
    return [(classes[row], classes[column], times) for row, column, times in found]
