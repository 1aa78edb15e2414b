"""torch's losses, element by element: masks and columns in any layout, nothing broadcast by accident.

Each takes outputs and targets as if both were flattened. Axes of size 1 may be missing on either side, so (N, 1) goes
with (N,), which torch would refuse or, worse, broadcast to (N, N). Not reduced, losses keep the shape of the items.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.checks import check_int
from learnkit.losses.scores import FirstTargets, as_classes, full_precision, like_preds, n_counted
from learnkit.losses.settings import check_settings, weights_of

__all__ = ["BCEWithLogitsLossFlat", "CrossEntropyLossFlat", "L1LossFlat", "MSELossFlat"]


class CrossEntropyLossFlat(nn.CrossEntropyLoss):
    """Cross entropy of raw scores with classes on any axis, (N, C, ...) or (N, ..., C), and class indices (N, ...).

    Args:
        axis: where the classes are, not 0.
        weight: weight of each class, (C,), a tensor or a list; the mean is then divided by the sum of the targets'
            weights.
        ignore_index: targets of this number do not count, not even in the mean.
        label_smoothing: this share of each target is spread evenly over all classes.
        reduction: "mean", "sum", or "none" for the shape of the targets.

    Raises:
        UsageError: a setting that cannot work; when called, shapes that do not fit each other, or in the first batch
            targets out of range.

    >>> import torch
    >>> CrossEntropyLossFlat(axis=-1)(torch.zeros(2, 5, 4), torch.zeros(2, 5).long()).item()  # log(4)
    1.3862943649291992
    """

    def __init__(
        self,
        axis: int = 1,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            weights_of("weight", weight),
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
        check_settings(self)
        self.axis = check_int("axis", axis, expected="the number of an axis; weights are weight=")
        self.first_targets: FirstTargets = FirstTargets()

    def activation(self, raw: Tensor) -> Tensor:
        """Probabilities, adding up to 1 over the axis of the classes."""
        return raw.softmax(self.axis)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss: shape () or, not reduced, that of the targets."""
        name = type(self).__name__
        classes = as_classes(name, input, target, self.axis)
        n_classes = input.shape[self.axis]
        self.first_targets.check(name, input, classes, n_classes - 1, self.ignore_index)
        flat = full_precision(input).movedim(self.axis, -1).reshape(-1, n_classes)
        losses = super().forward(flat, classes.flatten())
        return losses.reshape(target.shape) if self.reduction == "none" else losses


class BCEWithLogitsLossFlat(nn.BCEWithLogitsLoss):
    """Binary cross entropy of raw scores and targets from 0 to 1 of the same size, integers and bools too.

    Args:
        weight, pos_weight, reduction: as for torch's `BCEWithLogitsLoss`; weights must fit the shape of the scores.
        ignore_index: targets of this number do not count, not even in the mean.

    Raises:
        UsageError: a setting that cannot work; when called, sizes that differ, or in the first batch targets out of
            range.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        pos_weight: Tensor | None = None,
        reduction: str = "mean",
        *,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(
            weights_of("weight", weight), pos_weight=weights_of("pos_weight", pos_weight), reduction=reduction
        )
        self.ignore_index = ignore_index
        check_settings(self)
        self.first_targets: FirstTargets = FirstTargets()
        if ignore_index is not None:
            self.divisor: Callable[[Tensor], Tensor] = partial(n_counted, ignore_index)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss: shape () or, not reduced, that of the scores."""
        raw = full_precision(input)
        targets = like_preds(type(self).__name__, raw, target)
        self.first_targets.check(type(self).__name__, raw, targets, 1, self.ignore_index)
        if self.ignore_index is None:
            return super().forward(raw, targets)
        counted = targets.ne(self.ignore_index)
        losses = F.binary_cross_entropy_with_logits(
            raw, targets.where(counted, 0), self.weight, pos_weight=self.pos_weight, reduction="none"
        ).where(counted, 0)
        if self.reduction == "none":
            return losses
        return losses.sum() / (n_counted(self.ignore_index, targets) if self.reduction == "mean" else 1)


class MSELossFlat(nn.MSELoss):
    """Squared differences of outputs and targets of the same size. Raises UsageError for sizes that differ.

    >>> import torch
    >>> MSELossFlat()(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1])).item()
    2.0
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss: shape () or, not reduced, that of the outputs."""
        raw = full_precision(input)
        return super().forward(raw, like_preds(type(self).__name__, raw, target))


class L1LossFlat(nn.L1Loss):
    """Absolute differences of outputs and targets of the same size. Raises UsageError for sizes that differ."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss: shape () or, not reduced, that of the outputs."""
        raw = full_precision(input)
        return super().forward(raw, like_preds(type(self).__name__, raw, target))
