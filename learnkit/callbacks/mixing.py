"""Batches whose items are mixed in pairs: MixUp and CutMix.

torchvision's transforms of these names do not replace them: they draw one share per batch, pair each item with its
neighbor, and turn class indices into probabilities, which not every loss supports.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learnkit.checks import check_number
from learnkit.data.loading.sampler import own_rows
from learnkit.device import to_device
from learnkit.distributed.exchange import gathered_rows
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.losses.outputs import from_outputs
from learnkit.losses.per_item import is_sum_of_items, item_costs
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState
from learnkit.tree import leaves, map_tensors
from learnkit.types import Loss

__all__ = ["Box", "CutMix", "MixUp", "cutmix", "draw_box", "draw_shares", "mixed_loss", "mixup"]


class Box(NamedTuple):
    """Rows top to bottom and columns left to right of an image, both end-exclusive."""

    top: int
    bottom: int
    left: int
    right: int


def draw_shares(n: int, alpha: float) -> Tensor:
    """The share each of n items keeps, float32 (n,) in [0.5, 1]: max(lam, 1 - lam), lam from Beta(alpha, alpha).

    Drawn from torch's global CPU generator.
    """
    drawn: Tensor = torch.distributions.Beta(alpha, alpha).sample((n,))
    return torch.maximum(drawn, 1 - drawn)


def mixup(x: Tensor, order: Tensor, shares: Tensor) -> Tensor:
    """`share * x + (1 - share) * x[order]`, one share per item (Zhang et al.: mixup, 2018).

    Args:
        x: (N, ...) float.
        order: (N,) int64, the index of the item each is mixed with.
        shares: (N,), the weight of each item itself.

    >>> mixup(torch.tensor([0.0, 8.0]), torch.tensor([1, 0]), torch.tensor([0.75, 0.5])).tolist()
    [2.0, 4.0]
    """
    keeps = shares.to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    return keeps * x + (1 - keeps) * x[order]


def draw_box(height: int, width: int, alpha: float) -> Box:
    """A random box that covers 1 - lam of the image, lam from Beta(alpha, alpha), clipped at the edges.

    Drawn from torch's global CPU generator.
    """
    lam = torch.distributions.Beta(alpha, alpha).sample().item()
    side = math.sqrt(1 - lam)
    high, wide = int(height * side), int(width * side)
    top = int(torch.randint(height, ()).item()) - high // 2
    left = int(torch.randint(width, ()).item()) - wide // 2
    return Box(max(top, 0), min(top + high, height), max(left, 0), min(left + wide, width))


def cutmix(x: Tensor, order: Tensor, box: Box) -> Tensor:
    """Images (N, C, H, W) with the box of `x[order]` pasted in (Yun et al.: CutMix, 2019).

    >>> cutmix(torch.tensor([[[[1, 1]]], [[[2, 2]]]]), torch.tensor([1, 0]), Box(0, 1, 0, 1)).flatten(1).tolist()
    [[2, 1], [1, 2]]
    """
    mixed = x.clone()
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    mixed[..., rows, columns] = x[..., rows, columns][order]  # only the box of each image is gathered
    return mixed


def mixed_loss(loss_func: Loss, preds: Any, targets: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """The loss of a batch, each item compared with its target and, in the other share, with that of another item, ().

    `share * cost(target) + (1 - share) * cost(target of the other)`, added up over the items and divided as the loss
    itself divides, by their number or by the weights of the targets. With shares of 1 it is the loss itself.

    Args:
        loss_func: any loss with a single share. With one share per item it is called twice if it is one of torch's,
            otherwise three times; losses that return only one number per batch are called once per item, with a
            warning (see `per_item_loss`).
        preds: (N, ...), or a structure of such tensors.
        targets: those of the items themselves: class indices (N,), several labels or numbers (N, C).
        others: the targets of the items that each is mixed with.
        shares: the weight of each item itself, (N,) or ().
    """
    if shares.dim() and is_sum_of_items(loss_func):
        costs, weight = item_costs(loss_func, preds, targets)
        other_costs, _ = item_costs(loss_func, preds, others)
        return (shares * costs + (1 - shares) * other_costs).sum() / weight
    own: Tensor = loss_func(preds, targets)
    if not shares.dim():
        return shares * own + (1 - shares) * loss_func(preds, others)
    costs, weight = item_costs(loss_func, preds, targets)
    other_costs, _ = item_costs(loss_func, preds, others)
    return own + ((1 - shares) * (other_costs - costs)).sum() / weight


def _of_all(state: TrainState) -> tuple[Any, Tensor]:
    """Inputs and targets of the batch of all processes, in each of them: items are mixed as in one process."""
    if state.share is None:
        return state.inputs, state.targets
    n = state.share.n
    return map_tensors(lambda rows: gathered_rows(rows, n), state.inputs), gathered_rows(state.targets, n)


def _own(state: TrainState, inputs: Any, *others: Tensor) -> tuple[Any, ...]:
    """What is this process's of the batch of all; numbers without an axis are for all items."""
    if state.share is None:
        return inputs, *others
    rows = own_rows(state.share.total, world.rank, world.size)
    return map_tensors(lambda x: x[rows], inputs), *(part[rows] if part.dim() else part for part in others)


class _Mixing(Callback, ABC):
    """Mixes each training batch with a permutation of itself, and the losses of both in the same shares."""

    order = Order.BATCH
    sets = frozenset({"the loss of a mixed batch"})
    in_lr_find = True

    def __init__(self, alpha: float) -> None:
        self.alpha: float = float(check_number("alpha", alpha, "(0, inf)"))
        self._mixed: Any = None  # the targets mixed in and the shares of the current batch, until its loss
        self._loss_func: Loss = from_outputs

    def before_fit(self, state: TrainState) -> None:
        self._loss_func = state.loss_func
        if state.loss_func is from_outputs:
            raise UsageError(
                f"{type(self).__name__} with loss_func=from_outputs: the loss is computed inside the model",
                fix="Leave it out, or pass a loss_func of outputs and targets.",
            )

    def before_batch(self, state: TrainState) -> None:
        self._mixed = None
        _check(type(self).__name__, state.inputs, state.targets)
        inputs, targets = _of_all(state)
        order = to_device(torch.randperm(len(targets)), targets.device)
        inputs, shares = self._mix(inputs, order)
        state.inputs, *self._mixed = _own(state, inputs, targets[order], shares)
        state.batch_loss = self._mix_loss

    def _mix_loss(self, preds: Any, targets: Tensor) -> Tensor:
        assert self._mixed is not None
        (others, shares), self._mixed = self._mixed, None
        return mixed_loss(self._loss_func, preds, targets, others, shares)

    @abstractmethod
    def _mix(self, inputs: tuple[Tensor, ...], order: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The mixed inputs, and the weights of the items themselves: (N,) on their device, or () on the CPU."""

    def after_loss(self, state: TrainState) -> None:
        state.batch_loss = None
        if self._mixed is not None:  # the first loss of a fit is that of loss_func itself, to be checked
            state.loss = self._mix_loss(state.preds, state.targets)

    def after_fit(self, state: TrainState) -> None:
        self._mixed = state.batch_loss = None
        self._loss_func = from_outputs


class MixUp(_Mixing):
    """Train on blends of two items (Zhang et al.: mixup: Beyond empirical risk minimization, 2018).

    Each item keeps a share max(lam, 1 - lam), lam from Beta(alpha, alpha), and takes the rest from another item of the
    batch; its loss is mixed in the same shares (see `mixed_loss`), so any loss works. Validation items are not mixed.
    The recorded training loss is the mixed one, and therefore higher.

    Args:
        alpha: 0.4 mixes lightly, 1 draws all shares equally often.

    Raises:
        UsageError: in a fit, for inputs that are not floats and targets with more than two dimensions, such as masks.
    """

    def __init__(self, alpha: float = 0.4) -> None:
        super().__init__(alpha)

    def _mix(self, inputs: tuple[Tensor, ...], order: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        shares = to_device(draw_shares(len(order), self.alpha), order.device)
        return map_tensors(lambda x: mixup(x, order, shares), inputs), shares


class CutMix(_Mixing):
    """Train on images with a box of another one pasted in (Yun et al.: CutMix, 2019).

    One box per batch covers 1 - lam of the image, lam from Beta(alpha, alpha). The losses of both images are mixed in
    the shares of their actual pixels (see `mixed_loss`). Validation images are not mixed.

    Args:
        alpha: 1 draws all areas of the box equally often.

    Raises:
        UsageError: in a fit, for inputs other than float images (N, C, H, W) of one size and for targets with more
            than two dimensions, such as masks.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)

    def _mix(self, inputs: tuple[Tensor, ...], order: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        shapes = [tuple(x.shape) for x in leaves(inputs)]
        sizes = {shape[2:] for shape in shapes}
        if len(sizes) != 1 or any(len(shape) != 4 for shape in shapes):
            raise UsageError(
                "CutMix: the inputs", got=shapes,
                expected="images (N, C, H, W) of one size", fix="Use MixUp for other inputs.",
            )  # fmt: skip
        height, width = sizes.pop()
        box = draw_box(height, width, self.alpha)
        cut = (box.bottom - box.top) * (box.right - box.left) / (height * width)
        return map_tensors(lambda x: cutmix(x, order, box), inputs), torch.tensor(1 - cut)


def _check(name: str, inputs: tuple[Any, ...], targets: Any) -> None:
    if not isinstance(targets, Tensor) or targets.dim() not in (1, 2):
        raise UsageError(
            f"{name}: the targets",
            got=tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__,
            expected="a tensor of one or two dimensions: classes (N,), labels or numbers (N, C)",
            fix="Leave it out for masks and other targets with spatial dimensions.",
        )
    for x in leaves(inputs):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise UsageError(
                f"{name}: an input of the model",
                got=str(x.dtype) if isinstance(x, Tensor) else type(x).__name__,
                expected="a tensor of floats",
                fix="Leave it out: indices of words or categories cannot be mixed.",
            )
