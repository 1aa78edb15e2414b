"""Known and custom networks: the body cut from each, and its weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from learnkit.checks import is_int
from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name
from learnkit.models.cut import Cut, create_body
from learnkit.models.pretrained import Weights, find_weights, load_body, plain_names
from learnkit.models.pretrained_cfg import get_pretrained_cfg
from learnkit.models.stem import adapt_planes, first_conv, set_in_chans
from learnkit.models.timm import (
    PREFIX,
    TimmNetwork,
    converted,
    create_timm,
    group_starts,
    is_timm_name,
    timm_config,
    timm_state,
)
from learnkit.models.torchvision_bodies import resized_positions

__all__ = ["Backbone", "BaseArch", "find_backbone", "load_pretrained"]

BaseArch: TypeAlias = Architecture | str | nn.Module | Callable[..., Any]


@dataclass(frozen=True)
class Backbone:
    """A whole network, the body cut from it, and what is known about the two."""

    module: nn.Module
    body: nn.Module
    starts: list[nn.Module]  # layers at which the second, third... group of the body begins
    name: str | None = None  # of its published weights; None for a custom network
    pooled: bool = False  # the features are (N, C, 1, 1)
    image_size: tuple[int, int] | None = None  # (height, width) that the body accepts
    timm: TimmNetwork | None = None

    @property
    def label(self) -> str:
        """The name in error messages."""
        return self.name or type(self.module).__name__


def find_backbone(base_arch: BaseArch, cut: Cut | None, in_chans: int, image_size: tuple[int, int] | None) -> Backbone:
    """The whole network and the body for these fields of a `BackboneSpec`."""
    if isinstance(base_arch, str) and is_timm_name(base_arch):
        return _timm_backbone(base_arch, cut, in_chans, image_size)
    if isinstance(base_arch, nn.Module):
        return Backbone(base_arch, create_body(base_arch, cut), [], image_size=image_size)
    name = torchvision_name(base_arch)
    if isinstance(base_arch, Architecture | str) or name in ARCHITECTURES or not callable(base_arch):
        return _torchvision_backbone(find_architecture(base_arch), cut, image_size)
    module = base_arch()
    if not isinstance(module, nn.Module):
        raise UsageError(
            "base_arch", got=module, expected="a function that returns an nn.Module", fix="Return the whole network."
        )
    return Backbone(module, create_body(module, cut), [], name, image_size=image_size)


def _torchvision_backbone(known: Architecture, cut: Cut | None, image_size: tuple[int, int] | None) -> Backbone:
    if cut is None and image_size is not None and min(image_size) < known.min_side:
        raise UsageError(
            f"{known.name}: images of {image_size[0]} x {image_size[1]} pixels are too small, it needs "
            f"at least {known.min_side} x {known.min_side}",
            fix=f"Make the data with size={get_pretrained_cfg(known).size}, that of its published weights.",
        )
    module = known()
    body = create_body(module, known.cut if cut is None else cut)
    has_starts = cut is None or (is_int(cut) and is_int(known.cut))
    layers = list(body.children()) if has_starts else []
    starts = [layers[split] for split in known.splits if split < len(layers)]
    return Backbone(module, body, starts, known.name, known.pooled and cut is None, image_size)


def _timm_backbone(base_arch: str, cut: Cut | None, in_chans: int, image_size: tuple[int, int] | None) -> Backbone:
    known = create_timm(base_arch, in_chans, image_size)
    name = f"{PREFIX}{known.name}"
    if cut is not None:
        return Backbone(known.module, create_body(known.module, cut), [], name, image_size=known.image_size, timm=known)
    return Backbone(known.module, known.body, group_starts(known.module), name, known.pooled, known.image_size, known)


def load_pretrained(backbone: Backbone, in_chans: int, weights: Weights | None) -> None:
    """Load `weights` into the body, and adapt its first convolution to `in_chans` channels."""
    module, body = backbone.module, backbone.body
    is_trained = backbone.name is None  # a custom network comes with its weights
    if weights is not None:
        state = _adapted(backbone, _state(backbone, in_chans, weights))
        stem = first_conv(body)
        key = next((f"{path}.weight" for path, layer in module.named_modules() if layer is stem), "")
        if key in state and stem is not None:
            planes = state[key].shape[1]
            if planes == in_chans:  # the weights were trained on such images
                set_in_chans(body, in_chans, keep_weights=False)
            elif planes == 3 and stem.in_channels == in_chans and stem.groups == 1:  # timm builds its networks for them
                state[key] = adapt_planes(state[key], in_chans)
        load_body(module, body, state, backbone.label)
        is_trained = True
    set_in_chans(body, in_chans, keep_weights=is_trained)


def _state(backbone: Backbone, in_chans: int, weights: Weights) -> dict[str, Tensor]:
    """The tensors of `weights`, under the names of the network."""
    is_tag = isinstance(weights, str) and backbone.timm is not None and not Path(weights).suffix
    if is_tag and backbone.timm is not None:
        return timm_state(backbone.timm, "" if weights == "DEFAULT" else str(weights), in_chans)
    name = backbone.name if backbone.timm is None else None  # torchvision has no weights for networks of timm
    return plain_names(find_weights(weights, name), backbone.module)


def _adapted(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` without timm's classifier, which the network lacks, and with positions resized to its patches."""
    if backbone.timm is not None:
        layers = timm_config(f"{PREFIX}{backbone.timm.name}").classifier
        prefixes = tuple(f"{layer}." for layer in ([layers] if isinstance(layers, str) else layers or ()))
        known = backbone.module.state_dict()
        state = {key: tensor for key, tensor in state.items() if key in known or not key.startswith(prefixes)}
        return converted(backbone.module, state)
    key = "encoder.pos_embedding"
    if backbone.pooled and key in state:
        n_patches = backbone.module.get_parameter(key).shape[1] - 1
        side = round(n_patches**0.5)
        state = state | {key: resized_positions(state[key], side, side)}
    return state
