"""Metrics of numbers, made by name: outputs and targets of the same shape, (N,), (N, 1) or (N, K).

Of several numbers an item, r2, explained_variance, pearson and spearman are the mean over the K.
"""

from typing import Any

import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.metrics.lazy import NUMBERS, LazyMetric, Prepared, import_torchmetrics
from learnkit.metrics.shapes import number_rows

__all__ = ["explained_variance", "msle", "pearson", "r2", "spearman"]


def msle(*, name: str | None = None) -> LazyMetric:
    """Mean of the squared differences of log(1 + number), over all elements; nan if a prediction is -1 or less.

    Raises:
        UsageError: torchmetrics is not installed; at a batch, a target of -1 or less.
    """

    def prepare(preds: Tensor, targets: Tensor) -> Prepared:
        preds, targets, n_outputs = number_rows(preds, targets)
        least = targets.min().item()
        if least <= -1:
            raise UsageError("targets", got=least, expected="numbers above -1, for their logarithm")
        return preds.where(preds > -1, torch.nan), targets, n_outputs

    def build(n_outputs: int) -> Any:
        return import_torchmetrics("msle").regression.MeanSquaredLogError()

    return LazyMetric(name or "msle", prepare, build, takes=NUMBERS, higher_is_better=False)


def r2(*, name: str | None = None) -> LazyMetric:
    """Coefficient of determination, 1 - squared errors by squared deviations of the targets; nan for a single item."""
    return LazyMetric(name or "r2", number_rows, lambda n_outputs: _Determination(), _mean, takes=NUMBERS)


def explained_variance(*, name: str | None = None) -> LazyMetric:
    """1 - variance of the errors by variance of the targets: `r2` without the error they have in common."""

    def build(n_outputs: int) -> Any:
        return import_torchmetrics("explained_variance").regression.ExplainedVariance(multioutput="raw_values")

    return LazyMetric(name or "explained_variance", number_rows, build, _mean, takes=NUMBERS)


def pearson(*, name: str | None = None) -> LazyMetric:
    """Pearson's correlation of outputs and targets; nan where one of them is constant."""

    def build(n_outputs: int) -> Any:
        return import_torchmetrics("pearson").regression.PearsonCorrCoef(n_outputs)

    return LazyMetric(name or "pearson", number_rows, build, _mean, takes=NUMBERS)


def spearman(*, name: str | None = None) -> LazyMetric:
    """Pearson's correlation of the ranks of outputs and targets; 0 where one of them is constant.

    Every number is kept until the end.
    """

    def build(n_outputs: int) -> Any:
        return import_torchmetrics("spearman").regression.SpearmanCorrCoef(n_outputs)

    return LazyMetric(name or "spearman", number_rows, build, _mean, takes=NUMBERS)


class _Determination:
    """Sums for r2; torchmetrics' own takes targets that differ by less than about 0.01 for constant."""

    def __init__(self) -> None:
        self._n = 0
        self._sums: Tensor | None = None  # squared errors, targets and squared targets less the origin, (3, K)
        self._origin = torch.zeros(())

    def to(self, device: torch.device) -> "_Determination":
        return self

    def set_dtype(self, dtype: torch.dtype) -> "_Determination":
        return self

    def update(self, preds: Tensor, targets: Tensor) -> None:
        if self._sums is None:
            self._origin = targets[0]  # far from 0, squares would lose the deviations
        moved = targets - self._origin
        sums = torch.stack([part.sum(dim=0) for part in ((targets - preds) ** 2, moved, moved**2)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._n += len(targets)

    def compute(self) -> Tensor:
        assert self._sums is not None  # LazyMetric computes after an update only
        errors, total, squares = self._sums
        deviations = squares - total**2 / self._n
        if self._n < 2:
            return torch.full_like(errors, torch.nan)
        exact = (errors == 0).to(errors.dtype)  # constant targets: 1 when all are met, else 0
        return torch.where(deviations > 0, 1 - errors / deviations, exact)


def _mean(values: Tensor) -> float:
    return float(values.mean())
