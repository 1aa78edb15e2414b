"""Fused steps of torch's optimizers: one kernel for all parameters, and state in the layout that it needs."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = [
    "IMPLEMENTATION",
    "expect_momentum",
    "is_sparse",
    "load_state",
    "match_gradients",
    "match_state",
    "takes_fused_steps",
]

# Classes with fused steps, and whether these exist beyond the CPU; subclasses may step in another way.
CLASSES: dict[type[Optimizer], bool] = {
    torch.optim.Adam: True,
    torch.optim.AdamW: True,
    torch.optim.SGD: True,
    torch.optim.Adagrad: False,
}
CHOSEN = ("fused", "foreach", "capturable", "differentiable", "dampening")  # keywords that decide it, or rule it out
IMPLEMENTATION = ("fused", "foreach", "capturable", "differentiable")  # settings that say how a step is computed
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by number of axes


def takes_fused_steps(factory: object, parameters: Iterable[Tensor]) -> bool:
    """Whether to pass `fused=True` to this factory: one of torch's classes, or a partial that leaves it open.

    Every parameter must be a plain float tensor on a device that the class supports, in one block of memory: on the CPU
    fused steps walk through the memory of parameter, gradient and state side by side.

    >>> takes_fused_steps(torch.optim.AdamW, [nn.Parameter(torch.zeros(2))])
    True
    >>> takes_fused_steps(partial(torch.optim.AdamW, foreach=True), [nn.Parameter(torch.zeros(2))])
    False
    """
    given = factory.keywords if isinstance(factory, partial) else {}
    made = factory.func if isinstance(factory, partial) else factory
    if not isinstance(made, type) or made not in CLASSES or any(name in given for name in CHOSEN):
        return False
    return all(_fits(parameter) and (parameter.is_cpu or CLASSES[made]) for parameter in parameters)


def _fits(parameter: Tensor) -> bool:
    is_plain = type(parameter) in (Tensor, nn.Parameter) and parameter.is_floating_point()
    return is_plain and (parameter.is_cpu or parameter.is_cuda) and _is_one_block(parameter)


def _is_one_block(parameter: Tensor) -> bool:
    layout = LAYOUTS.get(parameter.ndim)
    return parameter.is_contiguous() or (layout is not None and parameter.is_contiguous(memory_format=layout))


def is_sparse(model: nn.Module) -> bool:
    """Whether a layer has sparse gradients, as `nn.Embedding(sparse=True)`: fused steps refuse them."""
    return any(getattr(module, "sparse", False) is True for module in model.modules())


def match_state(optimizer: Optimizer) -> None:
    """Bring the state of fused steps to the layout of its parameters, as it may be from a file or from before.

    Otherwise such a step would mix up the numbers, without an error.
    """
    for group in optimizer.param_groups:
        if group.get("fused"):
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                state.update({name: _matched(name, value, parameter) for name, value in state.items()})
    expect_momentum(optimizer)


def _matched(name: str, value: Any, parameter: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    if name == "step":
        return value.to(parameter.device, torch.float32)
    if value.shape == parameter.shape and value.stride() != parameter.stride():
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return value


@torch.no_grad()
def match_gradients(optimizer: Optimizer) -> None:
    """Bring gradients that were replaced to the layout of their parameters: those of autograd have it."""
    for group in optimizer.param_groups:
        if group.get("fused"):
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None and not gradient.is_sparse and gradient.stride() != parameter.stride():
                    parameter.grad = torch.empty_like(parameter).copy_(gradient)


def expect_momentum(optimizer: Optimizer) -> None:
    """Let parameters of SGD with momentum have their first gradient later than others in their group.

    torch's fused steps begin all momenta of a group together, and fail for those that come later.
    """
    has_momentum = any(group.get("fused") and group.get("momentum") for group in optimizer.param_groups)
    if has_momentum and _begin_momentum not in optimizer._optimizer_step_pre_hooks.values():
        optimizer.register_step_pre_hook(_begin_momentum)


def _begin_momentum(optimizer: Optimizer, args: object, kwargs: object) -> None:
    """Momentum at rest for parameters with a first gradient: without dampening, the same as to begin with it."""
    for group in optimizer.param_groups:
        if group.get("fused") and group["momentum"]:
            for parameter in group["params"]:
                if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def load_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load a state dict; how steps are computed stays as it is here, and the state is adapted to it.

    Raises:
        ValueError, KeyError: torch's, for other parameter groups.
    """
    kept = [
        {**group, **{name: own[name] for name in IMPLEMENTATION if name in own and name in group}}
        for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=False)
    ]
    rest = saved["param_groups"][len(kept) :]  # more groups than here: torch's error names it
    optimizer.load_state_dict({**saved, "param_groups": [*kept, *rest]})
    match_state(optimizer)
