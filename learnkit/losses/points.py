"""The loss of key points, of which some may be missing."""

import torch
from torch import Tensor, nn

from learnkit.checks import check_choice
from learnkit.errors import DataError

__all__ = ["PointsLoss"]


class PointsLoss(nn.Module):
    """The squared error of the coordinates of an item's known points, averaged over them, then over the items.

    Outputs (N, 2 P) or (N, P, 2), targets (N, P, 2) with nan for a missing point. An item without known points has
    loss 0.

    Args:
        reduction: "mean", "sum" or "none" of the items.

    Raises:
        DataError: outputs that are not two numbers per point.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction: str = check_choice("reduction", reduction, ("mean", "sum", "none"))

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        """The loss: shape () or, not reduced, that of the targets."""
        if preds.numel() != targets.numel() or len(preds) != len(targets):
            expected = f"{(len(targets), targets[0].numel())}, two for each point"
            raise DataError("outputs for key points: the shape", got=tuple(preds.shape), expected=expected)
        is_known = targets.isfinite()
        errors = torch.where(is_known, preds.reshape(targets.shape) - targets.nan_to_num(0.0), 0.0).square()
        losses = errors.flatten(1).sum(1) / is_known.flatten(1).sum(1).clamp(min=1)
        return losses if self.reduction == "none" else losses.mean() if self.reduction == "mean" else losses.sum()
