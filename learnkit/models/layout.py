"""The memory layout of a network and of what it is given."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.tree import map_tensors

__all__ = ["use_channels_last"]


def use_channels_last(model: nn.Module) -> None:
    """Store the weights of convolutions in channels-last memory format, and convert every image the model is given.

    Raises:
        UsageError: weights of five dimensions, those of volumes, for which torch has another format.
    """
    for name, weight in chain(model.named_parameters(), model.named_buffers()):
        if weight.ndim == 5:
            raise UsageError(
                f"to_channels_last: the weights {name} have the shape {tuple(weight.shape)}",
                expected="a model of images: weights of four dimensions, or fewer",
                fix="Leave it out for volumes.",
            )
    model.to(memory_format=torch.channels_last)
    if _convert not in model._forward_pre_hooks.values():
        model.register_forward_pre_hook(_convert)


def _convert(model: nn.Module, inputs: Any) -> Any:
    return map_tensors(_as_channels_last, inputs)


def _as_channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
