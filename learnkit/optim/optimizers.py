"""Optimizers: torch's own, by name or through any factory, and the hyper-parameters learnkit sets on them."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer

from learnkit.checks import nearest
from learnkit.errors import UsageError
from learnkit.optim.fused import expect_momentum, takes_fused_steps
from learnkit.text import name_of

__all__ = [
    "OPTIMIZERS",
    "OptimizerFactory",
    "decay_of",
    "factory_of",
    "last_group",
    "layered_groups",
    "make_optimizer",
    "momentum_of",
    "passes_rate",
    "set_decay",
    "set_learning_rates",
    "set_momentum",
]

OptimizerFactory: TypeAlias = Callable[..., Optimizer]

# adamw: Loshchilov, Hutter: Decoupled weight decay regularization, 2019, with moments for fast training;
# the others are torch's classes with torch's defaults: without weight decay.
OPTIMIZERS: dict[str, OptimizerFactory] = {
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01),
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
BAD_FACTORY = (ValueError, TypeError, AssertionError, NotImplementedError, RuntimeError)  # of torch's constructors


def make_optimizer(
    opt_func: str | OptimizerFactory, groups: list[dict[str, Any]], lr: float, *, sparse: bool = False
) -> Optimizer:
    """The optimizer over these parameter groups, or over groups that a factory makes itself.

    Each of its parameter groups has a number, `layer_group`, that rates are set by, and whether it `decays`: those of
    `parameter_groups`; a factory's own groups (`is_own`) are numbered in order, and those without weight decay beside
    others with some do not decay.

    Args:
        opt_func: a name in OPTIMIZERS, or a factory called with the groups (and `lr=` if it takes one).
        groups: the result of `parameter_groups`.
        lr: the initial rate; every fit sets its own.
        sparse: whether some gradients are sparse. Otherwise torch's own classes take fused steps where they can, see
            `takes_fused_steps`.

    Raises:
        UsageError: no parameters, an unknown name, a factory that fails or does not return a torch optimizer, or an
            optimizer whose steps need a closure, or that has no rate.
    """
    if not groups:
        raise UsageError("the model has no parameters, so there is nothing to train")
    factory = factory_of(opt_func)
    made_by = factory.func if isinstance(factory, partial) else factory
    if isinstance(made_by, type) and issubclass(made_by, Optimizer):
        _check_steps(made_by)
    is_fused = not sparse and takes_fused_steps(factory, [p for group in groups for p in group["params"]])
    settings: dict[str, Any] = {"fused": True} if is_fused else {}
    if passes_rate(factory):
        settings["lr"] = lr
    try:
        optimizer = factory(groups, **settings)
    except BAD_FACTORY as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"opt_func: {name_of(factory)} cannot be made over the parameters of this model ({error})",
            fix="opt_func is called with a list of parameter groups, and with lr= if it takes it.",
        ) from error
    if not isinstance(optimizer, Optimizer):
        raise UsageError("opt_func", got=optimizer, expected="a factory that returns a torch.optim.Optimizer")
    if any(float(state.get("step", 1)) for state in optimizer.state.values()):  # Adagrad begins with states of step 0
        raise UsageError(
            f"opt_func returned a {name_of(optimizer)} that has trained before", fix="Make a new one in each call."
        )
    _check_steps(type(optimizer))
    if _fails_without_closure(optimizer):
        raise _closure_error(name_of(optimizer))
    if not all("lr" in group for group in optimizer.param_groups):
        raise UsageError(
            f"opt_func: {name_of(optimizer)} has groups without a rate, which every fit sets",
            fix="Add lr to the defaults of the optimizer.",
        )
    if not all("layer_group" in group for group in optimizer.param_groups):
        some_decay = any(group.get("weight_decay") for group in optimizer.param_groups)
        for number, group in enumerate(optimizer.param_groups):
            group["layer_group"] = number
            group["decays"] = not some_decay or bool(group.get("weight_decay"))
            group["is_own"] = True
    return optimizer


def factory_of(opt_func: object) -> OptimizerFactory:
    """The factory of a name, or the one passed.

    Raises:
        UsageError: an unknown name, or something that is not a factory.
    """
    if isinstance(opt_func, str):
        if opt_func.lower() not in OPTIMIZERS:
            raise UsageError("opt_func", got=opt_func, expected=f"one of {nearest(opt_func, OPTIMIZERS)}, or a factory")
        return OPTIMIZERS[opt_func.lower()]
    if isinstance(opt_func, Optimizer):
        raise UsageError(
            "opt_func", got=f"an optimizer that is already made, {name_of(opt_func)}",
            expected="a function that makes one",
            fix="Pass functools.partial(torch.optim.SGD, momentum=0.9), or a function of the parameter groups.",
        )  # fmt: skip
    if callable(opt_func):
        return opt_func
    raise UsageError("opt_func", got=opt_func, expected="a name like 'adamw', or a factory of torch optimizers")


def passes_rate(opt_func: str | OptimizerFactory) -> bool:
    """Whether a factory is called with `lr=`: it takes one, and no functools.partial fixes it."""
    factory = factory_of(opt_func)
    if isinstance(factory, partial) and "lr" in factory.keywords:
        return False
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return True
    return "lr" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _check_steps(kind: type[Optimizer]) -> None:
    """Refuse a class whose `step` works only with a closure, as that of LBFGS and SAM."""
    closure = inspect.signature(kind.step).parameters.get("closure")
    is_sam = hasattr(kind, "first_step") and hasattr(kind, "second_step")  # the usual one
    if is_sam or (closure is not None and closure.default is closure.empty):
        raise _closure_error(kind.__name__)


def _closure_error(name: str) -> UsageError:
    return UsageError(
        f"opt_func: a step of {name} computes the loss several times (by a closure), and fit computes it once",
        fix="Use an optimizer whose step() needs no closure, such as 'adamw'.",
    )


def _fails_without_closure(optimizer: Optimizer) -> bool:
    """Whether only with a closure another optimizer of this class takes a step."""
    if type(optimizer).__module__.partition(".")[0] in ("torch", "timm"):
        return False
    return not _takes_step(optimizer) and _takes_step(optimizer, lambda: torch.zeros(()))


def _takes_step(like: Optimizer, *closure: Any) -> bool:
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    try:
        type(like)([parameter], **like.defaults).step(*closure)
    except Exception:  # of any class of optimizers
        return False
    return True


def layered_groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The torch groups that fits and schedules set: those the optimizer was made with.

    One that a callback adds (`state.optimizer.add_param_group`) keeps its rate, decay and momentum in every fit.
    """
    groups: list[dict[str, Any]] = optimizer.param_groups
    return [group for group in groups if "layer_group" in group] or groups  # none in an optimizer made elsewhere


def last_group(optimizer: Optimizer) -> dict[str, Any]:
    """The torch group whose settings stand for the optimizer: the last of `layered_groups`; asked for in each step."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    return next((group for group in reversed(groups) if "layer_group" in group), groups[-1])


def set_learning_rates(optimizer: Optimizer, rates: Sequence[float]) -> None:
    """Set the rate of each torch group to that of its layer group."""
    for group in layered_groups(optimizer):
        group["lr"] = rates[group["layer_group"]]


def set_decay(optimizer: Optimizer, decays: Sequence[float] | None) -> None:
    """Set the weight decay of each torch group to that of its layer group, or to 0 if it does not decay.

    None leaves those that decay as they are.
    """
    for group in layered_groups(optimizer):
        if "weight_decay" in group and not group["decays"]:
            group["weight_decay"] = 0.0
        elif "weight_decay" in group and decays is not None:
            group["weight_decay"] = decays[group["layer_group"]]


def decay_of(optimizer: Optimizer) -> float | list[float]:
    """The weight decay of the groups that decay: one number if it is the same for all, else one per group."""
    decays = [group.get("weight_decay", 0.0) for group in layered_groups(optimizer) if group["decays"]]
    return decays if len(set(decays)) > 1 else (decays or [0.0])[0]


def momentum_of(optimizer: Optimizer) -> float | None:
    """The momentum of the last group: `momentum`, or the first of Adam's `betas`; None if there is neither."""
    group = last_group(optimizer)
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def set_momentum(optimizer: Optimizer, value: float) -> None:
    """Set every group's `momentum`, or the first of its `betas`."""
    for group in layered_groups(optimizer):
        if "momentum" in group:
            if value and not group["momentum"]:
                _add_buffers(optimizer, group["params"])
                group["momentum"] = value
                expect_momentum(optimizer)
            group["momentum"] = value
        elif "betas" in group:
            group["betas"] = (value, *group["betas"][1:])


def _add_buffers(optimizer: Optimizer, parameters: Sequence[torch.Tensor]) -> None:
    """Momentum at rest for parameters that were stepped without: RMSprop does not expect that it begins later."""
    for parameter in parameters:
        if state := optimizer.state.get(parameter):
            state.setdefault("momentum_buffer", torch.zeros_like(parameter))
