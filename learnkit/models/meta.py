"""Networks on the meta device: shapes without memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from learnkit.seeds import preserve_rng

__all__ = ["built_on_meta"]


def built_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` returns, with its weights on the meta device; no random number is drawn."""
    try:
        with preserve_rng(), torch.device("meta"):
            return build()
    except NotImplementedError:  # it reads values of tensors it creates, as regnet does for its widths
        with preserve_rng(), _WeightsOnMeta():
            return build()


class _WeightsOnMeta(TorchFunctionMode):
    """Creates layers' weights on the meta device, but not small computed tensors."""

    _MAKERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = {"device": "meta"} if func in self._MAKERS else {}
        return func(*args, **(kwargs or {}) | place)
