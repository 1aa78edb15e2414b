"""Batches whose items are mixed in pairs: MixUp and CutMix.

torchvision's transforms of these names cannot stand in: they draw one share a batch, pair each item with its
neighbour, and turn class numbers into probabilities, which not every loss takes.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learnkit.errors import UsageError
from learnkit.losses.per_item import per_item_loss
from learnkit.optim.groups import is_positive
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState
from learnkit.types import Loss

__all__ = ["Box", "CutMix", "MixUp", "cutmix", "draw_box", "draw_shares", "mixed_loss", "mixup"]


class Box(NamedTuple):
    """Rows top to bottom and columns left to right of a picture, the ends left out."""

    top: int
    bottom: int
    left: int
    right: int


def draw_shares(n: int, alpha: float) -> Tensor:
    """For each of n items the share it keeps, float32 (n,) in [0.5, 1]: the larger of lam and 1 - lam, Beta(alpha).

    Drawn from torch's global CPU generator.
    """
    drawn: Tensor = torch.distributions.Beta(alpha, alpha).sample((n,))
    return torch.maximum(drawn, 1 - drawn)


def mixup(x: Tensor, order: Tensor, shares: Tensor) -> Tensor:
    """`share * x + (1 - share) * x[order]`, a share an item (Zhang et al.: mixup, 2018).

    Args:
        x: (N, ...) float.
        order: (N,) int64, the item each is mixed with.
        shares: (N,) what is kept.

    >>> mixup(torch.tensor([0.0, 8.0]), torch.tensor([1, 0]), torch.tensor([0.75, 0.5])).tolist()
    [2.0, 4.0]
    """
    keeps = shares.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    return keeps * x + (1 - keeps) * x[order]


def draw_box(height: int, width: int, alpha: float) -> Box:
    """A box of a share 1 - lam of the picture, lam from Beta(alpha), anywhere; what reaches over the edge is cut off.

    Drawn from torch's global CPU generator.
    """
    lam = torch.distributions.Beta(alpha, alpha).sample().item()
    side = math.sqrt(1 - lam)
    high, wide = int(height * side), int(width * side)
    top = int(torch.randint(height, ()).item()) - high // 2
    left = int(torch.randint(width, ()).item()) - wide // 2
    return Box(max(top, 0), min(top + high, height), max(left, 0), min(left + wide, width))


def cutmix(x: Tensor, order: Tensor, box: Box) -> Tensor:
    """Pictures (N, C, H, W) with the box of `x[order]` pasted in (Yun et al.: CutMix, 2019).

    >>> cutmix(torch.tensor([[[[1, 1]]], [[[2, 2]]]]), torch.tensor([1, 0]), Box(0, 1, 0, 1)).flatten(1).tolist()
    [[2, 1], [1, 2]]
    """
    mixed = x.clone()
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    mixed[..., rows, columns] = x[order][..., rows, columns]
    return mixed


def mixed_loss(loss_func: Loss, preds: Tensor, targets: Tensor, order: Tensor, shares: Tensor) -> Tensor:
    """The mean over the items of `share * loss(target) + (1 - share) * loss(target of the other)`, shape ().

    Args:
        loss_func: with one share for all, any; with a share an item, see `per_item_loss` for what an item's loss is,
            and for losses that give one number a batch alone: those are called once an item, with a warning.
        preds: (N, ...).
        targets: of the items kept: class numbers (N,), several labels or numbers (N, C).
        order: (N,) int64, the item each is mixed with.
        shares: what is kept, (N,) or ().
    """
    if not shares.dim():
        return shares * loss_func(preds, targets) + (1 - shares) * loss_func(preds, targets[order])
    own = per_item_loss(loss_func, preds, targets)
    other = per_item_loss(loss_func, preds, targets[order])
    return (shares * own + (1 - shares) * other).mean()


class _Mixing(Callback, ABC):
    """Mixes each training batch with itself in another order, and the losses of both in the same shares."""

    order = Order.BATCH
    sets = frozenset({"the loss of a mixed batch"})
    in_lr_find = True

    def __init__(self, alpha: float) -> None:
        if not is_positive(alpha):
            raise UsageError("alpha", got=alpha, expected="a finite number above 0")
        self.alpha = float(alpha)
        self._mixed: tuple[Tensor, Tensor] | None = None  # order and shares of the running batch

    def before_batch(self, state: TrainState) -> None:
        self._mixed = None
        _check(type(self).__name__, state.inputs, state.targets)
        n = len(state.targets)
        device = state.targets.device
        order = torch.randperm(n).to(device, non_blocking=True)
        state.inputs, shares = self._mix(state.inputs, order)
        self._mixed = order, shares.to(device, non_blocking=True)

    @abstractmethod
    def _mix(self, inputs: tuple[Tensor, ...], order: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The mixed inputs, and the shares of the items that were kept, (N,) or ()."""

    def after_loss(self, state: TrainState) -> None:
        if self._mixed is not None:
            state.loss = mixed_loss(state.loss_func, state.preds, state.targets, *self._mixed)
            self._mixed = None

    def after_fit(self, state: TrainState) -> None:
        self._mixed = None


class MixUp(_Mixing):
    """Train on pairs of items laid over each other (Zhang et al.: mixup: Beyond empirical risk minimization, 2018).

    Each item keeps a share max(lam, 1 - lam) of its own, lam from Beta(alpha, alpha), and takes the rest from another
    item of the batch; its loss is mixed in the same shares (see `mixed_loss`), so any loss will do. Validation sees
    the items as they are. The recorded training loss is the mixed one, and so higher.

    Args:
        alpha: 0.4 mixes little, 1 mixes evenly.

    Raises:
        UsageError: in a fit, for inputs that are no floats and targets with more than two dimensions, such as masks.
    """

    def __init__(self, alpha: float = 0.4) -> None:
        super().__init__(alpha)

    def _mix(self, inputs: tuple[Tensor, ...], order: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        shares = draw_shares(len(order), self.alpha).to(order.device, non_blocking=True)
        return tuple(mixup(x, order, shares) for x in inputs), shares


class CutMix(_Mixing):
    """Train on pictures with a box of another one pasted in (Yun et al.: CutMix, 2019).

    One box a batch, of a share 1 - lam of the picture, lam from Beta(alpha, alpha). The losses of both pictures are
    mixed in the shares of the pixels they really have (see `mixed_loss`). Validation sees the pictures as they are.

    Args:
        alpha: 1 draws all sizes of the box alike.

    Raises:
        UsageError: in a fit, for inputs other than float pictures (N, C, H, W) of one size and for targets with more
            than two dimensions, such as masks.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)

    def _mix(self, inputs: tuple[Tensor, ...], order: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        sizes = {tuple(x.shape[2:]) for x in inputs}
        if len(sizes) != 1 or any(x.dim() != 4 for x in inputs):
            raise UsageError(
                "CutMix: the inputs", got=[tuple(x.shape) for x in inputs],
                expected="pictures (N, C, H, W) of one size", fix="Use MixUp for other inputs.",
            )  # fmt: skip
        height, width = sizes.pop()
        box = draw_box(height, width, self.alpha)
        cut = (box.bottom - box.top) * (box.right - box.left) / (height * width)
        return tuple(cutmix(x, order, box) for x in inputs), torch.tensor(1 - cut)


def _check(name: str, inputs: tuple[Any, ...], targets: Any) -> None:
    if not isinstance(targets, Tensor) or targets.dim() not in (1, 2):
        raise UsageError(
            f"{name}: the targets",
            got=tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__,
            expected="a tensor of one or two dimensions: classes (N,), labels or numbers (N, C)",
            fix="Leave it out for masks and other targets that have places.",
        )
    for x in inputs:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise UsageError(
                f"{name}: an input of the model",
                got=str(x.dtype) if isinstance(x, Tensor) else type(x).__name__,
                expected="a tensor of floats",
                fix="Numbers that stand for words or categories cannot be mixed.",
            )
