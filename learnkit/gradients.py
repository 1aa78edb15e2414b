"""Gradients of all that an optimizer trains: multiplied, clipped, and taken as a step."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["clip_gradients", "divided", "drop_gradients", "local", "multiply_gradients", "reweigh", "take_step"]

# Hooks of every optimizer; torch has functions to register them, and none to ask for them.
OF_ALL: tuple[dict[Any, Any], ...] = tuple(
    vars(sys.modules[Optimizer.__module__]).get(f"_global_optimizer_{when}_hooks", {}) for when in ("pre", "post")
)
OWN = f"{__name__.partition('.')[0]}."


def multiply_gradients(optimizer: Optimizer, factor: Tensor | float) -> None:
    """Multiply every gradient by a number, in place."""
    if gradients := [local(p.grad) for p in _parameters(optimizer) if p.grad is not None]:
        torch._foreach_mul_(gradients, factor)


@contextmanager
def divided(optimizer: Optimizer, scale: Tensor | float) -> Iterator[None]:
    """Inside, the gradients are divided by `scale`, a power of two, so that they are the same again afterwards."""
    multiply_gradients(optimizer, 1 / scale)
    try:
        yield
    finally:
        multiply_gradients(optimizer, scale)


def take_step(optimizer: Optimizer) -> None:
    """What `optimizer.step()` does; fused steps of groups with the same settings are one call instead of one each."""
    groups = optimizer.param_groups
    if len(groups) > 1 and groups[0].get("fused") and not _is_watched(optimizer):
        optimizer.param_groups = _with_alike_joined(groups, optimizer.defaults)
    try:
        optimizer.step()
    finally:
        optimizer.param_groups = groups


def _is_watched(optimizer: Optimizer) -> bool:
    """Whether the groups would be seen: by a hook that is not learnkit's, or by a step that is not torch's."""
    if "step" in vars(optimizer) or not type(optimizer).__module__.startswith("torch."):
        return True
    kinds: tuple[dict[int, Any], ...] = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        *OF_ALL,
    )
    hooks = [hook for registered in kinds if registered for hook in registered.values()]
    return any(not str(getattr(hook, "__module__", "")).startswith(OWN) for hook in hooks)


def _with_alike_joined(groups: list[dict[str, Any]], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """One group for all that have the same settings; the groups themselves do not change."""
    settings_of = itemgetter(*settings)
    joined: dict[Any, dict[str, Any]] = {}
    try:
        for group in groups:
            own = settings_of(group)  # tensors are the same only if they are one object: none is read
            known = joined.get(own)
            joined[own] = group if known is None else {**known, "params": [*known["params"], *group["params"]]}
    except TypeError:  # a list among them
        return groups
    return list(joined.values())


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
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    is_sharded = any(local(gradient) is not gradient for gradient in gradients)
    if max_norm is not None and is_sharded:
        _clip_sharded(gradients, max_norm, norm_type)
    elif max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    if max_value is not None and is_sharded:
        for gradient in gradients:
            local(gradient).clamp_(-max_value, max_value)
    elif max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)


def _clip_sharded(gradients: list[Tensor], max_norm: float, norm_type: float) -> None:
    """torch's `clip_grad_norm_`, which takes no mixture of gradients that are sharded and others."""
    sharded = [gradient for gradient in gradients if local(gradient) is not gradient]
    others = [gradient for gradient in gradients if local(gradient) is gradient]
    norms = [nn.utils.get_total_norm(part, norm_type) for part in (sharded, others) if part]
    norms = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    norm = torch.linalg.vector_norm(torch.stack(norms), norm_type)
    torch._foreach_mul_([local(gradient) for gradient in gradients], (max_norm / (norm + 1e-6)).clamp(max=1.0))


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor (torch's DTensor); any other unchanged."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
