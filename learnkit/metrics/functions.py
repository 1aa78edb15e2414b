"""Metrics that are functions of raw outputs and targets, and the table of their names."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from learnkit.checks import check_int, check_kind, check_number
from learnkit.errors import UsageError
from learnkit.metrics.accumulate import precise
from learnkit.metrics.accumulated import LABELS, NUMBERS, Targets
from learnkit.metrics.shapes import check_ignored, check_threshold

__all__ = [
    "METRICS",
    "SEVERAL",
    "NamedMetric",
    "accuracy",
    "accuracy_multi",
    "check_settings",
    "error_rate",
    "mae",
    "mse",
    "perplexity",
    "rmse",
    "top_k_accuracy",
]

Elements: TypeAlias = tuple[Tensor, Tensor | None]
"""Values, and which of them count, None for all: selecting them would make the device wait."""


def accuracy(preds: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
    """Share of items (or pixels) whose largest output is the target's class.

    Args:
        preds: raw outputs or probabilities, (N, C, ...), classes on axis 1; raw outputs (N, 1, H, W) of binary masks.
        targets: class indices, (N,) or (N, ...).
        ignore_index: targets of this number do not count.

    Raises:
        UsageError: shapes that do not fit each other.

    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])).item()
    0.6666666865348816
    """
    return _mean(*_hits(preds, targets, ignore_index))


def error_rate(preds: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
    """1 - `accuracy`, shape (); arguments as there."""
    return _mean(*_misses(preds, targets, ignore_index))


def top_k_accuracy(preds: Tensor, targets: Tensor, k: int = 5, ignore_index: int | None = None) -> Tensor:
    """Share of items whose class is among the `k` largest outputs; other arguments as for `accuracy`."""
    return _mean(*_top_k_hits(preds, targets, k, ignore_index))


def accuracy_multi(preds: Tensor, targets: Tensor, threshold: float = 0.5, sigmoid: bool = True) -> Tensor:
    """Share of single yes/no predictions that are right, over all items and labels.

    Args:
        preds: raw outputs, (N, C).
        targets: 0 or 1, (N, C).
        threshold: yes means strictly above it.
        sigmoid: turn raw outputs into probabilities first; without it the threshold may be any number.

    Raises:
        UsageError: shapes that differ, or a threshold for probabilities that is not between 0 and 1.
    """
    check_settings(threshold=threshold, sigmoid=sigmoid)
    return _mean(*_label_hits(preds, targets, threshold, sigmoid))


def mse(preds: Tensor, targets: Tensor) -> Tensor:
    """Mean of the squared differences of all elements; (N,) and (N, 1) go together."""
    return _like(preds, _mean(*_squares(preds, targets)))


def mae(preds: Tensor, targets: Tensor) -> Tensor:
    """Mean of the absolute differences of all elements; (N,) and (N, 1) go together."""
    return _like(preds, _mean(*_distances(preds, targets)))


def rmse(preds: Tensor, targets: Tensor) -> Tensor:
    """Square root of `mse`. As a metric it is the root of the whole set's mean, not a mean of roots."""
    return _like(preds, _mean(*_squares(preds, targets)).sqrt())


def perplexity(preds: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
    """exp of the mean cross-entropy of the targets that count; as a metric, of the whole set's mean.

    Arguments as for `accuracy`, the outputs raw.
    """
    return _like(preds, _mean(*_cross_entropies(preds, targets, ignore_index)).exp())


def _mean(values: Tensor, counted: Tensor | None) -> Tensor:
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return values.mean() if counted is None else values.where(counted, 0).sum() / counted.sum()


def _like(preds: Tensor, value: Tensor) -> Tensor:
    """In the precision of the predictions, single at least."""
    return value.to(torch.promote_types(preds.dtype, torch.float32))


def _cross_entropies(preds: Tensor, targets: Tensor, ignore_index: int = -100) -> Elements:
    """One for each target, in double precision."""
    _check_classes(preds, targets)
    targets = targets.reshape(preds[:, 0].shape)
    values = F.cross_entropy(precise(preds), targets, ignore_index=ignore_index, reduction="none")
    return values, targets != ignore_index


def _exp(mean: float) -> float:
    return math.inf if mean > 700 else math.exp(mean)  # near where double precision ends


def _hits(preds: Tensor, targets: Tensor, ignore_index: int | None = None) -> Elements:
    """Whether each prediction is right."""
    if preds.ndim > 2 and preds.shape[1] == 1:
        _check_elements(preds, targets)
        best = preds.sigmoid() > 0.5
    else:
        _check_classes(preds, targets)
        best = preds.argmax(1)
    if best.shape != targets.shape:
        targets = targets.reshape(best.shape)
    return best == targets, None if ignore_index is None else targets != ignore_index


def _misses(preds: Tensor, targets: Tensor, ignore_index: int | None = None) -> Elements:
    hits, counted = _hits(preds, targets, ignore_index)
    return ~hits, counted


def _top_k_hits(preds: Tensor, targets: Tensor, k: int = 5, ignore_index: int | None = None) -> Elements:
    _check_classes(preds, targets)
    if not 1 <= k <= preds.shape[1]:
        raise UsageError(
            "top_k_accuracy: k",
            got=k,
            expected=f"between 1 and the {preds.shape[1]} classes",
            fix="Pass for example metrics=learnkit.metrics.top_k(2).",
        )
    best = preds.topk(k, dim=1).indices  # (N, k, ...)
    hits = (best == targets.reshape(best[:, :1].shape)).any(dim=1).flatten()
    return hits, None if ignore_index is None else targets.flatten() != ignore_index


def _check_classes(preds: Tensor, targets: Tensor) -> None:
    shape = preds.shape
    if len(shape) < 2 or shape[1] < 2:
        raise UsageError(
            "preds",
            got=tuple(shape),
            expected="the shape (N, C, ...) with C of 2 or more classes",
            fix="For one output per item use accuracy_multi.",
        )
    if targets.numel() * shape[1] != preds.numel():
        expected = f"one class index for each of the {preds.numel() // shape[1]} predictions"
        fix = "For targets of one yes/no per class use accuracy_multi."
        raise UsageError("targets", got=tuple(targets.shape), expected=expected, fix=fix)


def _label_hits(preds: Tensor, targets: Tensor, threshold: float = 0.5, sigmoid: bool = True) -> Elements:
    _check_elements(preds, targets)
    probs = precise(preds).sigmoid() if sigmoid else preds
    return (probs > threshold).flatten() == (targets > 0.5).flatten(), None


def _squares(preds: Tensor, targets: Tensor) -> Elements:
    return _differences(preds, targets).square(), None


def _distances(preds: Tensor, targets: Tensor) -> Elements:
    return _differences(preds, targets).abs(), None


def _differences(preds: Tensor, targets: Tensor) -> Tensor:
    _check_elements(preds, targets)  # (N, 1) minus (N,) would be (N, N)
    return precise(preds.flatten()) - precise(targets.flatten())  # squares of float32 overflow from 2e19 on


def _check_elements(preds: Tensor, targets: Tensor) -> None:
    if _squeezed(preds) != _squeezed(targets):
        raise UsageError(
            "targets",
            got=tuple(targets.shape),
            expected=f"the shape of the predictions, {tuple(preds.shape)}",
            fix="This metric compares element by element.",
        )


def _squeezed(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


def check_settings(k: int = 5, threshold: float = 0.5, sigmoid: bool = True, ignore_index: int | None = None) -> None:
    """Refuse settings of these functions that are out of range, before there is a batch."""
    check_int("k", k, 1)
    check_kind("sigmoid", sigmoid, bool, "True or False")
    check_number("threshold", threshold) if not sigmoid else check_threshold(threshold)
    check_ignored(ignore_index)


@dataclass(frozen=True)
class NamedMetric:
    """How a metric known by name is made.

    Args:
        function: what a user may also pass or call, (preds, targets) -> scalar.
        elements: what is averaged over the whole set, (preds, targets) -> (values, which of them count).
        takes: the targets it is for.
        higher_is_better: the direction.
        finish: applied to that average.
    """

    function: Callable[..., Tensor]
    elements: Callable[..., Elements]
    takes: tuple[Targets, ...]
    higher_is_better: bool
    finish: Callable[[float], float] = float


SEVERAL: tuple[Targets, ...] = ("class", "mask")  # two classes or more, of items or pixels

METRICS: dict[str, NamedMetric] = {
    "accuracy": NamedMetric(accuracy, _hits, SEVERAL, higher_is_better=True),
    "accuracy_multi": NamedMetric(accuracy_multi, _label_hits, LABELS, higher_is_better=True),
    "error_rate": NamedMetric(error_rate, _misses, SEVERAL, higher_is_better=False),
    "mae": NamedMetric(mae, _distances, NUMBERS, higher_is_better=False),
    "mse": NamedMetric(mse, _squares, NUMBERS, higher_is_better=False),
    "perplexity": NamedMetric(perplexity, _cross_entropies, SEVERAL, higher_is_better=False, finish=_exp),
    "rmse": NamedMetric(rmse, _squares, NUMBERS, higher_is_better=False, finish=math.sqrt),
    "top_k_accuracy": NamedMetric(top_k_accuracy, _top_k_hits, SEVERAL, higher_is_better=True),
}
