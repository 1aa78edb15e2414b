"""The statistics of batch norm layers, computed again for averaged weights."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from learnkit.modes import preserve_modes

__all__ = ["update_batch_norm"]


@torch.no_grad()
def update_batch_norm(
    model: nn.Module,
    inputs: Iterable[tuple[Any, ...]],
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    *,
    kept: Iterable[nn.Module] = (),
) -> None:
    """Set the statistics of batch norm layers to the plain mean over batches, run through the model in train mode.

    Returns the same result as `torch.optim.swa_utils.update_bn`, but supports several inputs and any precision, does
    not wait for the device once per layer and batch, and restores the settings of the layers after an error too.

    Args:
        model: keeps its modes.
        inputs: one tuple of arguments of the model per batch; not read for a model without batch norm.
        context: returns the context of each forward pass, such as autocast.
        kept: layers whose statistics do not change.
    """
    kept = set(kept)
    momenta = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and module not in kept
    }
    if not momenta:
        return
    calls: Counter[nn.Module] = Counter()

    def set_share(module: Any, inputs: object) -> None:
        calls[module] += 1
        module.momentum = 1 / calls[module]  # the plain mean; for momentum=None torch reads the count from the device

    hooks = [module.register_forward_pre_hook(set_share) for module in momenta]
    try:
        with preserve_modes(model), torch.compiler.set_stance("force_eager"):  # not compiled again for each share
            model.train()
            for module in kept:
                module.eval()
            for module in momenta:
                module.reset_running_stats()
            for batch in inputs:
                with context():
                    model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, momentum in momenta.items():
            module.momentum = momentum
