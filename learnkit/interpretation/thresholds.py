"""Decision thresholds: for each label the one with the best F score."""

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from learnkit.checks import check_number
from learnkit.errors import UsageError
from learnkit.metrics.curves import ranked_counts

__all__ = ["beta_of", "fit_thresholds"]


def fit_thresholds(
    probs: Tensor, targets: Tensor, beta: float = 1.0, default: float | tuple[float, ...] = 0.5
) -> tuple[float, ...]:
    """One threshold per class; no other has a higher F-beta here. An item has a class if it is strictly above it.

    Every distinct probability is tried. The threshold is halfway to the next lower one; of several equally good ones,
    the highest is taken.

    Args:
        probs: (N, C).
        targets: (N, C), 0 or 1.
        beta: how many times as important recall is as precision.
        default: for a class without items, which this data cannot determine; one number, or one per class.

    Raises:
        UsageError: shapes that do not match, a probability that is nan, or a beta that is not a number above 0.

    >>> import torch
    >>> fit_thresholds(torch.tensor([[0.75], [0.25], [0.125]]), torch.tensor([[1], [1], [0]]))
    (0.1875,)
    """
    if probs.ndim != 2 or probs.shape != targets.shape:
        raise UsageError(
            "targets: the shape", got=tuple(targets.shape), expected=f"that of probs, {tuple(probs.shape)}"
        )
    check_number("beta", beta, "(0, inf)")
    scores, are_there = probs.detach().float().cpu().numpy(), (targets > 0.5).cpu().numpy()
    defaults = default if isinstance(default, tuple) else (default,) * probs.shape[1]
    return tuple(_best(scores[:, c], are_there[:, c], beta, other) for c, other in enumerate(defaults))


def beta_of(metric: str) -> float:
    """The beta of the name of an F score.

    Raises:
        UsageError: a name of another metric.

    >>> beta_of("f1"), beta_of("f0.5")
    (1.0, 0.5)
    """
    try:
        beta = float(metric[1:]) if metric[:1] == "f" else math.nan
    except ValueError:
        beta = math.nan
    if not 0 < beta < math.inf:
        raise UsageError("metric", got=metric, expected='an F score: "f1", "f2", "f0.5", ...')
    return beta


def _best(scores: npt.NDArray[np.float32], is_there: npt.NDArray[np.bool_], beta: float, default: float) -> float:
    distinct, found, spurious = ranked_counts(scores, is_there)
    usable = distinct > 0  # no threshold, 0 or more, is below a probability of 0
    if not found[usable].any():
        return default
    f_score = (1 + beta**2) * found / (beta**2 * found[-1] + found + spurious)
    best = int(np.argmax(np.where(usable, f_score, -1)))
    upper, lower = distinct[best], distinct[best + 1] if best + 1 < len(distinct) else 0.0
    middle = float(np.float32((upper + lower) / 2))  # as exact as the probabilities it is compared with
    return middle if lower <= middle < upper else float(lower)
