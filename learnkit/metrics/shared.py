"""Metrics of a set whose batches are shared out over several processes."""

from typing import Any

from learnkit.distributed.exchange import whole_batch
from learnkit.distributed.world import world
from learnkit.metrics.accumulated import AccumulatedMetric
from learnkit.metrics.metric import Metric, results
from learnkit.metrics.wrapped import ObjectMetric

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
        metric.update(*(whole_batch(f"metric {metric.name}", part, n) for part in (preds, targets)))


def results_of_all(metric: Metric) -> dict[str, float]:
    """The numbers of a metric by column, over the batches of all processes; every process must call it."""
    return results(metric.of_all() if isinstance(metric, AccumulatedMetric) else metric)
