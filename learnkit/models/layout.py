"""The memory layout of a network and of what it is given."""

from typing import Any

import torch
from torch import Tensor, nn

from learnkit.tree import map_tensors

__all__ = ["use_channels_last"]


def use_channels_last(model: nn.Module) -> None:
    """Store the weights of convolutions in channels-last memory format, and convert every image the model is given."""
    model.to(memory_format=torch.channels_last)
    if _convert not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_convert)


def _convert(model: nn.Module, inputs: Any) -> Any:
    return map_tensors(_as_channels_last, inputs)


def _as_channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
