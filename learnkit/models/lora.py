"""LoRA (Hu et al. 2021): low-rank matrices that are trained beside the frozen layers of a body, and back into them.

The layers are those of PEFT, which is imported only here, as that takes seconds: `pip install learnkit[lora]`.
"""

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from learnkit.checks import missing_extra
from learnkit.errors import UsageError, warn
from learnkit.models.cut import count_features
from learnkit.models.groups import group_numbers, regrouped
from learnkit.models.stem import first_conv

__all__ = ["add_lora", "has_peft_layers", "lora_layers", "merge_adapters", "name_without_adapter"]

SCALE = 2  # alpha / rank, as Biderman et al. (LoRA learns less and forgets less, 2024) recommend
BASE_LAYER = ".base_layer."  # PEFT's name for the layer beside an adapter


def lora_layers(body: nn.Module, in_chans: int, name: str, size: tuple[int, int] | None) -> list[str]:
    """The names of the layers of a body that LoRA adapts: linear ones and ungrouped convolutions, except the first.

    A layer that the network never calls, because it reads its weights instead, is left as it is: an adapter beside it
    would have no effect. So is one of a subclass, which may compute something else from its weights.

    Args:
        body: takes images (N, C, H, W).
        in_chans: C, for a body without a convolution.
        name: of the network, for errors.
        size: (height, width) of images to try first.

    Raises:
        UsageError: no such layer, or the body does not run.

    Warns:
        LearnkitWarning: other linear layers, convolutions and attention that stay as they are.
    """
    stem = first_conv(body)
    layers = {path: layer for path, layer in body.named_modules() if layer is not stem and _multiplies(layer)}
    called: set[str] = set()

    def note(path: str) -> Any:
        return lambda *_: called.add(path)

    hooks = [layer.register_forward_hook(note(path)) for path, layer in layers.items()]
    try:
        count_features(body, in_chans if stem is None else stem.in_channels, name=name, size=size)
    finally:
        for hook in hooks:
            hook.remove()
    adapted = [path for path, layer in layers.items() if path in called and type(layer) in (nn.Linear, nn.Conv2d)]
    if not adapted:
        raise UsageError(
            f"lora: {name} has no linear layer and no ungrouped convolution after its first that can be adapted",
            fix="Leave lora= out, or choose another network.",
        )
    others = [path for path in layers if path not in adapted]
    if others and not any(parameter.is_meta for parameter in body.parameters()):
        warn(
            f"lora: {len(others)} layers of {name} have no adapters, as it reads their weights or they are of another "
            f"kind: {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}"
        )
    return adapted


def _multiplies(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.MultiheadAttention) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def add_lora(
    model: nn.Module, groups: Sequence[nn.Module], body: nn.Module, layers: Sequence[str], rank: int
) -> list[nn.Module]:
    """Freeze a body, and add matrices of this rank beside some of its layers, which are trained.

    The second matrix of each pair is zero, so the outputs are as before.

    Args:
        model: the whole network; changed in place.
        groups: its layer groups.
        body: the part of it that is frozen.
        layers: names in the body, from `lora_layers`.
        rank: columns of the first matrix.

    Returns:
        The layer groups with the matrices in them.

    Raises:
        UsageError: PEFT is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise missing_extra("peft", "lora") from error
    numbers = group_numbers(groups, model)
    config = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules="|".join(map(re.escape, layers)))
    inject_adapter_in_model(config, body)
    return regrouped(groups, model, numbers)


def has_peft_layers(model: nn.Module) -> bool:
    """Whether some layers are PEFT's."""
    return any(hasattr(module, "adapter_layer_names") for module in model.modules())


def merge_adapters(model: nn.Module) -> nn.Module:
    """The model with the adapters of PEFT multiplied into the weights, and without their layers; changed in place."""
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import ModulesToSaveWrapper

    if isinstance(model, PeftModel):
        return model.merge_and_unload()  # type: ignore[no-any-return]
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
            elif isinstance(layer, ModulesToSaveWrapper):
                setattr(parent, name, layer.modules_to_save[layer.active_adapters[0]])
            elif isinstance(layer, PeftModel):
                setattr(parent, name, layer.merge_and_unload())
    return model


def name_without_adapter(name: str) -> str:
    """The name of a parameter in the network without adapters.

    >>> name_without_adapter("0.fc.base_layer.weight")
    '0.fc.weight'
    """
    return name.replace(BASE_LAYER, ".")
