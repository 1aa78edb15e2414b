"""How a loss reduces: what its mean is divided by, so that batches of any size add up to the loss of the whole set.

The loss of a set is the sum of what its targets cost over the sum of what they weigh. Most losses weigh every item
alike. torch's cross entropy and `NLLLoss` divide by the weights of the targets' classes, and `ignore_index` weighs
nothing. A loss with `reduction="sum"` is not divided at all. A custom loss is taken to be a mean over the items,
unless it has an attribute `reduction = "sum"`, or a method `divisor(targets)` that returns what it divides by. One that
is no mean of its items says so by `per_batch = True`: several processes then validate it on whole batches.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.arguments import unwrapped
from learnkit.tree import count_items, leaves
from learnkit.types import Loss

__all__ = [
    "can_ignore",
    "divisor",
    "divisor_of",
    "empty_as_zero",
    "has_setting",
    "is_of_batches",
    "loss_sums",
    "reduction_of",
    "setting",
    "unreduced",
]

Divisor = Callable[[Any, Any], Tensor | int | None]  # (targets, inputs)
# Parameters of functions seen before: reading a signature takes longer than many a loss.
_KNOWN: WeakKeyDictionary[Loss, Mapping[str, inspect.Parameter]] = WeakKeyDictionary()


def setting(loss_func: Loss, name: str) -> Any:
    """An attribute of a loss, or the value that a function or a partial has for a keyword; None when it has neither."""
    own = getattr(loss_func, name, None)
    if own is not None or isinstance(loss_func, nn.Module):
        return own
    parameter = _parameters(loss_func).get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def has_setting(loss_func: Loss, name: str) -> bool:
    """Whether a loss has this attribute, or a function or a partial this keyword, whatever its value."""
    if hasattr(loss_func, name):
        return True
    return not isinstance(loss_func, nn.Module) and name in _parameters(loss_func)


def reduction_of(loss_func: Loss) -> str | None:
    """The reduction of this loss, such as "mean"; None if it has no such setting."""
    reduction = setting(loss_func, "reduction")
    return reduction if isinstance(reduction, str) else None


def is_of_batches(loss_func: Loss) -> bool:
    """Whether the loss, or one that it is made of, is a number of a whole batch, which those of its parts do not give.

    >>> is_of_batches(nn.CrossEntropyLoss())
    False
    """
    inner = unwrapped(loss_func)
    parts = inner.modules() if isinstance(inner, nn.Module) else (inner,)
    return any(bool(setting(part, "per_batch")) for part in (loss_func, *parts))


def unreduced(loss_func: Loss) -> Loss | None:
    """The same loss with reduction="none"; None if it has no such setting."""
    if reduction_of(loss_func) is None:
        return None
    if isinstance(loss_func, nn.Module) or (not inspect.isroutine(loss_func) and hasattr(loss_func, "reduction")):
        loss_func = copy.copy(loss_func)  # shallow: shares class weights, keeps its own reduction
        loss_func.reduction = "none"
        return loss_func
    return functools.partial(loss_func, reduction="none") if "reduction" in _parameters(loss_func) else None


def divisor(loss_func: Loss, targets: Any, inputs: Any = ()) -> Tensor | int | None:
    """What the loss of a batch is divided by: the number of its items, or what the targets weigh, shape ().

    None for a sum, which is not divided.

    >>> divisor(nn.MSELoss(), torch.zeros(4, 3))
    4
    >>> weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0]), ignore_index=2)
    >>> divisor(weighted, torch.tensor([0, 1, 1, 2])).item()
    11.0
    """
    return divisor_of(loss_func)(targets, inputs)


def divisor_of(loss_func: Loss) -> Divisor:
    """`divisor` of this loss, whose settings are read only once: for many batches."""
    if reduction_of(loss_func) == "sum":
        return lambda targets, inputs: None
    own = getattr(loss_func, "divisor", None)
    if callable(own):
        return lambda targets, inputs: torch.as_tensor(own(targets)).float()
    if not _weighs_classes(loss_func):
        return count_items
    return functools.partial(_class_weights, setting(loss_func, "ignore_index"), setting(loss_func, "weight"))


def _class_weights(ignore_index: int, weight: Tensor | None, targets: Any, inputs: Any) -> Tensor | int:
    if not isinstance(targets, Tensor) or targets.is_floating_point():
        return count_items(targets, inputs)
    classes = targets.long()  # -100 in uint8 is 156
    counted = classes != ignore_index
    if weight is None:
        return counted.count_nonzero()
    return (weight[torch.where(counted, classes, 0)] * counted).sum()


def loss_sums(losses: Sequence[Tensor], divisors: Sequence[Tensor | int | None]) -> tuple[float, float]:
    """What the loss of a set is the ratio of, for some of its batches: both add up over parts of the set.

    Returns:
        What the targets cost, and what they weigh; for sums these are their sum and 1.
    """
    values: list[float] = torch.stack(list(losses)).tolist()
    if any(each is None for each in divisors):
        return sum(values), 1.0
    weights = _read(divisors)
    return sum(value * weight for value, weight in zip(values, weights, strict=True) if weight > 0), sum(weights)


def _read(numbers: Sequence[Any]) -> list[float]:
    """Numbers of which some may be tensors of shape (): one wait for the device."""
    if not any(isinstance(number, Tensor) for number in numbers):
        return list(numbers)
    read: list[float] = torch.stack([torch.as_tensor(number) for number in numbers]).tolist()
    return read


def can_ignore(loss_func: Loss) -> bool:
    """Whether the loss ignores some targets, so that a batch may hold none that counts."""
    index = setting(loss_func, "ignore_index")
    return callable(getattr(loss_func, "divisor", None)) or (_weighs_classes(loss_func) and index != -100)


def empty_as_zero(loss: Tensor, preds: Any, weight: Tensor) -> Tensor:
    """The loss, but 0 and without gradients if its targets weigh nothing: torch's mean of nothing is nan.

    Args:
        loss: of a batch, shape ().
        preds: the outputs it is of.
        weight: the divisor of the loss, shape ().
    """
    for leaf in leaves(preds):
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            leaf.register_hook(lambda gradient: torch.where(weight > 0, gradient, 0))  # type: ignore[no-untyped-call]
    return torch.where(weight > 0, loss, 0)


def _weighs_classes(loss_func: Loss) -> bool:
    """Whether this is torch's cross entropy or negative log likelihood, or a subclass or a partial of it."""
    loss_func = unwrapped(loss_func)
    is_function = loss_func is F.cross_entropy or loss_func is F.nll_loss
    return is_function or isinstance(loss_func, nn.CrossEntropyLoss | nn.NLLLoss)


def _parameters(loss_func: Loss) -> Mapping[str, inspect.Parameter]:
    try:
        return _KNOWN[loss_func]
    except (KeyError, TypeError):  # TypeError: what cannot be referred to weakly
        pass
    try:
        found = inspect.signature(loss_func).parameters
    except (TypeError, ValueError):  # a built-in function without a signature
        found = MappingProxyType({})
    with suppress(TypeError):
        _KNOWN[loss_func] = found
    return found
