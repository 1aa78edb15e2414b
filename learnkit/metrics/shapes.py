"""Raw outputs and targets as rows, from their shapes alone: no value is read."""

from typing import NamedTuple

import torch
from torch import Tensor

from learnkit.checks import check_int, check_number
from learnkit.errors import UsageError
from learnkit.metrics.accumulate import precise

__all__ = [
    "ClassRows",
    "LabelRows",
    "check_classes",
    "check_ignored",
    "check_labels",
    "check_threshold",
    "class_rows",
    "class_scores",
    "label_rows",
    "number_rows",
    "ordered",
    "rows",
]


class ClassRows(NamedTuple):
    """A predicted and an actual class for each of M targets."""

    predicted: Tensor  # int64 (M,)
    actual: Tensor  # int64 (M,)
    counted: Tensor  # bool (M,), which of them count
    n_outputs: int
    checked: Tensor  # (M,), the original targets, 0 if they do not count

    @property
    def n_classes(self) -> int:
        """A single output is a choice of two classes, no and yes."""
        return max(self.n_outputs, 2)


class LabelRows(NamedTuple):
    """A score and an actual yes/no for each of C labels of M items."""

    scores: Tensor  # raw outputs, (M, C)
    actual: Tensor  # bool (M, C)
    checked: Tensor  # (M, C), the original targets


def class_rows(
    preds: Tensor, targets: Tensor, *, threshold: float = 0.5, ignore_index: int | None = None, second: bool = False
) -> ClassRows:
    """Predicted and actual classes.

    Args:
        preds: raw outputs, (N, C, ...) for C classes, (N,) or (N, 1, ...) for one yes/no.
        targets: class indices, (N,) or (N, ...).
        threshold: yes means a probability strictly above it; for one output only.
        ignore_index: targets of this number do not count.
        second: make one of two outputs, the yes/no of class 1.

    Raises:
        UsageError: shapes that do not fit each other, a threshold for several classes.
    """
    n_outputs = _count_outputs(preds, targets)
    if second:
        preds, n_outputs = _second(preds, n_outputs), 1
    if n_outputs == 1:
        predicted = (precise(preds).sigmoid() > threshold).long().flatten()
    elif threshold != 0.5:
        fix = "Leave it out, or for two classes pass average='binary'."
        raise UsageError("threshold", got=threshold, expected="0.5, as one of several classes is predicted", fix=fix)
    else:
        predicted = preds.argmax(dim=1).flatten()
    flat = _plain(targets).flatten()
    counted = torch.ones_like(flat, dtype=torch.bool) if ignore_index is None else flat != ignore_index
    flat = flat.where(counted, 0)
    actual = (flat > 0.5).long() if n_outputs == 1 else flat.long().clamp(0, n_outputs - 1)
    return ClassRows(predicted, actual, counted, n_outputs, flat)


def class_scores(preds: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Raw outputs (M, C), and targets (M,), those that do not count included; C is 1 for one yes/no.

    Raises:
        UsageError: shapes that do not fit each other.
    """
    n_outputs = _count_outputs(preds, targets)
    return preds.reshape(-1, 1) if n_outputs == 1 else rows(preds), _plain(targets).flatten()


def ordered(scores: Tensor) -> Tensor:
    """Numbers in the order of the softmax probabilities of each class, float64 (M, C) from raw outputs (M, C).

    The probabilities themselves, but where rounding would make different ones equal, near 1 or 0:
    there 1 + log(p / (1 - p)), and log(p).
    """
    scores = scores.double()
    scores = scores - scores.max(dim=1, keepdim=True).values
    probs = scores.softmax(dim=1)
    best = torch.zeros_like(probs, dtype=torch.bool).scatter_(1, scores.argmax(dim=1, keepdim=True), True)
    odds_of_best = -scores.masked_fill(best, -torch.inf).logsumexp(dim=1, keepdim=True)
    logs = scores.log_softmax(dim=1)
    return torch.where(probs > 1 - 1e-6, 1 + odds_of_best, torch.where(probs < 1e-300, logs, probs))


def check_classes(low: float, high: float, n_outputs: int) -> None:
    """Refuse targets that are not class indices for this number of outputs, from their lowest and highest."""
    _check_range(low, high, max(n_outputs - 1, 1))


def check_threshold(threshold: float) -> None:
    """Raise a UsageError for what is not a probability between 0 and 1."""
    check_number("threshold", threshold, "(0, 1)", expected="a probability between 0 and 1")


def check_ignored(ignore_index: int | None) -> None:
    """Raise a UsageError for what is neither an integer nor None."""
    if ignore_index is not None:
        check_int("ignore_index", ignore_index, expected="an integer, or None")


def label_rows(preds: Tensor, targets: Tensor) -> LabelRows:
    """Scores and actual yes/no of each label.

    Args:
        preds: raw outputs, (N, C, ...).
        targets: 0 or 1, the shape of `preds`.

    Raises:
        UsageError: shapes that differ.
    """
    if preds.shape != targets.shape or preds.ndim < 2:
        raise UsageError(
            "targets",
            got=tuple(targets.shape),
            expected=f"the shape of the predictions, {tuple(preds.shape)}, with a yes/no per label, (N, C)",
            fix="For one class index per item use the metric without _multi.",
        )
    flat = rows(_plain(targets))
    return LabelRows(rows(preds), flat > 0.5, flat)


def check_labels(low: float, high: float, n_labels: int) -> None:
    """Refuse targets beyond 0 and 1, from their lowest and highest."""
    _check_range(low, high, 1)


def number_rows(preds: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted and actual numbers, (N, K) each.

    Raises:
        UsageError: shapes that differ by more than (N,) and (N, 1) do.
    """
    n = len(targets) if targets.ndim else 0
    if not n or preds.ndim == 0 or len(preds) != n or _long(preds) != _long(targets):
        expected = f"the shape of the predictions, {tuple(preds.shape)}"
        raise UsageError("targets", got=tuple(targets.shape), expected=expected)
    return preds.reshape(n, -1), targets.reshape(n, -1)


def rows(tensor: Tensor) -> Tensor:
    """(N, C, ...) as (M, C)."""
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1])


def _long(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape[1:] if size != 1]


def _count_outputs(preds: Tensor, targets: Tensor) -> int:
    """The number of outputs for each target."""
    n_outputs = preds.shape[1] if preds.ndim > 1 else 1
    together = preds.ndim > 0 and targets.ndim > 0 and len(preds) == len(targets)
    if not together or n_outputs == 0 or targets.numel() * n_outputs != preds.numel():
        raise UsageError(
            "targets",
            got=tuple(targets.shape),
            expected=f"one class index per item of predictions {tuple(preds.shape)}, classes on axis 1",
            fix="For targets of one yes/no per class use a metric that ends in _multi.",
        )
    if n_outputs > 1 and targets.is_floating_point():
        raise UsageError("targets", got=targets.dtype, expected="class indices, integers", fix="Pass targets.long().")
    return n_outputs


def _second(preds: Tensor, n_outputs: int) -> Tensor:
    """The one output whose sigmoid is the probability of class 1."""
    if n_outputs > 2:
        raise UsageError("average", got="binary", expected=f"another way for {n_outputs} classes", fix="Use 'macro'.")
    return preds if n_outputs == 1 else precise(preds[:, 1]) - precise(preds[:, 0])


def _check_range(low: float, high: float, highest: int) -> None:
    for end in (low, high):
        if not 0 <= end <= highest:
            fix = "Targets that do not count are left out with ignore_index=, if the metric has it."
            raise UsageError("targets", got=end, expected=f"0 to {highest}", fix=fix)


def _plain(targets: Tensor) -> Tensor:
    return targets.byte() if targets.dtype == torch.bool else targets
