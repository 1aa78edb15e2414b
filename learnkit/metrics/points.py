"""The metric of key points: how far off they are."""

import torch
from torch import Tensor

from learnkit.metrics.accumulate import Sums, mean, precise
from learnkit.metrics.accumulated import POINTS, AccumulatedMetric, Batch

__all__ = ["point_distance"]


def point_distance(size: tuple[int, int] | None = None) -> AccumulatedMetric:
    """The mean distance of predicted and true key points, over all points that are known.

    Args:
        size: (height, width) of the images the model sees, for a distance in their pixels; None for a distance in the
            units of the targets, in which an image is 2 x 2.

    >>> metric = point_distance((100, 200))
    >>> metric.update(torch.zeros(1, 4), torch.tensor([[[0.03, 0.08], [torch.nan, torch.nan]]]))
    >>> round(metric.compute(), 4)  # 3 pixels right, 4 below
    5.0
    """
    height, width = (2, 2) if size is None else size

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        is_known = targets.isfinite().all(-1)
        off = (preds.reshape(targets.shape) - targets.nan_to_num(0.0)) * targets.new_tensor([width / 2, height / 2])
        distances = torch.where(is_known, precise(off).square().sum(-1).sqrt(), 0.0)
        return Batch((distances.sum(), is_known.sum()))

    return AccumulatedMetric("point_distance", prepare, Sums(), mean, takes=POINTS, higher_is_better=False)
