"""The state of an optimizer in a file of weights: with its class, and compared before it is loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from learnkit.text import name_of

__all__ = ["check_optimizer_state", "is_optimizer_state", "optimizer_state"]

CLASS = "class"


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """The state dict of an optimizer, and the name of its class."""
    return {**optimizer.state_dict(), CLASS: name_of(optimizer)}


def is_optimizer_state(content: object) -> bool:
    """Whether this has the form of the state dict of an optimizer."""
    if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
        return False
    groups = content.get("param_groups")
    if not isinstance(groups, list):
        return False
    return all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)


def check_optimizer_state(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Refuse the state of another optimizer, or of one over other parameters.

    Raises:
        ValueError: naming both optimizers, or what differs.
    """
    written, own = saved.get(CLASS), name_of(optimizer)
    keys, own_keys = (_setting_names(groups) for groups in (saved["param_groups"], optimizer.param_groups))
    if written is not None and written != own:
        raise ValueError(f"it is that of {written}, and the learner's is {own}")
    if written is None and ("betas" in keys) != ("betas" in own_keys):
        raise ValueError(f"it is that of another optimizer than {own}, with the settings {', '.join(sorted(keys))}")
    numbered = [number for group in saved["param_groups"] for number in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parameter in zip(numbered, parameters, strict=False):
        for name, value in saved["state"].get(number, {}).items():
            if isinstance(value, Tensor) and value.ndim and not _broadcasts(value.shape, parameter.shape):
                raise ValueError(f"{name} {tuple(value.shape)} there, for a parameter {tuple(parameter.shape)} here")


def _setting_names(groups: Sequence[Mapping[str, Any]]) -> set[str]:
    return {name for group in groups for name in group if name != "params"}


def _broadcasts(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a state has the shape of its parameter, or that of a row or column of it, or another number of axes."""
    return len(shape) != len(wanted) or all(n in (m, 1) for n, m in zip(shape, wanted, strict=True))
