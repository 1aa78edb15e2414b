"""Gradients of all that an optimizer trains: multiplied, clipped."""

from torch import Tensor, _foreach_mul_, nn
from torch.optim import Optimizer

__all__ = ["clip_gradients", "multiply_gradients"]


def multiply_gradients(optimizer: Optimizer, factor: Tensor | float) -> None:
    """Multiply every gradient by a number, in place."""
    if gradients := [p.grad for p in _parameters(optimizer) if p.grad is not None]:
        _foreach_mul_(gradients, factor)


def clip_gradients(
    optimizer: Optimizer, model: nn.Module, max_norm: float | None, norm_type: float, max_value: float | None
) -> None:
    """Scale the gradients down to a norm of all together, then cut each number to a value; None for neither."""
    if max_norm is None and max_value is None:
        return
    parameters = {id(p): p for p in (*model.parameters(), *_parameters(optimizer))}.values()  # those of the loss last
    if max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
