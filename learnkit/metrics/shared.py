"""Metrics of a set whose batches are shared out over several processes."""

from typing import Any

from torch import Tensor

from learnkit.distributed.exchange import gathered_rows
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.metrics.accumulated import AccumulatedMetric
from learnkit.metrics.metric import Metric, results
from learnkit.metrics.wrapped import ObjectMetric
from learnkit.tree import map_tensors

__all__ = ["observe", "results_of_all"]


def observe(metric: Metric, preds: Any, targets: Any, n: int) -> None:
    """Add this process's share of a batch to a metric.

    Metrics of learnkit are merged at the end of the set. A function or an object of a user is given the whole batch in
    every process, as the average over shares may be another number.

    Args:
        metric: accumulates the batches.
        preds: outputs of this process's items.
        targets: their targets.
        n: how many of these items count, 0 if none.

    Raises:
        UsageError: a function or an object of structures that are not one row per item.
    """
    if world.size == 1:
        metric.update(preds, targets)
    elif isinstance(metric, AccumulatedMetric):
        if n:
            metric.update(preds, targets)
    else:
        if isinstance(metric, ObjectMetric):
            metric.sees_all()
        metric.update(*(map_tensors(lambda rows: _of_all(metric, rows, n), tree) for tree in (preds, targets)))


def _of_all(metric: Metric, rows: Tensor, n: int) -> Tensor:
    if not rows.ndim or len(rows) != max(n, 1):
        raise UsageError(
            f"metric {metric.name}: a tensor {tuple(rows.shape)} for {n} items", expected="one row per item",
            fix="In several processes, batches are put together row by row: train in one, or measure it afterwards.",
        )  # fmt: skip
    return gathered_rows(rows, n)


def results_of_all(metric: Metric) -> dict[str, float]:
    """The numbers of a metric by column, over the batches of all processes; every process must call it."""
    return results(metric.of_all() if isinstance(metric, AccumulatedMetric) else metric)
