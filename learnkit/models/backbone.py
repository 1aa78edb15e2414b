"""Known networks and those of the user: the body cut from each, and its weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name
from learnkit.models.cut import Cut, create_body
from learnkit.models.pretrained import Weights, find_weights, load_body, plain_names
from learnkit.models.pretrained_cfg import preprocessing_of
from learnkit.models.stem import adapt_planes, first_conv, set_in_chans
from learnkit.models.timm import (
    PREFIX,
    TimmNetwork,
    create_timm,
    group_starts,
    is_timm_name,
    timm_config,
    timm_state,
)
from learnkit.models.torchvision_bodies import resized_positions

__all__ = ["BaseArch", "Network", "fill_network", "find_network"]

BaseArch: TypeAlias = Architecture | str | nn.Module | Callable[..., Any]


@dataclass(frozen=True)
class Network:
    """A whole network, the body cut from it, and what is known of the two."""

    module: nn.Module
    body: nn.Module
    starts: list[nn.Module]  # layers at which the second, third... group of the body begins
    name: str | None = None  # under which published weights are found
    pooled: bool = False  # the features are (N, C, 1, 1)
    size: tuple[int, int] | None = None  # (height, width) that the body takes
    timm: TimmNetwork | None = None

    @property
    def called(self) -> str:
        """What an error calls it."""
        return self.name or type(self.module).__name__


def find_network(base_arch: BaseArch, cut: Cut | None, in_chans: int, image_size: tuple[int, int] | None) -> Network:
    """The whole network and the body that `build_cnn`'s arguments of these names mean."""
    if isinstance(base_arch, str) and is_timm_name(base_arch):
        return _timm_network(base_arch, cut, in_chans, image_size)
    if isinstance(base_arch, nn.Module):
        return Network(base_arch, create_body(base_arch, cut), [], size=image_size)
    name = torchvision_name(base_arch)
    if isinstance(base_arch, Architecture | str) or name in ARCHITECTURES or not callable(base_arch):
        return _torchvision_network(find_architecture(base_arch), cut, image_size)
    module = base_arch()
    if not isinstance(module, nn.Module):
        raise UsageError(
            "base_arch", got=module, expected="a function that returns an nn.Module", fix="Return the whole network."
        )
    return Network(module, create_body(module, cut), [], name, size=image_size)


def _torchvision_network(known: Architecture, cut: Cut | None, image_size: tuple[int, int] | None) -> Network:
    if cut is None and image_size is not None and min(image_size) < known.min_side:
        raise UsageError(
            f"{known.name}: pictures of {image_size[0]} x {image_size[1]} pixels are too small, it takes "
            f"{known.min_side} x {known.min_side} or more",
            fix=f"Make the data with size={preprocessing_of(known).size}, as its published weights were trained.",
        )
    module = known()
    body = create_body(module, known.cut if cut is None else cut)
    has_starts = cut is None or (isinstance(cut, int) and isinstance(known.cut, int))
    layers = list(body.children()) if has_starts else []
    starts = [layers[split] for split in known.splits if split < len(layers)]
    return Network(module, body, starts, known.name, known.pooled and cut is None, image_size)


def _timm_network(base_arch: str, cut: Cut | None, in_chans: int, image_size: tuple[int, int] | None) -> Network:
    known = create_timm(base_arch, in_chans, image_size)
    name = f"{PREFIX}{known.name}"
    if cut is not None:
        return Network(known.module, create_body(known.module, cut), [], name, size=known.side, timm=known)
    return Network(known.module, known.body, group_starts(known.module), name, known.pooled, known.side, known)


def fill_network(network: Network, in_chans: int, weights: Weights | None) -> None:
    """Load `weights` into the body, and make it take `in_chans` channels."""
    module, body = network.module, network.body
    is_trained = network.name is None  # a network of the user's own comes with its weights
    if weights is not None:
        state = _fitting(network, _state(network, in_chans, weights))
        stem = first_conv(body)
        key = next((f"{path}.weight" for path, layer in module.named_modules() if layer is stem), "")
        if key in state and stem is not None:
            planes = state[key].shape[1]
            if planes == in_chans:  # trained on such images already
                set_in_chans(body, in_chans, keep_weights=False)
            elif planes == 3 and stem.in_channels == in_chans and stem.groups == 1:  # timm's is built for them
                state[key] = adapt_planes(state[key], in_chans)
        load_body(module, body, state, network.called)
        is_trained = True
    set_in_chans(body, in_chans, keep_weights=is_trained)


def _state(network: Network, in_chans: int, weights: Weights) -> dict[str, Tensor]:
    """The tensors meant by `weights`, under the names of the network."""
    is_tag = isinstance(weights, str) and network.timm is not None and not Path(weights).suffix
    if is_tag and network.timm is not None:
        return timm_state(network.timm, "" if weights == "DEFAULT" else str(weights), in_chans)
    name = network.name if network.timm is None else None  # torchvision knows nothing of timm's
    return plain_names(find_weights(weights, name), network.module)


def _fitting(network: Network, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` without timm's classifier, which the network does not have, and with positions for its own patches."""
    if network.timm is not None:
        layers = timm_config(f"{PREFIX}{network.timm.name}").classifier
        prefixes = tuple(f"{layer}." for layer in ([layers] if isinstance(layers, str) else layers or ()))
        known = network.module.state_dict()
        return {key: tensor for key, tensor in state.items() if key in known or not key.startswith(prefixes)}
    key = "encoder.pos_embedding"
    if network.pooled and key in state:
        n_patches = network.module.get_parameter(key).shape[1] - 1
        side = round(n_patches**0.5)
        state = state | {key: resized_positions(state[key], side, side)}
    return state
