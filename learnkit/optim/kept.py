"""What optimizers keep of their steps, by parameter and in their groups: carried over, reset and loaded together."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from learnkit.optim.build import held_by
from learnkit.optim.fused import IMPLEMENTATION, load_state, match_state

__all__ = ["SETTINGS", "AsMade", "carry_over", "load_kept"]

SETTINGS = ("lr", "weight_decay", "momentum", "betas", "layer_group", "decays", "is_own")  # what a fit sets
SCHEDULERS = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum")  # what those of torch add for a fit
NOT_KEPT = {*SETTINGS, "lr_scale", *SCHEDULERS, *IMPLEMENTATION}  # lr_scale: timm's factor of a layer
MEMBERS = {"params", "param_names"}


@dataclass(frozen=True)
class AsMade:
    """What an optimizer keeps before its first step: Adagrad has a state then, Lookahead a count in its groups.

    Attributes:
        states: of its parameters, as `_states`.
        groups: what each group has beside the settings of a fit.
    """

    states: list[dict[Tensor, dict[str, Any]]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, optimizer: Optimizer) -> "AsMade":
        """Copies of what an optimizer keeps now."""
        states = [{parameter: _copied(kept) for parameter, kept in state.items()} for state in _states(optimizer)]
        return cls(states, [_kept(group) for group in optimizer.param_groups])

    def reset(self, optimizer: Optimizer) -> None:
        """Let the optimizer forget its steps; its settings stay. Groups that are not known here are as they were."""
        for state in _states(optimizer):
            state.clear()
        for state, made in zip(_states(optimizer), self.states, strict=False):
            state.update({parameter: _copied(kept) for parameter, kept in made.items()})
        for group, kept in zip(optimizer.param_groups, self.groups, strict=False):
            _set_kept(group, kept)
        match_state(optimizer)


def carry_over(before: Optimizer | None, optimizer: Optimizer) -> None:
    """Let parameters that are in both optimizers keep their state, and their groups what is counted for them.

    A group of several that were apart goes on as that of its first parameter, also for parameters that are new in it.
    """
    if before is None or type(before) is not type(optimizer):
        return
    group_of = {id(parameter): group for group in before.param_groups for parameter in group["params"]}
    for group in optimizer.param_groups:
        known = [group_of[id(parameter)] for parameter in group["params"] if id(parameter) in group_of]
        if known:
            _set_kept(group, known[0])
    held = held_by(optimizer)
    for old, new in zip(_states(before), _states(optimizer), strict=False):
        new.update({parameter: kept for parameter, kept in old.items() if id(parameter) in held})
    match_state(optimizer)


def load_kept(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load a state dict, but for the settings of a fit: those of a running one stay.

    Raises:
        ValueError, KeyError: as `load_state`.
    """
    own = [{name: group[name] for name in NOT_KEPT if name in group} for group in optimizer.param_groups]
    load_state(optimizer, saved)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        kept = {name: value for name, value in group.items() if name not in NOT_KEPT}
        group.clear()
        group.update(kept | settings)


def _states(optimizer: Optimizer) -> list[dict[Tensor, dict[str, Any]]]:
    """The state of the parameters; of a wrapper, as timm's Lookahead, also that in the optimizer that it wraps."""
    wrapped = [
        value
        for value in vars(optimizer).values()
        if isinstance(value, Optimizer) and value.param_groups is optimizer.param_groups
    ]
    return [optimizer.state, *(state for inner in wrapped for state in _states(inner))]


def _kept(group: dict[str, Any]) -> dict[str, Any]:
    """A copy: a count that is a tensor is stepped in place."""
    return _copied({name: value for name, value in group.items() if name not in NOT_KEPT | MEMBERS})


def _set_kept(group: dict[str, Any], source: dict[str, Any]) -> None:
    for name in group.keys() - NOT_KEPT - MEMBERS:
        del group[name]
    group.update(_kept(source))


def _copied(kept: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in kept.items()}
