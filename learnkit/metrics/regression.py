"""Metrics of numbers, made by name: outputs and targets of the same shape, (N,), (N, 1) or (N, K).

With several numbers per item, r2, explained_variance, pearson and spearman are the mean over the K.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.metrics.accumulate import Kept, Moments, Sums, mean, precise, total_and_count
from learnkit.metrics.accumulated import NUMBERS, AccumulatedMetric, Batch
from learnkit.metrics.shapes import number_rows

__all__ = ["explained_variance", "msle", "pearson", "r2", "spearman"]

PREDS, TARGETS, ERRORS = range(3)  # the variables whose moments are gathered


def msle(*, name: str | None = None) -> AccumulatedMetric:
    """Mean of the squared differences of log(1 + number), over all elements; nan if a prediction is -1 or less.

    `name` is its column in the history.

    Raises:
        UsageError: at the end, a target of -1 or less.
    """

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        preds, targets = map(precise, number_rows(preds, targets))
        logs = preds.where(preds > -1, torch.nan).log1p()
        return Batch(total_and_count((logs - targets.log1p()).square()), preds.shape[1], targets)

    def check(low: float, high: float, n_outputs: int) -> None:
        if low <= -1:
            raise UsageError("targets", got=low, expected="numbers above -1, for their logarithm")

    return AccumulatedMetric(name or "msle", prepare, Sums(), mean, takes=NUMBERS, higher_is_better=False, check=check)


def r2(*, name: str | None = None) -> AccumulatedMetric:
    """Coefficient of determination, 1 - squared errors by squared deviations of the targets; nan for a single item.

    `name` is its column in the history.
    """

    def of_columns(n: Tensor, means: Tensor, products: Tensor) -> Tensor:
        if n < 2:
            return torch.full_like(means[ERRORS], torch.nan)
        return _explained(products[ERRORS, ERRORS] + n * means[ERRORS] ** 2, products[TARGETS, TARGETS])

    return _of_moments(name or "r2", of_columns)


def explained_variance(*, name: str | None = None) -> AccumulatedMetric:
    """1 - variance of the errors by variance of the targets: `r2` without the mean error.

    `name` is its column in the history.
    """

    def of_columns(n: Tensor, means: Tensor, products: Tensor) -> Tensor:
        return _explained(products[ERRORS, ERRORS], products[TARGETS, TARGETS])

    return _of_moments(name or "explained_variance", of_columns)


def pearson(*, name: str | None = None) -> AccumulatedMetric:
    """Pearson's correlation of outputs and targets; nan if one of them is constant.

    `name` is its column in the history.
    """

    def of_columns(n: Tensor, means: Tensor, products: Tensor) -> Tensor:
        spread = (products[PREDS, PREDS] * products[TARGETS, TARGETS]).sqrt()
        return (products[PREDS, TARGETS] / spread).clamp(-1, 1)  # 0 by 0 is nan

    return _of_moments(name or "pearson", of_columns)


def spearman(*, name: str | None = None) -> AccumulatedMetric:
    """Pearson's correlation of the ranks of outputs and targets; 0 if one of them is constant.

    Every number is kept until the end.
    `name` is its column in the history.
    """

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        preds, targets = number_rows(preds, targets)
        return Batch((preds, targets), preds.shape[1])

    def finish(preds: Tensor, targets: Tensor) -> float:
        if preds.isnan().any() or targets.isnan().any():
            return float("nan")
        moments = Moments()
        moments.update(_ranks(preds), _ranks(targets))
        _, _, products = moments.compute()
        spread = (products[PREDS, PREDS] * products[TARGETS, TARGETS]).sqrt()
        return float((products[PREDS, TARGETS] / spread.where(spread > 0, 1.0)).clamp(-1, 1).mean())

    return AccumulatedMetric(name or "spearman", prepare, Kept(), finish, takes=NUMBERS)


def _of_moments(name: str, of_columns: Callable[[Tensor, Tensor, Tensor], Tensor]) -> AccumulatedMetric:
    """The mean over columns of a function of the moments of outputs, targets and errors."""

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        preds, targets = map(precise, number_rows(preds, targets))
        return Batch((preds, targets, targets - preds), preds.shape[1])

    def finish(n: Tensor, means: Tensor, products: Tensor) -> float:
        return float(of_columns(n, means, products).mean())

    return AccumulatedMetric(name, prepare, Moments(), finish, takes=NUMBERS)


def _explained(errors: Tensor, deviations: Tensor) -> Tensor:
    """1 - errors by deviations; constant targets give 1 when all are met, else 0."""
    met = (errors == 0).to(errors.dtype)
    return torch.where(deviations == 0, met, 1 - errors / deviations)


def _ranks(columns: Tensor) -> Tensor:
    """Ranks, (N, K); equal numbers share their mean rank."""
    ranks = []
    for column in columns.double().numpy().T:
        _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        ranks.append(torch.from_numpy((np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)]))
    return torch.stack(ranks, dim=1)
