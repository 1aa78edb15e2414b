"""Adapters: small trained layers beside frozen ones, such as LoRA (Hu et al., 2021)."""

import re
from collections.abc import Iterable

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

__all__ = ["held_by_adapters"]

ADAPTER_NAMES = re.compile(r"lora|adapter|ia3", re.IGNORECASE)  # in the names of parameters


def held_by_adapters(model: nn.Module, frozen_here: Iterable[nn.Parameter]) -> set[int]:
    """The ids of the parameters that stay frozen because the model has adapters; empty for a model without.

    In a model with adapters, what is frozen was frozen for them, except what the caller has frozen itself. Adapters are
    layers of PEFT, parameters with "lora", "adapter" or "ia3" in their names, and parameters that wrap a frozen layer.
    If all adapters that PEFT's layers use are frozen, as in a model from a file, that was done by layer group.

    Args:
        model: the whole network.
        frozen_here: parameters that were frozen by layer group.
    """
    own = {id(parameter) for parameter in frozen_here}
    active = _active(model)
    if not any(parameter.requires_grad or id(parameter) in own for parameter in active):
        own |= {id(parameter) for parameter in active}
    held = {id(p) for p in model.parameters() if not p.requires_grad and id(p) not in own}
    return held if held and _has_adapters(model, held) else set()


def _active(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the adapters that PEFT's layers use."""
    found: list[nn.Parameter] = []
    for module in model.modules():
        for name in getattr(module, "adapter_layer_names", ()):
            parts, active = getattr(module, name, None), getattr(module, "active_adapters", None)
            if isinstance(parts, nn.ModuleDict) and isinstance(active, list):
                found += [parameter for key in active if key in parts for parameter in parts[key].parameters()]
            elif isinstance(parts, nn.ParameterDict) and isinstance(active, list):
                found += [parts[key] for key in active if key in parts]
    return found


def _has_adapters(model: nn.Module, held: set[int]) -> bool:
    if any(ADAPTER_NAMES.search(name) and id(p) not in held for name, p in model.named_parameters()):
        return True
    return any(hasattr(m, "adapter_layer_names") or _wraps_frozen(m, held) for m in model.modules())


def _wraps_frozen(module: nn.Module, held: set[int]) -> bool:
    """Whether trained parameters sit beside one frozen layer; or, in a parametrization, above a frozen original."""
    own = [id(p) not in held for p in module.parameters(recurse=False)]
    inner = [id(p) not in held for child in module.children() for p in child.parameters()]
    if isinstance(module, ParametrizationList):
        return bool(own and inner) and not any(own) and any(inner)
    is_layer = all(not list(child.children()) for child in module.children())
    return bool(own and inner) and is_layer and any(own) and not any(inner)
