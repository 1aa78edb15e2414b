"""Split conformal prediction: sets of classes and intervals that hold the truth with a stated probability.

A threshold is fitted on items the model was not trained on. If new items come from the same source as these (if all are
exchangeable), the set of a new item holds its true class with a probability of at least 1 - alpha, whatever the model
(Papadopoulos et al., Inductive confidence machines for regression, 2002; Vovk et al., Algorithmic learning in a random
world, 2005). The probability is over new items and over the items fitted on: the coverage that one fit on n items
gives has a standard deviation of about sqrt(alpha (1 - alpha) / n).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learnkit.checks import check_choice, check_number
from learnkit.errors import DataError, UsageError, warn

__all__ = [
    "METHODS",
    "ClassSets",
    "Conformal",
    "Intervals",
    "LabelSets",
    "class_scores",
    "conformal_quantile",
    "fit_class_sets",
    "fit_intervals",
    "fit_label_sets",
    "least_items",
]

METHODS = ("lac", "raps")
PENALTY, N_FREE = 0.01, 5  # of RAPS
ROUNDING = 1e-9  # 20 * (1 - 0.05) must not become 20
MAX_NAMED = 5  # classes in one message


@dataclass(frozen=True)
class ClassSets:
    """Sets of classes for items that have one: all classes whose score is at most the threshold.

    Attributes:
        alpha: a set misses the true class with at most this probability.
        method: see `class_scores`.
        threshold: of the scores.
        n: items it was fitted on.
        penalty: of method "raps".
        n_free: of method "raps".
    """

    alpha: float
    method: str
    threshold: float
    n: int
    penalty: float = PENALTY
    n_free: int = N_FREE

    def members(self, probs: Tensor) -> Tensor:
        """Which classes are in the set of each item, bool (N, C), of probabilities (N, C)."""
        return class_scores(probs, self.method, penalty=self.penalty, n_free=self.n_free) <= self.threshold


@dataclass(frozen=True)
class LabelSets:
    """Sets of labels for items that have any number: all labels whose probability is at least their threshold.

    Attributes:
        alpha: a true label is missed with at most this probability, each label by itself.
        thresholds: of the probabilities, one per label; 0 for a label with too few items, which is in every set.
        counts: items with each label that the thresholds were fitted on.
    """

    alpha: float
    thresholds: tuple[float, ...]
    counts: tuple[int, ...]

    def members(self, probs: Tensor) -> Tensor:
        """Which labels are in the set of each item, bool (N, C), of probabilities (N, C)."""
        return probs.double() >= torch.tensor(self.thresholds, dtype=torch.float64, device=probs.device)


@dataclass(frozen=True)
class Intervals:
    """Intervals around numbers: each prediction plus and minus the radius of its number.

    Attributes:
        alpha: an interval misses its number with at most this probability, each number by itself.
        radii: half the width of the intervals, in the units of the targets, one per number.
        counts: targets of each number that the radii were fitted on.
    """

    alpha: float
    radii: tuple[float, ...]
    counts: tuple[int, ...]

    def bounds(self, preds: Tensor) -> Tensor:
        """Lower and upper end, float64 (N, n, 2), of predictions (N, n)."""
        radii = torch.tensor(self.radii, dtype=torch.float64, device=preds.device)
        return torch.stack([preds.double() - radii, preds.double() + radii], -1)


Conformal = ClassSets | LabelSets | Intervals


def conformal_quantile(scores: Tensor, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n scores; infinite if that is more than n.

    Args:
        scores: (n,), of the true classes; the higher, the less they fit.
        alpha: in (0, 1).

    >>> scores = torch.arange(1.0, 20.0)  # 1 to 19
    >>> conformal_quantile(scores, 0.1), conformal_quantile(scores, 0.05), conformal_quantile(scores, 0.04)
    (18.0, 19.0, inf)
    """
    rank = math.ceil((len(scores) + 1) * (1 - alpha) - ROUNDING)
    return math.inf if rank > len(scores) else float(scores.double().kthvalue(rank).values)


def least_items(alpha: float) -> int:
    """How many items a threshold needs: with fewer, only the set of all classes would have the coverage.

    >>> least_items(0.1), least_items(0.05), least_items(0.01)
    (9, 19, 99)
    """
    return math.ceil((1 - alpha) / alpha - ROUNDING)


def class_scores(probs: Tensor, method: str = "lac", *, penalty: float = PENALTY, n_free: int = N_FREE) -> Tensor:
    """How badly each class fits each item, float64 (N, C).

    "lac": 1 - its probability. These sets are the smallest on average. Where no class reaches the threshold, they are
    empty: the model is surer of nearly all of its items. (Sadinle, Lei, Wasserman, Least ambiguous set-valued
    classifiers with bounded error levels, 2019.)

    "raps": the sum of the probabilities of all classes that are more probable, plus `penalty` for each place of its
    rank beyond `n_free`. Sets are larger for hard items, and smaller for easy ones. (Angelopoulos, Bates, Malik,
    Jordan, Uncertainty sets for image classifiers using conformal prediction, 2021, with u = 0 in place of a random
    number: the same item always gets the same set. The most probable class scores 0, so no set is empty, and where more
    than 1 - alpha of the items are predicted right, that many are covered.)

    Args:
        probs: (N, C), rows sum to 1.
        method: "lac" or "raps".
        penalty: lambda of RAPS, 0 or more.
        n_free: k_reg of RAPS, 0 or more.

    >>> probs = torch.tensor([[0.25, 0.5, 0.125, 0.125]])
    >>> class_scores(probs)
    tensor([[0.7500, 0.5000, 0.8750, 0.8750]], dtype=torch.float64)
    >>> class_scores(probs, "raps", penalty=1, n_free=1)
    tensor([[1.5000, 0.0000, 2.7500, 3.8750]], dtype=torch.float64)
    """
    probs = probs.double()
    if method == "lac":
        return 1 - probs
    ordered, classes = probs.sort(dim=1, descending=True, stable=True)
    above = ordered.cumsum(1) - ordered
    above[:, 0] = 0
    places = torch.arange(1, probs.shape[1] + 1, dtype=torch.float64, device=probs.device)
    return torch.empty_like(probs).scatter_(1, classes, above + penalty * (places - n_free).clamp(min=0))


def fit_class_sets(probs: Tensor, targets: Tensor, alpha: float = 0.1, method: str = "lac") -> ClassSets:
    """Sets that hold the true class with a probability of at least 1 - alpha.

    Args:
        probs: (N, C), of items the model was not trained on.
        targets: (N,), class indices.
        alpha, method: see `ClassSets` and `class_scores`.

    Raises:
        UsageError: an alpha outside (0, 1), another method, shapes that do not fit each other.
        DataError: nan, or fewer than `least_items(alpha)` items.
    """
    _check_alpha(alpha)
    check_choice("method", method, METHODS)
    n, c = len(targets), probs.shape[-1]
    if probs.shape != (n, c) or targets.ndim != 1 or targets.is_floating_point() or c < 2:
        raise _shapes("(N, C), two classes or more, and class indices (N,)", probs, targets)
    _check_enough(n, alpha, "labeled items")
    _check_finite(probs)
    targets = targets.to(probs.device).long()
    if n and not 0 <= int(targets.min()) <= int(targets.max()) < c:
        wrong = targets[(targets < 0) | (targets >= c)]
        raise UsageError("targets", got=int(wrong[0]), expected=f"class indices from 0 to {c - 1}")
    scores = class_scores(probs, method)
    threshold = conformal_quantile(scores.gather(1, targets[:, None])[:, 0], alpha)
    return ClassSets(alpha, method, threshold, n)


def fit_label_sets(probs: Tensor, targets: Tensor, alpha: float = 0.1, names: Sequence[str] = ()) -> LabelSets:
    """Sets that hold each true label with a probability of at least 1 - alpha: the recall of every label is controlled.

    A threshold is fitted on the items that have the label, so the coverage holds for each label by itself, the rare
    ones included, not for all labels of an item together (class-conditional coverage: Vovk, Conditional validity of
    inductive conformal predictors, 2012; Sadinle et al. 2019). Labels with fewer than `least_items(alpha)` items are in
    every set.

    Args:
        probs: (N, C), of items the model was not trained on.
        targets: (N, C), 0 or 1.
        alpha: in (0, 1).
        names: of the labels, for messages.

    Raises:
        UsageError: an alpha outside (0, 1), shapes that do not fit each other.
        DataError: nan, or no label with enough items.

    Warns:
        LearnkitWarning: labels with too few items.
    """
    _check_alpha(alpha)
    if probs.ndim != 2 or targets.shape != probs.shape:
        raise _shapes("(N, C) both", probs, targets)
    _check_finite(probs)
    is_true, low = targets.to(probs.device) > 0.5, 1 - probs.double()
    counts = tuple(is_true.sum(0).tolist())
    least = least_items(alpha)
    _check_enough(max(counts, default=0), alpha, "items with the most frequent label")
    rare = [names[c] if names else str(c) for c, count in enumerate(counts) if count < least]
    if rare:
        shown = ", ".join(rare[:MAX_NAMED]) + (f" and {len(rare) - MAX_NAMED} more" if len(rare) > MAX_NAMED else "")
        warn(f"conformal sets: {shown}: fewer than {least} items, so alpha={alpha:g} puts these labels into every set")
    quantiles = [conformal_quantile(low[is_true[:, c], c], alpha) for c in range(len(counts))]
    return LabelSets(alpha, tuple(max(0.0, 1 - quantile) for quantile in quantiles), counts)


def fit_intervals(preds: Tensor, targets: Tensor, alpha: float = 0.1, names: Sequence[str] = ()) -> Intervals:
    """Intervals that hold each number with a probability of at least 1 - alpha; all of a number are of one width.

    The radius is the quantile of the absolute residuals (Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, Distribution-free
    predictive inference for regression, 2018). The coverage is that of each number by itself.

    Args:
        preds: (N, n), of items the model was not trained on.
        targets: (N, n); nan where one is missing.
        alpha: in (0, 1).
        names: of the numbers, for messages.

    Raises:
        UsageError: an alpha outside (0, 1), shapes that do not fit each other.
        DataError: predictions that are nan, or too few targets of a number.
    """
    _check_alpha(alpha)
    if preds.ndim != 2 or targets.shape != preds.shape:
        raise _shapes("(N, n) both", preds, targets)
    _check_finite(preds)
    residuals = (targets.to(preds.device).double() - preds.double()).abs()
    columns = [column[~column.isnan()] for column in residuals.unbind(1)]
    for number, column in enumerate(columns):
        _check_enough(len(column), alpha, f"targets of {names[number]}" if names else "targets of each number")
    radii = tuple(conformal_quantile(column, alpha) for column in columns)
    return Intervals(alpha, radii, tuple(map(len, columns)))


def _check_alpha(alpha: float) -> None:
    check_number("alpha", alpha, "(0, 1)", expected="the share of sets that may miss the truth, such as 0.1")


def _check_enough(n: int, alpha: float, what: str) -> None:
    if n < (least := least_items(alpha)):
        raise DataError(
            f"conformal sets: {what}", got=n, expected=f"at least {least} for alpha={alpha:g}",
            fix=f"Fit them on more items that the model was not trained on{_or_alpha(n)}.",
        )  # fmt: skip


def _or_alpha(n: int) -> str:
    return f", or with an alpha of {math.ceil(1000 / (n + 1)) / 1000:g} or more" if 0 < n < 1000 else ""


def _check_finite(outputs: Tensor) -> None:
    if bad := int((~outputs.isfinite().all(1)).sum()):
        raise DataError(
            f"conformal sets: the predictions of {bad} of {len(outputs)} items are nan or infinite",
            fix="Look at these items, or at the weights of the model.",
        )


def _shapes(expected: str, outputs: Tensor, targets: Tensor) -> UsageError:
    got = (tuple(outputs.shape), tuple(targets.shape))
    return UsageError("predictions and targets: the shapes", got=got, expected=expected)
