"""Raw outputs and targets as rows: what a batch is to a metric follows from its shapes."""

import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.metrics.lazy import Prepared

__all__ = ["class_answers", "class_probabilities", "label_answers", "label_probabilities", "number_rows"]


def class_answers(
    preds: Tensor, targets: Tensor, *, threshold: float = 0.5, ignore_index: int | None = None, second: bool = False
) -> Prepared:
    """Class numbers answered and wanted, (M,) each, M the targets that count, and the number of outputs.

    Args:
        preds: raw outputs, (N, C, ...) for C classes, (N,) or (N, 1, ...) for one yes/no.
        targets: class numbers, (N,) or (N, ...).
        threshold: yes means a probability strictly above it; without meaning for three classes or more.
        ignore_index: targets of this number do not count.
        second: of two outputs make one, the yes/no of class 1.

    Raises:
        UsageError: shapes that do not belong together, class numbers that are none, a threshold among many classes.
    """
    n_outputs = _check_classes(preds, targets)
    if second:
        preds, n_outputs = _second(preds, n_outputs), 1
    if n_outputs == 1:
        answers = (_precise(preds).sigmoid() > threshold).long().flatten()
    elif threshold != 0.5:
        fix = "Leave it out, or for two classes pass average='binary'."
        raise UsageError("threshold", got=threshold, expected="0.5 where one of several classes is chosen", fix=fix)
    else:
        answers = preds.argmax(dim=1).flatten()
    wanted, keep = _wanted(targets, n_outputs, ignore_index)
    return (answers if keep is None else answers[keep]), wanted, n_outputs


def class_probabilities(preds: Tensor, targets: Tensor, *, ignore_index: int | None = None) -> Prepared:
    """Probabilities (M, C), for one yes/no (M,), and class numbers (M,); arguments as for `class_answers`."""
    n_outputs = _check_classes(preds, targets)
    probs = _precise(preds).sigmoid().flatten() if n_outputs == 1 else _rows(_precise(preds)).softmax(dim=1)
    wanted, keep = _wanted(targets, n_outputs, ignore_index)
    return (probs if keep is None else probs[keep]), wanted, n_outputs


def label_answers(preds: Tensor, targets: Tensor, *, threshold: float = 0.5) -> Prepared:
    """Yes/no answered and wanted, (M, C) each, and the number of labels C.

    Args:
        preds: raw outputs, (N, C, ...).
        targets: 0 or 1, the shape of `preds`.
        threshold: yes means a probability strictly above it.

    Raises:
        UsageError: shapes that differ, targets beyond 0 and 1.
    """
    probs, wanted, n_labels = label_probabilities(preds, targets)
    return (probs > threshold).long(), wanted, n_labels


def label_probabilities(preds: Tensor, targets: Tensor) -> Prepared:
    """Probabilities and yes/no wanted, (M, C) each, and the number of labels; arguments as for `label_answers`."""
    if preds.shape != targets.shape or preds.ndim < 2:
        raise UsageError(
            "targets",
            got=tuple(targets.shape),
            expected=f"the shape of the predictions, {tuple(preds.shape)}, with a yes/no for each label, (N, C)",
            fix="For one class number for each item use the metric without _multi.",
        )
    _check_range(targets, 1)
    return _rows(_precise(preds)).sigmoid(), (_rows(targets) > 0.5).long(), preds.shape[1]


def number_rows(preds: Tensor, targets: Tensor) -> Prepared:
    """Numbers answered and wanted in double precision, (N, K) each or (N,) for K = 1, and K.

    Raises:
        UsageError: shapes that differ by more than (N,) and (N, 1) do.
    """
    n = len(targets) if targets.ndim else 0
    if (
        not n
        or preds.ndim == 0
        or len(preds) != n
        or preds.numel() != targets.numel()
        or _long(preds) != _long(targets)
    ):
        raise UsageError(
            "targets", got=tuple(targets.shape), expected=f"the shape of the predictions, {tuple(preds.shape)}"
        )
    shape = (n,) if preds.numel() == n else (n, -1)
    return _precise(preds).reshape(shape), _precise(targets).reshape(shape), preds.numel() // n


def _long(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape[1:] if size != 1]


def _check_classes(preds: Tensor, targets: Tensor) -> int:
    """The number of outputs for each target."""
    n_outputs = preds.shape[1] if preds.ndim > 1 else 1
    together = preds.ndim > 0 and targets.ndim > 0 and len(preds) == len(targets)
    if not together or n_outputs == 0 or targets.numel() * n_outputs != preds.numel():
        raise UsageError(
            "targets",
            got=tuple(targets.shape),
            expected=f"one class number for each item of predictions {tuple(preds.shape)}, classes on axis 1",
            fix="For targets of one yes/no for each class use a metric that ends in _multi.",
        )
    if n_outputs > 1 and targets.is_floating_point():
        raise UsageError("targets", got=targets.dtype, expected="class numbers, integers", fix="Pass targets.long().")
    return n_outputs


def _second(preds: Tensor, n_outputs: int) -> Tensor:
    """The one output whose sigmoid is the probability of class 1."""
    if n_outputs > 2:
        raise UsageError("average", got="binary", expected=f"another way for {n_outputs} classes", fix="Use 'macro'.")
    return preds if n_outputs == 1 else _precise(preds[:, 1]) - _precise(preds[:, 0])


def _wanted(targets: Tensor, n_outputs: int, ignore_index: int | None) -> tuple[Tensor, Tensor | None]:
    """Targets that count, (M,), and where they are, None for everywhere."""
    wanted, keep = targets.flatten(), None
    if ignore_index is not None:
        keep = wanted != ignore_index
        wanted = wanted[keep]
    _check_range(wanted, max(n_outputs - 1, 1))
    return (wanted > 0.5 if n_outputs == 1 else wanted).long(), keep


def _check_range(targets: Tensor, highest: int) -> None:
    if not targets.numel():
        return
    least, most = (part.item() for part in targets.aminmax())
    if not 0 <= least <= most <= highest:
        fix = "A target that stands for nothing is left out with ignore_index=, where the metric has it."
        raise UsageError("targets", got=f"{least} to {most}", expected=f"0 to {highest}", fix=fix)


def _rows(tensor: Tensor) -> Tensor:
    """(N, C, ...) as (M, C)."""
    return tensor.movedim(1, -1).reshape(-1, tensor.shape[1])


def _precise(tensor: Tensor) -> Tensor:
    """In double precision, where the device has it: in single precision large outputs become equal probabilities."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)
