"""The focal loss: cross entropy with less weight on easy elements."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from learnkit.checks import check_int, check_number
from learnkit.errors import UsageError
from learnkit.losses.scores import ScoreLoss, full_precision, n_counted

__all__ = ["FocalLoss"]


class FocalLoss(ScoreLoss):
    """-alpha (1 - p)^gamma log p, p being the probability of the true class (Lin et al., Focal loss, 2017).

    Each element (item, label or pixel) is focused by its own probability, then they are averaged. Some published
    versions average the cross entropy of the batch first and focus that one number, with exp(-mean) for p; an easy
    majority then hides the hard few. For a batch of one element the two are the same.

    Binary: scores (N,), (N, 1, ...), or with `binary=True` any shape, and 0/1 targets of that shape. Targets between 0
    and 1 mix the two losses in this proportion.
    Classes: scores (N, C, ...) with class indices (N, ...).

    Args:
        alpha: weights. Binary: `alpha` for the targets 1 and `1 - alpha` for the targets 0, at most 1; one number, or
            one per label, (C,). Classes: one per class, (C,), or a number that scales them all. None for no weights.
        gamma: how strongly easy elements are damped; 0 is (binary) cross entropy.
        reduction: over all elements: "mean", "sum", or "none" for the shape of the targets (binary: of the scores).
            The mean is divided by the number of elements even with weights, whereas torch's
            `CrossEntropyLoss` divides by the sum of the weights.
        binary: see `ScoreLoss`; several labels (N, C) need it.
        ignore_index: elements with this target do not count, not even in the mean.

    Raises:
        UsageError: an argument that cannot work; when called, shapes that do not fit each other, or in the first
            batch targets out of range.

    >>> round(FocalLoss(gamma=2)(torch.zeros(1), torch.ones(1)).item(), 4)  # 0.5 ** 2 * log(2)
    0.1733
    """

    alpha: Tensor | float | None

    def __init__(
        self,
        alpha: Tensor | float | None = None,
        gamma: float = 2.0,
        reduction: str = "mean",
        *,
        binary: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(reduction=reduction, binary=binary)
        self.ignore_index = None if ignore_index is None else check_int("ignore_index", ignore_index)
        if ignore_index is not None:
            self.divisor: Callable[[Tensor], Tensor] = partial(n_counted, ignore_index)
        weights = torch.empty(0) if alpha is None else torch.as_tensor(alpha).detach()
        if weights.ndim > 1 or not bool((weights.isfinite() & (weights >= 0)).all()):
            raise UsageError("alpha", got=alpha, expected="a number, 0 or more, or a tensor (C,) of such numbers")
        self.alpha_is_share: bool = bool((weights <= 1).all())
        self.gamma: float = check_number("gamma", gamma, "[0, inf)", expected="a number, 0 or more")
        if isinstance(alpha, Tensor):
            self.register_buffer("alpha", weights)  # moves with the loss to a device
        else:
            self.alpha = alpha

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        """The loss: shape () or, not reduced, one value per element."""
        raw = full_precision(preds)
        matched = self.matched(raw, targets, self.ignore_index)
        losses_of = self._binary if self.is_binary(raw) else self._of_classes
        if self.ignore_index is None:
            return self.reduced(losses_of(raw, matched))
        counted = matched.ne(self.ignore_index)
        losses = losses_of(raw, matched.where(counted, 0)).where(counted, 0)
        return (
            losses.sum() / n_counted(self.ignore_index, matched) if self.reduction == "mean" else self.reduced(losses)
        )

    def _binary(self, raw: Tensor, targets: Tensor) -> Tensor:
        log_yes, log_no = F.logsigmoid(raw), F.logsigmoid(-raw)
        if_yes, if_no = -(self.gamma * log_no).exp() * log_yes, -(self.gamma * log_yes).exp() * log_no
        if self.alpha is not None:
            if not self.alpha_is_share:
                raise UsageError("alpha for binary targets", got=self.alpha, expected="at most 1")
            alpha = _per_channel(self.alpha, raw)
            if_yes, if_no = alpha * if_yes, (1 - alpha) * if_no
        return targets * if_yes + (1 - targets) * if_no

    def _of_classes(self, raw: Tensor, targets: Tensor) -> Tensor:
        index = targets.unsqueeze(1)
        log_p = raw.log_softmax(1).gather(1, index)
        rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(raw.dtype).tiny)  # 1 - p; gamma < 1 has no slope at 0
        losses = -(rest**self.gamma) * log_p
        if self.alpha is not None:
            alpha = _per_channel(self.alpha, raw)
            losses = losses * (alpha.expand_as(raw).gather(1, index) if isinstance(alpha, Tensor) else alpha)
        return losses.squeeze(1)

    def extra_repr(self) -> str:
        ignored = "" if self.ignore_index is None else f", ignore_index={self.ignore_index}"
        return f"alpha={self.alpha}, gamma={self.gamma}, {super().extra_repr()}{ignored}"


def _per_channel(alpha: Tensor | float, raw: Tensor) -> Tensor | float:
    """One number, or weights in a shape that fits scores (N, C, ...)."""
    if not isinstance(alpha, Tensor):
        return alpha
    channels = raw.shape[1] if raw.ndim > 1 else 1
    if alpha.numel() not in (1, channels):
        shape = f"one number, or ({channels},)"
        raise UsageError(f"alpha for scores {tuple(raw.shape)}", got=tuple(alpha.shape), expected=shape)
    return alpha.to(raw.dtype).reshape(-1, *[1] * (raw.ndim - 2))
