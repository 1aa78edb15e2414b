"""Losses of the overlap between a predicted and a true mask: Dice, Dice with cross entropy, intersection over union."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from learnkit.checks import check_int, check_number
from learnkit.errors import UsageError
from learnkit.losses.scores import ScoreLoss, full_precision

__all__ = ["DiceBCELoss", "DiceLoss", "IoULoss"]


@dataclass(frozen=True, slots=True)
class _Masks:
    """Flattened masks: G groups (1 for binary masks, else the classes) of M pixels in each of N items."""

    raw: Tensor  # (N, G, M)
    probs: Tensor  # (N, G, M), 0 where a pixel does not count
    truth: Tensor  # (N, G, M), likewise
    counted: Tensor | None  # (N, 1, M); None if all pixels count


class DiceLoss(ScoreLoss):
    """1 - Dice coefficient of raw scores and masks: 0 for a perfect mask, near 1 for one that is all wrong.

    With P the sum of the probabilities, T that of the true mask and I that of their products, the coefficient is
    (2 I + smooth) / (P + T + smooth) (Milletari et al., V-Net, 2016, with P and T not squared).

    Binary masks: scores (N, 1, ...), with 0/1 targets (N, 1, ...) or (N, ...); probabilities by sigmoid; with
    `binary=True` scores of any shape (N, ...), all those of an item counting as one mask.
    Classes: scores (N, C, ...) with class indices (N, ...); probabilities by softmax over axis 1; the coefficient of
    each class is taken and averaged over all C, also those that are not in the image.

    The overlap is computed per item, so small objects count as much as large ones, and the mean over items does not
    depend on the batches. Many published versions sum over the whole batch instead, as if it were one large image:
    `per_batch=True` does so too; several processes train on the mean over their shares of a batch, with a warning.

    Args:
        smooth: added to numerator and denominator, above 0: keeps empty masks defined and the loss smooth.
        reduction: over the items: "mean", "sum", or "none" for (N,).
        per_batch: one overlap for the whole batch; for `reduction="mean"` only. The losses of single items, as in
            `per_item_loss`, are still of the overlap of each.
        ignore_index: pixels with this target do not count.
        binary: see `ScoreLoss`.

    Raises:
        UsageError: an argument that cannot work; when called, shapes that do not fit each other, or in the first
            batch targets out of range.

    >>> import torch
    >>> DiceLoss()(torch.tensor([[[100.0, -100.0]]]), torch.tensor([[0, 1]])).item()  # 1 - (0 + 1) / (1 + 1 + 1)
    0.6666666269302368
    """

    def __init__(
        self,
        smooth: float = 1.0,
        reduction: str = "mean",
        *,
        per_batch: bool = False,
        ignore_index: int | None = None,
        binary: bool = False,
    ) -> None:
        super().__init__(reduction=reduction, binary=binary)
        if per_batch and reduction != "mean":
            raise UsageError(
                "reduction with per_batch=True", got=reduction, expected="'mean'", fix="Leave one of the two out."
            )
        self.smooth: float = check_number("smooth", smooth, "(0, inf)", expected="a number above 0")
        self.per_batch = per_batch
        self.ignore_index = None if ignore_index is None else check_int("ignore_index", ignore_index)

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        """The loss: shape () or, not reduced, (N,)."""
        masks = self._flattened(preds, targets)
        return self.reduced(self._losses(masks))

    def _losses(self, masks: _Masks) -> Tensor:
        """1 - overlap, averaged over the groups: (N,), or (1,) for the batch as one."""
        both, predicted, true = masks.probs * masks.truth, masks.probs, masks.truth
        sums = [self._sum(each) for each in (both, predicted, true)]
        return 1 - self._overlap(*sums).mean(1)

    def _overlap(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        return (2 * both + self.smooth) / (predicted + true + self.smooth)

    def _sum(self, values: Tensor) -> Tensor:
        """Over the pixels: (N, G, M) -> (N, G), or (1, G) for the batch as one."""
        summed = values.sum(2)
        return summed.sum(0, keepdim=True) if self.per_batch and self.reduction != "none" else summed

    def _flattened(self, preds: Tensor, targets: Tensor) -> _Masks:
        raw = full_precision(preds)
        matched = self.matched(raw, targets, self.ignore_index)
        n, groups = raw.shape[:1].numel(), 1 if self.is_binary(raw) else raw.shape[1]
        n_pixels = raw.shape[1:].numel() // groups
        raw = raw.reshape(n, groups, n_pixels)
        probs = raw.sigmoid() if groups == 1 else raw.softmax(1)
        flat = matched.reshape(n, 1, n_pixels)
        counted = None if self.ignore_index is None else flat != self.ignore_index
        if counted is not None:
            flat = flat.masked_fill(~counted, 0)
        truth = flat.to(raw.dtype) if groups == 1 else raw.new_zeros(raw.shape).scatter_(1, flat, 1.0)
        if counted is not None:
            probs, truth = probs * counted, truth * counted
        return _Masks(raw, probs, truth, counted)

    def extra_repr(self) -> str:
        return (
            f"smooth={self.smooth}, per_batch={self.per_batch}, ignore_index={self.ignore_index}, "
            f"{super().extra_repr()}"
        )


class DiceBCELoss(DiceLoss):
    """`DiceLoss` plus the mean cross entropy of the pixels; arguments and shapes as there.

    Binary masks have binary cross entropy, classes the cross entropy of the softmax. An item's cross entropy is the
    mean over those of its pixels that count, 0 if none does.
    """

    def _losses(self, masks: _Masks) -> Tensor:
        return super()._losses(masks) + self._cross_entropy(masks)

    def _cross_entropy(self, masks: _Masks) -> Tensor:
        if masks.raw.shape[1] == 1:
            losses = F.binary_cross_entropy_with_logits(masks.raw, masks.truth, reduction="none")
        else:
            losses = -(masks.truth * masks.raw.log_softmax(1)).sum(1, keepdim=True)
        counted = losses.new_ones(losses.shape) if masks.counted is None else masks.counted.to(losses.dtype)
        return (self._sum(losses * counted) / self._sum(counted).clamp(min=1)).squeeze(1)


class IoULoss(DiceLoss):
    """1 - intersection over union (Jaccard index); arguments and shapes as for `DiceLoss`.

    With the symbols used there: 1 - (I + smooth) / (P + T - I + smooth) (Rahman, Wang: Optimizing intersection over
    union in deep neural networks, 2016).
    """

    def _overlap(self, both: Tensor, predicted: Tensor, true: Tensor) -> Tensor:
        return (both + self.smooth) / (predicted + true - both + self.smooth)
