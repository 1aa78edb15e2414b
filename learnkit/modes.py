"""Train and eval mode, restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["eval_mode", "preserve_modes", "together", "undisturbed"]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; each module's own mode is restored."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def preserve_modes(model: nn.Module) -> Iterator[None]:
    """Restore each module's own mode, whatever is set inside."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def undisturbed(module: object) -> Iterator[None]:
    """Eval mode and no gradients inside; modes and buffers are restored. Nothing for what is no module."""
    if not isinstance(module, nn.Module):
        yield
        return
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        with eval_mode(module):
            yield
    finally:
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])


def together(*parts: object) -> nn.Module:
    """Those of the parts that are modules as one module, to keep or set the modes and tensors of all of them."""
    return nn.ModuleList([part for part in parts if isinstance(part, nn.Module)])
