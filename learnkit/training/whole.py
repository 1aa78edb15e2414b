"""The model and the optimizer of a sharded fit with all their weights: what files hold, and what the fit leaves."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.distributed.parallel import spread_buffers
from learnkit.distributed.sharded import is_shared_out, placed, whole
from learnkit.errors import UsageError
from learnkit.optim.build import held_by
from learnkit.optim.fused import IMPLEMENTATION, load_state
from learnkit.training.weights import extra_state, set_extra_state, set_tensors, tensors_of
from learnkit.tree import map_tensors

__all__ = ["Whole"]


class Whole:
    """A model and its optimizer beside those that are sharded, and what brings each pair up to date with the other.

    Every process holds both pairs and must call the same methods; the whole ones may be on another device.

    Args:
        model: the whole network.
        optimizer: of that model.
        sharded: a copy of the model, sharded.
        of_sharded: an optimizer of the sharded model, made as the other one.

    Raises:
        UsageError: optimizers over different groups of parameters.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, sharded: nn.Module, of_sharded: Optimizer) -> None:
        self.model: nn.Module = model
        self.optimizer: Optimizer = optimizer
        self._sharded, self._of_sharded = sharded, of_sharded
        _add_groups(optimizer, model, of_sharded, sharded)
        if [set(names) for names in _names(optimizer, model)] != [set(names) for names in _names(of_sharded, sharded)]:
            raise UsageError(
                "opt_func makes other groups of a copy of the model", expected="the same parameters in the same groups",
                fix="Let it depend on nothing but the groups that it is called with.",
            )  # fmt: skip

    def join_groups(self) -> None:
        """Add the groups to the whole optimizer that a callback has added to the sharded one."""
        _add_groups(self._of_sharded, self._sharded, self.optimizer, self.model)

    def gather(self) -> None:
        """Bring the whole model and its optimizer up to date with the sharded ones."""
        self.join_groups()
        spread_buffers(self._sharded)
        _copy_model(self._sharded, self.model)
        _copy_optimizer(self._of_sharded, self._sharded, self.optimizer, self.model)

    def share_out(self, *, with_optimizer: bool = True) -> None:
        """Bring the sharded model and its optimizer up to date with the whole ones."""
        _copy_model(self.model, self._sharded)
        if with_optimizer:
            _copy_optimizer(self.optimizer, self.model, self._of_sharded, self._sharded)


def _copy_model(source: nn.Module, target: nn.Module) -> None:
    """Weights, which of them are trained, what modules keep besides, and their modes."""
    set_tensors(target, {name: whole(tensor) for name, tensor in tensors_of(source).items()})
    set_extra_state(target, extra_state(source))
    for own, other in zip(target.parameters(), source.parameters(), strict=True):
        own.requires_grad_(other.requires_grad)
    for module, same in zip(target.modules(), source.modules(), strict=True):
        module.training = same.training


def _copy_optimizer(source: Optimizer, of_source: nn.Module, target: Optimizer, of_target: nn.Module) -> None:
    """The state of each parameter and the settings of each group, but how steps are computed."""
    numbers = {name: number for number, name in enumerate(_flat(_names(source, of_source)))}
    parameters = [parameter for group in target.param_groups for parameter in group["params"]]
    saved, own = source.state_dict(), target.state_dict()["param_groups"]
    state: dict[int, Any] = {}
    for number, (name, parameter) in enumerate(zip(_flat(_names(target, of_target)), parameters, strict=True)):
        if numbers[name] in saved["state"]:
            state[number] = _state_for(parameter, saved["state"][numbers[name]])
    groups = [
        {**settings, "params": group["params"]} for settings, group in zip(saved["param_groups"], own, strict=True)
    ]
    load_state(target, {"state": state, "param_groups": groups})


def _add_groups(source: Optimizer, of_source: nn.Module, target: Optimizer, of_target: nn.Module) -> None:
    """Add the last groups that one optimizer has more than the other, of the other's model; how it steps is its own."""
    named, n = dict(of_target.named_parameters()), len(target.param_groups)
    for group, names in list(zip(source.param_groups, _names(source, of_source), strict=True))[n:]:
        settings = {name: value for name, value in group.items() if name not in IMPLEMENTATION}
        own = [named.get(name, parameter) for name, parameter in zip(names, group["params"], strict=True)]
        if held_by(target).isdisjoint(map(id, own)):
            target.add_param_group({**settings, "params": own})


def _state_for(parameter: Tensor, state: Any) -> Any:
    """A copy of what an optimizer keeps of a parameter, shared out as the parameter is."""

    def placed_like(tensor: Tensor) -> Tensor:
        value = whole(tensor) if is_shared_out(tensor) else tensor.clone()
        return placed(value, parameter) if value.shape == parameter.shape else value

    return map_tensors(placed_like, state)


def _names(optimizer: Optimizer, model: nn.Module) -> list[list[str]]:
    """The name of each parameter in each group; those of a loss, which both optimizers hold, have a number."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names.get(id(p), str(id(p))) for p in group["params"]] for group in optimizer.param_groups]


def _flat(names: list[list[str]]) -> list[str]:
    return [name for group in names for name in group]
