"""Coverage and size of conformal sets for many alphas, each measured on items that its threshold was not fitted on."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learnkit.certainty.conformal import conformal_quantile, least_items
from learnkit.checks import check_int, check_number, check_seed
from learnkit.errors import DataError, UsageError

__all__ = ["ALPHAS", "CurvePoint", "conformal_curve"]

ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


class CurvePoint(NamedTuple):
    """Sets of one alpha, over all splits.

    Attributes:
        alpha: the share of truths that may be missed.
        coverage: the share that is in its set, mean over the splits.
        deviation: standard deviation of the coverage over the splits: how far one fit on half of the items may be off.
        size: mean number of classes in a set.
        empty: share of sets without a class.
        threshold: mean threshold of the scores.
    """

    alpha: float
    coverage: float
    deviation: float
    size: float
    empty: float
    threshold: float


def conformal_curve(
    scores: Tensor,
    is_true: Tensor,
    alphas: Sequence[float] = ALPHAS,
    *,
    per_class: bool = False,
    n_splits: int = 20,
    seed: int = 0,
) -> list[CurvePoint]:
    """One point for each alpha: thresholds are fitted on a random half of the items, sets are measured on the other.

    Each of the splits gives both halves in turn. Alphas that half of the items are too few for are left out.

    Args:
        scores: how badly each class fits each item, (N, C), see `class_scores`.
        is_true: bool (N, C).
        alphas: each in (0, 1).
        per_class: a threshold for each class, of the items that have it; one without enough of them is in every set.
        n_splits: random splits.
        seed: of the splits.

    Raises:
        UsageError: an alpha outside (0, 1), no splits, other shapes, a seed that is no integer of 64 bits.
        DataError: fewer items than any of the alphas needs.
    """
    check_int("n_splits", n_splits, 1)
    for alpha in alphas:
        check_number("alphas", alpha, "(0, 1)")
    if scores.ndim != 2 or scores.shape != is_true.shape:
        got = (tuple(scores.shape), tuple(is_true.shape))
        raise UsageError("scores and is_true: the shapes", got=got, expected="(N, C) both")
    half = len(scores) // 2
    if not (fitting := [alpha for alpha in alphas if least_items(alpha) <= half]):
        least = 2 * min(map(least_items, alphas), default=0)
        raise DataError("conformal_curve: items", got=len(scores), expected=f"at least {least} for these alphas")
    random, found = torch.Generator().manual_seed(check_seed(seed)), [list[tuple[float, ...]]() for _ in fitting]
    for _ in range(n_splits):
        order = torch.randperm(len(scores), generator=random)
        for fit, test in ((order[:half], order[half:]), (order[half:], order[:half])):
            known, truth, new, new_truth = scores[fit], is_true[fit], scores[test], is_true[test]
            for rows, alpha in zip(found, fitting, strict=True):
                limits = _limits(known, truth, alpha, per_class=per_class)
                rows.append(_measured(new <= limits, new_truth, limits))
    return [_point(alpha, rows) for alpha, rows in zip(fitting, found, strict=True)]


def _limits(scores: Tensor, is_true: Tensor, alpha: float, *, per_class: bool) -> Tensor:
    if not per_class:
        return torch.tensor(conformal_quantile(scores[is_true], alpha), dtype=torch.float64)
    columns = zip(scores.unbind(1), is_true.unbind(1), strict=True)
    return torch.tensor([conformal_quantile(column[true], alpha) for column, true in columns], dtype=torch.float64)


def _measured(inside: Tensor, is_true: Tensor, limits: Tensor) -> tuple[float, ...]:
    parts = inside[is_true], inside.sum(1), ~inside.any(1), limits
    return tuple(float(part.double().mean()) for part in parts)


def _point(alpha: float, rows: Sequence[tuple[float, ...]]) -> CurvePoint:
    coverage, size, empty, threshold = torch.tensor(rows, dtype=torch.float64).unbind(1)
    deviation = float(coverage.std(correction=0))
    return CurvePoint(alpha, float(coverage.mean()), deviation, float(size.mean()), float(empty.mean()),
                      float(threshold.mean()))  # fmt: skip
