"""Train and eval mode, restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["eval_mode", "preserve_modes", "together", "undisturbed"]


class eval_mode:  # noqa: N801  # a context manager, as torch.no_grad is; as a generator it would take twice as long
    """Eval mode and no gradients inside; each module's own mode is restored."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._training = _in_training_mode(self._model)
        if self._training:
            self._model.eval()
        self._records = torch.is_grad_enabled()
        torch.set_grad_enabled(False)

    def __exit__(self, *error: object) -> None:
        torch.set_grad_enabled(self._records)
        for module in self._training:
            module.training = True


def _in_training_mode(model: nn.Module) -> list[nn.Module]:
    """Its modules in training mode; `model.modules()` takes three times as long to walk over them."""
    training, reached = [], [model]
    for module in reached:
        if module.training:
            training.append(module)
        reached += [child for child in module._modules.values() if child is not None]
    return training


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
    """Eval mode and no gradients inside; modes and buffers are restored. Does nothing for what is not a module."""
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
