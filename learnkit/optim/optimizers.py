"""Optimizers: torch's own, by name or through any factory, and the hyper-parameters learnkit sets on them."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer

from learnkit.checks import nearest
from learnkit.errors import UsageError

__all__ = [
    "OPTIMIZERS",
    "OptimizerFactory",
    "Settings",
    "make_optimizer",
    "momentum_of",
    "set_decay",
    "set_learning_rates",
    "set_momentum",
]

OptimizerFactory: TypeAlias = Callable[..., Optimizer]

# adamw: Loshchilov, Hutter: Decoupled weight decay regularization, 2019, with moments for fast training;
# the others are torch's classes with torch's defaults.
OPTIMIZERS: dict[str, OptimizerFactory] = {
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5),
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


def make_optimizer(opt_func: str | OptimizerFactory, groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """The optimizer over these parameter groups.

    Args:
        opt_func: a name in OPTIMIZERS, or a factory called with the groups (and `lr=` if it takes one).
        groups: the result of `parameter_groups`.
        lr: the initial rate; every fit sets its own.

    Raises:
        UsageError: no parameters, an unknown name, or a factory that does not return a torch optimizer.
    """
    if not groups:
        raise UsageError("the model has no parameters, so there is nothing to train")
    if isinstance(opt_func, str):
        if opt_func.lower() not in OPTIMIZERS:
            raise UsageError("opt_func", got=opt_func, expected=f"one of {nearest(opt_func, OPTIMIZERS)}, or a factory")
        factory = OPTIMIZERS[opt_func.lower()]
    elif callable(opt_func):
        factory = opt_func
    else:
        raise UsageError("opt_func", got=opt_func, expected="a name like 'adamw', or a factory of torch optimizers")
    optimizer = factory(groups, lr=lr) if _takes_lr(factory) else factory(groups)
    if not isinstance(optimizer, Optimizer):
        raise UsageError("opt_func", got=optimizer, expected="a factory that returns a torch.optim.Optimizer")
    return optimizer


def _takes_lr(factory: OptimizerFactory) -> bool:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return True
    return "lr" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


class Settings:
    """The hyper-parameters an optimizer was made with, to start every fit from the same ones."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]

    def restore(self, optimizer: Optimizer) -> None:
        """Undo what a schedule changed, so that it does not leak into the next fit."""
        for group, settings in zip(optimizer.param_groups, self._groups, strict=True):
            group.update(settings)


def set_learning_rates(optimizer: Optimizer, rates: Sequence[float]) -> None:
    """Set the rate of each torch group to that of its layer group."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["layer_group"]]


def set_decay(optimizer: Optimizer, decays: Sequence[float]) -> None:
    """Set the weight decay of each torch group to that of its layer group, or to 0 if it does not decay."""
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = decays[group["layer_group"]] if group["decays"] else 0.0


def momentum_of(optimizer: Optimizer) -> float | None:
    """The momentum of the last group: `momentum`, or the first of Adam's `betas`; None if there is neither."""
    group = optimizer.param_groups[-1]
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def set_momentum(optimizer: Optimizer, value: float) -> None:
    """Set every group's `momentum`, or the first of its `betas`."""
    for group in optimizer.param_groups:
        if "momentum" in group:
            group["momentum"] = value
        elif "betas" in group:
            group["betas"] = (value, *group["betas"][1:])
