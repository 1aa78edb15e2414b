"""Lazy layers (nn.LazyLinear and the like), which take their shape from the first input."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from learnkit.errors import UsageError
from learnkit.modes import eval_mode

__all__ = ["initialize_lazy"]


def initialize_lazy(model: nn.Module, input_shape: tuple[int, ...] | None, device: torch.device) -> None:
    """Give lazy layers their shapes, by a forward pass of zeros in eval mode; other models are not run.

    Args:
        model: moved to the device if it has lazy layers.
        input_shape: of one input, without the batch; None if unknown.
        device: where to run it.

    Raises:
        UsageError: lazy layers, and an unknown shape.
    """
    if not any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        return
    if input_shape is None:
        raise UsageError(
            "the model has lazy layers, and the shape of an input is unknown",
            fix="Run one batch through the model before you pass it.",
        )
    with eval_mode(model.to(device)):
        model(torch.zeros(2, *input_shape, device=device))
