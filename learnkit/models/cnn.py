"""Building a convolutional network: the body of a known one, and a new head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name
from learnkit.models.bodies import resized_positions
from learnkit.models.body import Cut, count_features, create_body
from learnkit.models.groups import SplitOn, split_groups
from learnkit.models.head import Init, create_head
from learnkit.models.preprocessing import preprocessing_of
from learnkit.models.pretrained import Weights, find_weights, load_body, plain_names
from learnkit.models.stem import adapt_planes, check_in_chans, first_conv, set_in_chans
from learnkit.models.timm_models import (
    PREFIX,
    TimmNetwork,
    create_timm,
    group_starts,
    is_timm_name,
    timm_config,
    timm_state,
)

__all__ = ["BaseArch", "Cnn", "build_cnn"]

BaseArch: TypeAlias = Architecture | str | nn.Module | Callable[..., Any]


@dataclass(frozen=True)
class Cnn:
    """A network and its layer groups, from input to head; the groups share the layers of the model."""

    model: nn.Sequential  # body, head: (N, in_chans, H, W) -> (N, n_out)
    groups: list[nn.Module]


def build_cnn(
    base_arch: BaseArch,
    n_out: int,
    *,
    cut: Cut | None = None,
    pretrained: bool = True,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    custom_head: nn.Module | None = None,
    split_on: SplitOn | None = None,
    bn_final: bool = False,
    init: Init = "kaiming_normal_",
    concat_pool: bool = True,
    in_chans: int = 3,
    weights: Weights | None = None,
    image_size: tuple[int, int] | None = None,
) -> Cnn:
    """The body of `base_arch` with a new head for `n_out` outputs.

    Args:
        base_arch: an architecture, its name, "timm/NAME" (or "timm/NAME.TAG") for a network of timm, a torchvision
            builder, an nn.Module (used as it is, not copied; its own weights are kept), or a function without
            arguments that returns one.
        n_out: number of outputs.
        cut: where the body ends, see `create_body`; None is the table's cut.
        pretrained: load the default weights of torchvision or timm; without meaning for an nn.Module of your own.
        lin_ftrs, ps, bn_final, init, concat_pool: the head, see `create_head`.
        custom_head: a head of your own, used as it is, (N, C, H, W) -> (N, n_out).
        split_on: layer groups, see `split_groups`. Known architectures have three (the body in two parts, the head;
            squeezenet has four), others two (body, head).
        in_chans: channels of the images. Other than 3, the first convolution is adapted: pretrained planes are summed
            for 1 channel, else repeated and scaled by 3 / in_chans; from scratch it starts at random.
        weights: a path, a state dict, torchvision weights ("IMAGENET1K_V2") or the tag of timm's ("a1_in1k"); goes
            before `pretrained`.
        image_size: (height, width) of the pictures, for networks that take only some.

    Raises:
        UsageError: an unknown architecture, pictures too small for it, a cut that leaves no features, weights of
            another network, groups that do not hold every parameter exactly once.
        DownloadError: pretrained weights that could not be fetched.
        MissingFileError, CorruptFileError, UnsafeFileError: a file of weights that cannot be used.
    """
    network = _network(base_arch, cut, in_chans, image_size)
    body = network.body
    check_in_chans(body, in_chans)
    head = custom_head
    if head is None:
        stem = first_conv(body)
        n_features = count_features(
            body, in_chans if stem is None else stem.in_channels, name=network.called, size=network.size
        )
        pools = concat_pool and not network.pooled
        head = create_head(n_features, n_out, lin_ftrs=lin_ftrs, ps=ps, concat_pool=pools, bn_final=bn_final, init=init)
    elif not isinstance(head, nn.Module):
        raise UsageError("custom_head", got=head, expected="an nn.Module", fix="Pass for example nn.Sequential(...).")
    model = nn.Sequential(body, head)
    groups = split_groups(model, _default_groups(network, head) if split_on is None else split_on)
    # Last, so that no mistake above is found only after a download.
    if weights is None and pretrained and network.name is not None:
        weights = "DEFAULT"
    _fill(network, in_chans, weights)
    return Cnn(model, groups)


@dataclass(frozen=True)
class _Network:
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
        return self.name or type(self.module).__name__


def _network(base_arch: BaseArch, cut: Cut | None, in_chans: int, image_size: tuple[int, int] | None) -> _Network:
    if isinstance(base_arch, str) and is_timm_name(base_arch):
        return _timm_network(base_arch, cut, in_chans, image_size)
    if isinstance(base_arch, nn.Module):
        return _Network(base_arch, create_body(base_arch, cut), [], size=image_size)
    name = torchvision_name(base_arch)
    if isinstance(base_arch, Architecture | str) or name in ARCHITECTURES or not callable(base_arch):
        return _torchvision_network(find_architecture(base_arch), cut, image_size)
    module = base_arch()
    if not isinstance(module, nn.Module):
        raise UsageError(
            "base_arch", got=module, expected="a function that returns an nn.Module", fix="Return the whole network."
        )
    return _Network(module, create_body(module, cut), [], name, size=image_size)


def _torchvision_network(known: Architecture, cut: Cut | None, image_size: tuple[int, int] | None) -> _Network:
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
    return _Network(module, body, starts, known.name, known.pooled and cut is None, image_size)


def _timm_network(base_arch: str, cut: Cut | None, in_chans: int, image_size: tuple[int, int] | None) -> _Network:
    known = create_timm(base_arch, in_chans, image_size)
    name = f"{PREFIX}{known.name}"
    if cut is not None:
        return _Network(known.module, create_body(known.module, cut), [], name, size=known.side, timm=known)
    return _Network(known.module, known.body, group_starts(known.module), name, known.pooled, known.side, known)


def _default_groups(network: _Network, head: nn.Module) -> list[nn.Module]:
    return [*network.starts, head] if network.starts else [network.body, head]


def _fill(network: _Network, in_chans: int, weights: Weights | None) -> None:
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


def _state(network: _Network, in_chans: int, weights: Weights) -> dict[str, Tensor]:
    """The tensors meant by `weights`, under the names of the network."""
    is_tag = isinstance(weights, str) and network.timm is not None and not Path(weights).suffix
    if is_tag and network.timm is not None:
        return timm_state(network.timm, "" if weights == "DEFAULT" else str(weights), in_chans)
    name = network.name if network.timm is None else None  # torchvision knows nothing of timm's
    return plain_names(find_weights(weights, name), network.module)


def _fitting(network: _Network, state: dict[str, Tensor]) -> dict[str, Tensor]:
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
