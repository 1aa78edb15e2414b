"""Calibration error and temperature scaling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.checks import check_int
from learnkit.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.plots.layout import FigSize

__all__ = ["MAX_TEMPERATURE", "MIN_TEMPERATURE", "Calibration", "calibration_of", "fit_temperature"]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0  # the range searched: items without a mistake would be best at 0
N_STEPS = 40  # of log(MAX_TEMPERATURE / MIN_TEMPERATURE) = 6, which leaves a relative error below 1e-11


@dataclass(frozen=True, eq=False)  # a table has no single truth value
class Calibration:
    """How far the probabilities of the predicted classes are from how often these are right.

    Attributes:
        ece: expected calibration error, in [0, 1]: the gap between confidence and accuracy, averaged over the items.
        mce: maximum calibration error, in [0, 1]: the largest gap of a bin.
        brier: squared distance from the probabilities to the targets, summed over classes, in [0, 2].
        nll: mean negative log of the probability of the target.
        n: number of items.
        bins: one row per bin: lower, upper, confidence (mean), accuracy, n; a bin without items has nan for both means.
    """

    ece: float
    mce: float
    brier: float
    nll: float
    n: int
    bins: "pd.DataFrame"

    @checks_keywords
    def plot(self, *, figsize: "FigSize" = None) -> "Figure":
        """The reliability diagram: accuracy against confidence, and the number of items per confidence."""
        from learnkit.plots.reliability import reliability_diagram

        columns = [self.bins[name].to_numpy(float) for name in ("lower", "upper", "confidence", "accuracy", "n")]
        return reliability_diagram(*columns, ece=self.ece, figsize=figsize)


def calibration_of(probs: Tensor, targets: Tensor, n_bins: int = 15) -> Calibration:
    """Calibration of the most probable class (Naeini et al. 2015; Guo et al. 2017).

    The confidences are sorted into bins of equal width; a bin holds those above its lower and up to its upper edge.

    Args:
        probs: (N, C), rows sum to 1.
        targets: (N,), class indices.
        n_bins: bins between 0 and 1.

    Raises:
        UsageError: no items, shapes or targets that do not fit each other, or a number of bins below 1.

    >>> found = calibration_of(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]), n_bins=2)
    >>> found.ece, found.mce
    (0.25, 0.25)
    """
    import pandas as pd

    check_int("n_bins", n_bins, 1)
    _check("probs", probs, targets)
    probs, targets = probs.detach().cpu().double(), targets.cpu().long()
    if not bool(((probs.sum(1) - 1).abs() < 1e-2).all()):
        raise UsageError("probs: rows that do not sum to 1", fix="Pass probabilities, raw.softmax(1), not raw outputs.")
    top, preds = probs.max(1)
    confidence, right = top.numpy(), (preds == targets).numpy().astype(float)
    edges = np.linspace(0, 1, n_bins + 1)
    places = np.searchsorted(edges[1:-1], confidence, side="left")  # lower < confidence <= upper
    n = np.bincount(places, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(places, values, minlength=n_bins) / n for values in (confidence, right)]
    gaps = np.nan_to_num(np.abs(means[0] - means[1]))
    of_target = probs.gather(1, targets[:, None])[:, 0]
    return Calibration(
        ece=float((gaps * n).sum() / n.sum()),
        mce=float(gaps.max()),
        brier=float((probs.square().sum(1) - 2 * of_target + 1).mean()),
        nll=float(-of_target.clamp(min=torch.finfo(torch.float32).tiny).log().mean()),
        n=len(targets),
        bins=pd.DataFrame(
            {"lower": edges[:-1], "upper": edges[1:], "confidence": means[0], "accuracy": means[1], "n": n}
        ),
    )


def fit_temperature(raw: Tensor, targets: Tensor) -> float:
    """The temperature T that minimizes the mean negative log likelihood of softmax(raw / T) (Guo et al. 2017).

    Dividing all outputs by one number changes how confident the predictions are, never which class is predicted. Fit it
    on items the model was not trained on: on its training items its confidence is justified.

    The loss is convex in 1 / T, so its slope changes sign once; that place is found by bisection. Between 0.05 and 20:
    outputs without a mistake are best at 0 and get 0.05, outputs worse than chance get 20.

    Args:
        raw: (N, C), before the softmax.
        targets: (N,), class indices.

    Returns:
        T; above 1 for an overconfident model.

    Raises:
        UsageError: no items, shapes or targets that do not fit each other, outputs that are nan or infinite.

    >>> round(fit_temperature(torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])), 3)  # 2 / log(3)
    1.82
    """
    _check("raw", raw, targets)
    raw, targets = raw.detach().cpu().double(), targets.cpu().long()
    over_target = raw - raw.gather(1, targets[:, None])  # (N, C)

    def slope(inverse: float) -> float:
        return float(((over_target * inverse).softmax(1) * over_target).sum(1).mean())

    low, high = MIN_TEMPERATURE, MAX_TEMPERATURE
    if slope(1 / low) <= 0:
        return low
    if slope(1 / high) >= 0:
        return high
    for _ in range(N_STEPS):
        middle = float(np.sqrt(low * high))
        if slope(1 / middle) > 0:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high))


def _check(name: str, outputs: Tensor, targets: Tensor) -> None:
    n = len(targets)
    if outputs.ndim != 2 or len(outputs) != n or not n or outputs.shape[1] < 2:
        expected = "(N, C) and targets (N,), with at least one item and two classes"
        raise UsageError(f"{name}: the shapes", got=(tuple(outputs.shape), tuple(targets.shape)), expected=expected)
    if targets.ndim != 1 or targets.is_floating_point():
        got = (targets.dtype, tuple(targets.shape))
        raise UsageError("targets", got=got, expected=f"class indices of shape {(n,)}")
    wrong = targets[(targets < 0) | (targets >= outputs.shape[1])]
    if len(wrong):
        raise UsageError("targets", got=int(wrong[0]), expected=f"class indices from 0 to {outputs.shape[1] - 1}")
    if not bool(outputs.isfinite().all()):
        raise UsageError(f"{name}: numbers that are nan or infinite", fix="Look for the items that cause them.")
