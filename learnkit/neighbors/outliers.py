"""Outliers: rows of features that are far from all others."""

from typing import NamedTuple

import torch
from torch import Tensor

from learnkit.neighbors.cosine import nearest_others

__all__ = ["MIN_SCORE", "Outliers", "find_outliers"]

MIN_SCORE = 3.5
NEIGHBORS = 5
MIN_ROWS = 20  # of fewer, it cannot be said what is usual


class Outliers(NamedTuple):
    """P rows, the farthest first.

    Attributes:
        places: int64 (P,), numbers of rows.
        scores: float64 (P,), see `find_outliers`.
    """

    places: Tensor
    scores: Tensor


def find_outliers(features: Tensor, min_score: float = MIN_SCORE, k: int = NEIGHBORS) -> Outliers:
    """Rows whose distance from their neighbors is unusually large.

    The distance is the mean cosine distance to the k nearest others (Ramaswamy, Rastogi, Shim 2000: by the distance to
    neighbors). Unusual is a modified z-score, 0.6745 (x - median) / MAD, above 3.5 (Iglewicz, Hoaglin 1993), of the
    logarithm of that distance: distances are skewed. Neither the median nor the MAD, the median of the absolute
    deviations, is moved by the outliers. More than k of the same kind are not outliers: they are near each other.

    Args:
        features: float (N, D), such as `learn.embed` returns; of less than 20 rows none is an outlier.
        min_score: the score of an outlier.
        k: how many neighbors.

    Raises:
        UsageError, DataError: as `nearest`.
    """
    if len(features) < MIN_ROWS:
        return Outliers(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64))
    logs = nearest_others(features, k)[0].cpu().mean(1).clamp_min(torch.finfo(torch.float32).eps).log()
    deviations = logs - logs.median()
    mad = deviations.abs().median().clamp_min(torch.finfo(torch.float32).eps)
    scores = 0.6745 * deviations / mad
    places = scores.argsort(descending=True, stable=True)
    places = places[scores[places] > min_score]
    return Outliers(places, scores[places])
