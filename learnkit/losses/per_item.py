"""The loss of each item, from a loss that returns one number for a whole batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learnkit.errors import UsageError, warn
from learnkit.losses.activations import is_of_torch
from learnkit.losses.failures import loss_explained
from learnkit.losses.outputs import from_outputs
from learnkit.losses.reduction import divisor, reduction_of, setting, unreduced
from learnkit.modes import undisturbed
from learnkit.text import name_of
from learnkit.tree import count_items, cut
from learnkit.types import Loss

__all__ = ["is_sum_of_items", "item_costs", "loss_of_items", "per_item_loss"]

_SUMMED = {"sum", "batchmean"}  # reductions that add up the parts of an item; the others average them


def per_item_loss(loss_func: Loss, preds: Any, targets: Any) -> Tensor:
    """The loss of each item, shape (N,), from raw outputs `preds` (N, ...) and `targets` (N, ...).

    A loss with a `reduction`, torch's, a functional or a custom one, is called once for unreduced values. What is left
    beyond the items (pixels, outputs) is averaged per item, or added up if the loss itself adds up ("sum",
    "batchmean"); targets equal to `ignore_index` do not count. Any other loss is called once per item, with a warning.
    Outputs and targets may be structures of tensors (tuples, dicts).

    So the mean over items is the loss of the batch, except where torch divides by something other than the number of
    elements: with class weights (an item's loss is `weight[target]` times its unweighted loss, a batch is divided by
    the sum of the weights) and with `ignore_index` (a batch is divided by the number of targets that count).

    Raises:
        UsageError: preds and targets of different lengths, or a loss that the model computed itself.

    >>> from torch import nn
    >>> per_item_loss(nn.MSELoss(), torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2)).tolist()
    [5.0, 0.0]
    """
    n = _checked_size(loss_func, preds, targets)
    if not n:
        return torch.zeros(0)
    losses = _unreduced(loss_func, preds, targets, n)
    if losses is None:
        return _one_by_one(loss_func, preds, targets, n)
    return _one_per_item(losses, targets, reduction_of(loss_func), setting(loss_func, "ignore_index"))


def loss_of_items(loss_func: Loss, output: Callable[[Any], Any] | None, raw: Any, targets: Any) -> Tensor:
    """`per_item_loss` of the output that `output` picks, in eval mode; modes and buffers of the loss are kept."""
    preds = raw if output is None else output(raw)
    with undisturbed(loss_func), loss_explained(loss_func, preds, targets):
        return per_item_loss(loss_func, preds, targets)


def item_costs(loss_func: Loss, preds: Any, targets: Any) -> tuple[Tensor, Tensor | int]:
    """What each item adds to the loss of its batch, (N,), before the division by the second value.

    Unlike `per_item_loss`, these add up to the loss with class weights and `ignore_index` too.
    """
    n = _checked_size(loss_func, preds, targets)
    weight = divisor(loss_func, targets)
    losses = _unreduced(loss_func, preds, targets, n)
    if losses is None:
        losses = _one_by_one(loss_func, preds, targets, n)
        if not isinstance(weight, Tensor):
            return losses, 1 if weight is None else weight
        weights = torch.stack([torch.as_tensor(divisor(loss_func, cut(targets, i, i + 1, n))) for i in range(n)])
        return torch.where(weights > 0, losses * weights, 0), weight
    parts = losses.reshape(n, -1)
    if not isinstance(weight, int):
        return parts.sum(1), 1 if weight is None else weight
    return parts.sum(1) if reduction_of(loss_func) in _SUMMED else parts.mean(1), n


def is_sum_of_items(loss_func: Loss) -> bool:
    """Whether the loss of a batch is the sum of its `item_costs` by their weight, as for torch's own losses.

    >>> is_sum_of_items(torch.nn.MSELoss()), is_sum_of_items(torch.nn.KLDivLoss(reduction="batchmean"))
    (True, False)
    """
    return is_of_torch(loss_func) and reduction_of(loss_func) in ("mean", "sum")


def _checked_size(loss_func: Loss, preds: Any, targets: Any) -> int:
    """The number of items."""
    if loss_func is from_outputs:
        raise UsageError(
            "loss_func=from_outputs: the model returns one loss per batch, none per item",
            fix="Leave with_loss=, interpretations and MixUp out, or pass a loss_func of outputs and targets.",
        )
    n = count_items(targets)
    if isinstance(preds, Tensor) and len(preds) != n:
        expected = f"as many as outputs, {len(preds)}"
        raise UsageError("per-item loss: the number of targets", got=n, expected=expected)
    return n


def _unreduced(loss_func: Loss, preds: Any, targets: Any, n: int) -> Tensor | None:
    """The losses before they are reduced, (N, ...); None if this loss cannot tell."""
    single = unreduced(loss_func)
    losses: Any = None if single is None else single(preds, targets)
    return losses if isinstance(losses, Tensor) and losses.shape[:1] == (n,) else None


def _one_per_item(losses: Tensor, targets: Any, reduction: str | None, ignore_index: Any) -> Tensor:
    n = len(losses)
    summed = losses.reshape(n, -1).sum(dim=1)
    if reduction in _SUMMED:
        return summed
    parts = losses[0].numel()
    has_one_each = isinstance(targets, Tensor) and targets.numel() == losses.numel()  # (N, H, W) for (N, 1, H, W) too
    if isinstance(ignore_index, int) and has_one_each:
        counted: Tensor = (targets != ignore_index).reshape(n, -1).sum(dim=1)
        return summed / counted.clamp(min=1)  # an item that is ignored altogether has loss 0
    return summed / parts


def _one_by_one(loss_func: Loss, preds: Any, targets: Any, n: int) -> Tensor:
    warn(
        f"{name_of(loss_func)} has no reduction='none', so it is called once per item, which is slow; "
        "add a keyword (for a module, an attribute) `reduction`"
    )
    losses: list[Any] = [loss_func(cut(preds, i, i + 1, n), cut(targets, i, i + 1, n)) for i in range(n)]
    return torch.stack([torch.as_tensor(loss).float().mean() for loss in losses])
