"""The tensors of a model: named, copied, and set in place."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.distributed.sharded import placed
from learnkit.gradients import local

__all__ = [
    "EXTRA",
    "WeightsBackup",
    "are_finite",
    "copied",
    "extra_state",
    "set_extra_state",
    "set_tensors",
    "tensors_of",
]

EXTRA = "_extra_state"  # torch's name for what a module keeps besides tensors


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, also those missing from the state dict."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def extra_state(model: nn.Module) -> dict[str, Any]:
    """What modules keep besides tensors (`get_extra_state`), by its name in the state dict."""
    return {
        f"{name}.{EXTRA}" if name else EXTRA: module.get_extra_state()
        for name, module in model.named_modules()
        if type(module).get_extra_state is not nn.Module.get_extra_state
    }


def are_finite(model: nn.Module) -> bool:
    """Whether no number of the parameters that are trained is nan or infinite; reading it waits for the device."""
    trained = [local(parameter.detach()) for parameter in model.parameters() if parameter.requires_grad]
    if not trained or math.isfinite(torch.stack(torch._foreach_norm(trained)).sum()):
        return True
    return bool(torch.stack([parameter.isfinite().all() for parameter in trained]).all())  # a norm may overflow


def set_extra_state(model: nn.Module, values: Mapping[str, Any]) -> None:
    """Set it to copies of what `extra_state` returned."""
    for name, value in values.items():
        model.get_submodule(name.removesuffix(EXTRA).removesuffix(".")).set_extra_state(copy.deepcopy(value))


@torch.no_grad()
def set_tensors(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set parameters and buffers to values, in place; of a sharded one, this process's part.

    A buffer of another shape (one that takes it in the first forward pass), or one whose elements share memory, is
    replaced by a copy of its value. Names without a value are unchanged.
    """
    for name, tensor in tensors_of(model).items():
        value = values.get(name)
        if value is None or tensor is value:
            continue
        if tensor.shape == value.shape and not _shares_memory(tensor):
            tensor.copy_(placed(value, tensor))
        elif tensor.shape != value.shape or not torch.equal(tensor, value.to(tensor.device, tensor.dtype)):
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, value.to(tensor.device, tensor.dtype, copy=True))


def _shares_memory(tensor: Tensor) -> bool:
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, also of a model that holds computed tensors, as weight norm, pruning and stored outputs do."""
    computed = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed if not value.is_leaf})


class WeightsBackup:
    """A copy of a model's parameters, buffers and extra state, to restore them in place."""

    def __init__(self, model: nn.Module) -> None:
        self._copies = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
        self._extra = copy.deepcopy(extra_state(model))

    def restore(self, model: nn.Module) -> None:
        """Set the model to the copy, and drop the gradients."""
        set_tensors(model, self._copies)
        set_extra_state(model, self._extra)
        model.zero_grad(set_to_none=True)
