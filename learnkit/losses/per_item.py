"""The loss of each item, from a loss that returns one number for a whole batch."""

import copy
import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.errors import UsageError, warn
from learnkit.types import Loss

__all__ = ["per_item_loss"]

_SUMMED = {"sum", "batchmean"}  # reductions that add up the parts of an item; the others average them


def per_item_loss(loss_func: Loss, preds: Tensor, targets: Tensor) -> Tensor:
    """The loss of each item, shape (N,), from raw outputs `preds` (N, ...) and `targets` (N, ...).

    A loss with a `reduction`, torch's, a functional or a custom one, is called once for unreduced values. What is left
    beyond the items (pixels, outputs) is averaged per item, or added up if the loss itself adds up ("sum",
    "batchmean"); targets equal to `ignore_index` do not count. Any other loss is called once per item, with a warning.

    So the mean over items is the loss of the batch, except where torch divides by something other than the number of
    elements: with class weights (an item's loss is `weight[target]` times its unweighted loss, a batch is divided by
    the sum of the weights) and with `ignore_index` (a batch is divided by the number of targets that count).

    Raises:
        UsageError: preds and targets of different lengths.

    >>> per_item_loss(nn.MSELoss(), torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2)).tolist()
    [5.0, 0.0]
    """
    if len(preds) != len(targets):
        expected = f"as many as outputs, {len(preds)}"
        raise UsageError("per-item loss: the number of targets", got=len(targets), expected=expected)
    if len(preds) == 0:
        return preds.new_zeros(0)
    reduction = _reduction(loss_func)
    if reduction is not None:
        losses = _unreduced(loss_func)(preds, targets)
        if isinstance(losses, Tensor) and losses.shape[:1] == (len(preds),):
            return _one_per_item(losses, targets, reduction, _setting(loss_func, "ignore_index"))
    return _one_by_one(loss_func, preds, targets)


def _reduction(loss_func: Loss) -> str | None:
    """The reduction of this loss; None if it has no such setting."""
    if isinstance(loss_func, nn.Module):
        reduction = getattr(loss_func, "reduction", None)
    else:
        reduction = _setting(loss_func, "reduction")
    return reduction if isinstance(reduction, str) else None


def _setting(loss_func: Loss, name: str) -> Any:
    """An attribute of a module, or the value a function has for a keyword; None when it has neither."""
    if isinstance(loss_func, nn.Module):
        return getattr(loss_func, name, None)
    try:
        parameter = inspect.signature(loss_func).parameters.get(name)
    except ValueError:  # a built-in function without a signature
        return None
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _unreduced(loss_func: Loss) -> Loss:
    if isinstance(loss_func, nn.Module):
        loss_func = copy.copy(loss_func)  # shallow: shares class weights, keeps its own reduction
        loss_func.reduction = "none"  # type: ignore[assignment]
        return loss_func
    return functools.partial(loss_func, reduction="none")


def _one_per_item(losses: Tensor, targets: Tensor, reduction: str, ignore_index: int | None) -> Tensor:
    n = len(losses)
    summed = losses.reshape(n, -1).sum(dim=1)
    if reduction in _SUMMED:
        return summed
    parts = losses[0].numel()
    if isinstance(ignore_index, int) and targets.shape == losses.shape:
        counted = (targets != ignore_index).reshape(n, -1).sum(dim=1)
        return summed / counted.clamp(min=1)  # an item that is ignored altogether has loss 0
    return summed / parts


def _one_by_one(loss_func: Loss, preds: Tensor, targets: Tensor) -> Tensor:
    name = getattr(loss_func, "__name__", type(loss_func).__name__)
    warn(
        f"{name} has no reduction='none', so it is called once per item, which is slow; "
        "add a keyword (for a module, an attribute) `reduction`"
    )
    losses = [loss_func(preds[i : i + 1], targets[i : i + 1]) for i in range(len(preds))]
    return torch.stack([torch.as_tensor(loss, device=preds.device).float().mean() for loss in losses])
