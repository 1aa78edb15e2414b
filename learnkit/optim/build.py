"""The optimizer of a model and its loss: built over the layer groups, and compared with the model before a fit."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from learnkit.errors import UsageError
from learnkit.optim.fused import is_sparse, match_state
from learnkit.optim.groups import parameter_groups, undecayed
from learnkit.optim.optimizers import OptimizerFactory, make_optimizer

__all__ = ["build_optimizer", "held_by", "holds_trained", "own_parameters"]

MAX_NAMED = 5  # parameters in an error


def build_optimizer(
    opt_func: str | OptimizerFactory,
    model: nn.Module,
    groups: Sequence[nn.Module],
    loss: object,
    *,
    lr: float,
    decay_norm_and_bias: bool = False,
) -> Optimizer:
    """An optimizer over the layer groups of a model and the parameters of its loss.

    Args:
        opt_func: as `make_optimizer`.
        model: the whole network.
        groups: its layer groups.
        loss: the loss; its parameters, if any, have the rate of the last group.
        lr: the initial rate.
        decay_norm_and_bias: decay parameters of one dimension too.

    Raises:
        UsageError: as `make_optimizer`; a parameter that wants gradients and is in no group that `opt_func` made, or
            one of another model.
    """
    extra = own_parameters(model, loss)
    if not any(True for _ in model.parameters()):
        raise UsageError("the model has no parameters, so there is nothing to train")
    layered = parameter_groups(
        groups, extra, decay_norm_and_bias=decay_norm_and_bias, undecayed=undecayed(model)
    )  # fmt: skip
    optimizer = make_optimizer(opt_func, layered, lr, sparse=is_sparse(model))
    held = held_by(optimizer)
    if added := [parameter for parameter in extra if id(parameter) not in held]:
        settings = {key: value for key, value in optimizer.param_groups[-1].items() if key not in ("params", "names")}
        optimizer.add_param_group({**settings, "params": added})
    _check_members(optimizer, model, extra)
    match_state(optimizer)
    return optimizer


def own_parameters(model: nn.Module, loss: object) -> list[nn.Parameter]:
    """The parameters of a loss that are not the model's."""
    if not isinstance(loss, nn.Module):
        return []
    known = {id(parameter) for parameter in model.parameters()}
    return [parameter for parameter in loss.parameters() if id(parameter) not in known]


def holds_trained(optimizer: Optimizer, model: nn.Module, loss: object) -> bool:
    """Whether an optimizer holds what trains now, and nothing that was replaced."""
    parameters = [*model.parameters(), *own_parameters(model, loss)]
    held = held_by(optimizer)
    return held <= {id(p) for p in parameters} and held >= {id(p) for p in parameters if p.requires_grad}


def held_by(optimizer: Optimizer) -> set[int]:
    """The ids of the parameters that an optimizer holds."""
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def _check_members(optimizer: Optimizer, model: nn.Module, extra: Sequence[nn.Parameter]) -> None:
    names: dict[int, Any] = {id(parameter): name for name, parameter in model.named_parameters()}
    held = held_by(optimizer)
    trained = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    if held - names.keys() - {id(parameter) for parameter in extra}:
        raise UsageError(
            "opt_func returned an optimizer over parameters of another model, or that were replaced",
            fix="Use the parameter groups that it is called with.",
        )
    if missing := [names[key] for key in trained if key not in held]:
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise UsageError(
            "opt_func: parameters that want gradients are in none of its groups: "
            f"{', '.join(missing[:MAX_NAMED])}{more}",
            fix="Add them to one, or freeze them with requires_grad_(False).",
        )
