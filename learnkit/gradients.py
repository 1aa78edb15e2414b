"""Gradients of all that an optimizer trains: multiplied, clipped."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["clip_gradients", "divided", "drop_gradients", "multiply_gradients", "reweigh"]


def multiply_gradients(optimizer: Optimizer, factor: Tensor | float) -> None:
    """Multiply every gradient by a number, in place."""
    if gradients := [p.grad for p in _parameters(optimizer) if p.grad is not None]:
        torch._foreach_mul_(gradients, factor)


@contextmanager
def divided(optimizer: Optimizer, scale: Tensor | float) -> Iterator[None]:
    """Inside, the gradients are divided by `scale`, a power of two, so that they are the same again afterwards."""
    multiply_gradients(optimizer, 1 / scale)
    try:
        yield
    finally:
        multiply_gradients(optimizer, scale)


def drop_gradients(optimizer: Optimizer) -> None:
    """What `optimizer.zero_grad()` does, without torch's records for its profiler, which take longer than the rest."""
    if getattr(optimizer.zero_grad, "__func__", None) is not Optimizer.zero_grad:
        optimizer.zero_grad()  # its own
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def reweigh(optimizer: Optimizer, assumed: float, weight: Tensor | float) -> None:
    """Divide gradients by the weight of their batches, after they were divided by `assumed` before it was known."""
    if isinstance(weight, Tensor):  # not read: the device would have to wait; 0 if no target counted
        multiply_gradients(optimizer, torch.where(weight == 0, 0.0, assumed / weight.float()))
    elif weight not in (0, assumed):
        multiply_gradients(optimizer, assumed / weight)


def clip_gradients(
    optimizer: Optimizer, model: nn.Module, max_norm: float | None, norm_type: float, max_value: float | None
) -> None:
    """Scale the gradients down to a norm of all together, then cut each number to a value; None for neither."""
    parameters = {id(p): p for p in (*model.parameters(), *_parameters(optimizer))}.values()  # those of the loss last
    if max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
