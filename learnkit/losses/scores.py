"""What learnkit's losses of raw scores share: shapes that fit each other, binary or classes, reductions."""

import torch
from torch import Tensor, nn

from learnkit.checks import check_choice
from learnkit.errors import UsageError
from learnkit.losses.activations import softmax

__all__ = ["FirstTargets", "ScoreLoss", "as_classes", "full_precision", "like_preds", "n_counted"]

REDUCTIONS = ("mean", "none", "sum")


def full_precision(raw: Tensor) -> Tensor:
    """Raw outputs in float32, or float64 if they are: sums of many pixels need the precision."""
    return raw if raw.dtype == torch.float64 else raw.float()


def like_preds(name: str, preds: Tensor, targets: Tensor) -> Tensor:
    """The targets in the shape and dtype of the outputs; axes of size 1 may be missing on either side.

    Raises:
        UsageError: sizes that differ, such as (N, 3) and (N,): they would be broadcast by mistake.

    >>> like_preds("a loss", torch.zeros(2, 1), torch.tensor([0, 1])).tolist()
    [[0.0], [1.0]]
    """
    if _sizes(preds.shape) != _sizes(targets.shape):
        raise _do_not_match(name, preds, targets, f"targets of {tuple(preds.shape)}")
    return targets.reshape(preds.shape).to(preds.dtype)


def as_classes(name: str, preds: Tensor, targets: Tensor, axis: int = 1, hint: str = "") -> Tensor:
    """The targets as class indices, int64, in the shape of the outputs without their axis of classes.

    Raises:
        UsageError: no such axis, sizes that differ, or targets that are not integers.
    """
    if not -preds.ndim <= axis < preds.ndim or axis % preds.ndim == 0:
        raise _do_not_match(name, preds, targets, f"outputs with classes on axis {axis}, (N, C, ...)", hint)
    wanted = preds.shape[: axis % preds.ndim] + preds.shape[axis % preds.ndim + 1 :]
    if _sizes(wanted) != _sizes(targets.shape):
        raise _do_not_match(name, preds, targets, f"class indices of {tuple(wanted)}", hint)
    if targets.is_floating_point() or targets.is_complex():
        raise UsageError(
            f"{name}: the targets of outputs {tuple(preds.shape)}",
            got=targets.dtype,
            expected=f"integer class indices of {tuple(wanted)}",
            fix="Use targets.long().",
        )
    return targets.reshape(wanted).long()


def _sizes(shape: torch.Size) -> tuple[int, ...]:
    """The number of items, and the sizes above 1 within an item."""
    return (*shape[:1], *(size for size in shape[1:] if size != 1))


def _do_not_match(name: str, preds: Tensor, targets: Tensor, expected: str, hint: str = "") -> UsageError:
    shapes = tuple(preds.shape), tuple(targets.shape)
    return UsageError(f"{name}: the shapes of outputs and targets", got=shapes, expected=expected, fix=hint)


def n_counted(ignore_index: int, targets: Tensor) -> Tensor:
    """How many targets are not ignored, shape (): what the mean of a loss is divided by."""
    return targets.ne(ignore_index).sum()


class FirstTargets:
    """Checks the values of the first targets only: reading them makes the device wait.

    Wrong masks are wrong everywhere (255 for 1, classes from 1 on), so the first batch shows it.
    """

    def __init__(self) -> None:
        self.seen: bool = False

    def check(self, name: str, preds: Tensor, targets: Tensor, highest: int, ignore_index: int | None = None) -> None:
        """Raise a UsageError if a target that counts is below 0 or above `highest`."""
        if self.seen or targets.numel() == 0:
            return
        values = targets.detach() if ignore_index is None else targets.detach()[targets != ignore_index]
        if values.numel() and not bool(((values >= 0) & (values <= highest)).all()):
            raise UsageError(
                f"{name}: the targets {tuple(targets.shape)} for outputs {tuple(preds.shape)}",
                got=[values.min().item(), values.max().item()],
                expected=f"values from 0 to {highest}",
                fix="The values got are the lowest and the highest. A mask saved as 0 and 255 is mask == 255.",
            )
        self.seen = True


class ScoreLoss(nn.Module):
    """A loss of raw scores that are either binary or scores of classes.

    One score per item or pixel, (N,) or (N, 1, ...), is always binary: the targets are 0 or 1. More scores on axis 1,
    (N, C, ...), are of classes that exclude each other: the targets are class indices (N, ...).

    Args:
        reduction: "mean" or "sum" over what the subclass specifies, "none" for the single values.
        binary: every score is binary, whatever the shape: several labels (N, C), or masks without an axis of channels
            (N, H, W). Needed since only the shape of the scores decides which activation `get_preds` uses, and these
            look like classes.

    Raises:
        UsageError: an unknown reduction.
    """

    def __init__(self, *, reduction: str = "mean", binary: bool = False) -> None:
        super().__init__()
        self.reduction: str = check_choice("reduction", reduction, REDUCTIONS)
        self.binary = binary
        self.first_targets: FirstTargets = FirstTargets()

    def activation(self, raw: Tensor) -> Tensor:
        """The probabilities in the loss: sigmoid of binary scores, else softmax over axis 1."""
        return torch.sigmoid(raw) if self.is_binary(raw) else softmax(raw)

    def is_binary(self, raw: Tensor) -> bool:
        """Whether these scores are binary."""
        return self.binary or raw.ndim < 2 or raw.shape[1] == 1

    def matched(self, raw: Tensor, targets: Tensor, ignore_index: int | None = None) -> Tensor:
        """The targets as the scores need them: 0/1 in their shape and dtype, or class indices without axis 1.

        Those equal to `ignore_index` may be any number.

        Raises:
            UsageError: shapes that do not fit each other; values out of range in the first batch.
        """
        name = type(self).__name__
        if self.is_binary(raw):
            matched = like_preds(name, raw, targets)
            highest = 1
        else:
            same = _sizes(raw.shape) == _sizes(targets.shape)
            hint = "If every score belongs to a separate label, pass binary=True." if same else ""
            matched = as_classes(name, raw, targets, hint=hint)
            highest = raw.shape[1] - 1
        self.first_targets.check(name, raw, matched, highest, ignore_index)
        return matched

    def reduced(self, losses: Tensor) -> Tensor:
        """The losses as `reduction` specifies."""
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, binary={self.binary}"
