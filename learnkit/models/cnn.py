"""Building a convolutional network: the body of a known one, and a new head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name
from learnkit.models.body import Cut, count_features, create_body
from learnkit.models.groups import SplitOn, split_groups
from learnkit.models.head import Init, create_head
from learnkit.models.pretrained import Weights, find_weights, load_body, plain_names
from learnkit.models.stem import check_in_chans, first_conv, set_in_chans

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
) -> Cnn:
    """The body of `base_arch` with a new head for `n_out` outputs.

    Args:
        base_arch: an architecture, its name, a torchvision builder, an nn.Module (used as it is, not copied; its own
            weights are kept), or a function without arguments that returns one.
        n_out: number of outputs.
        cut: where the body ends, see `create_body`; None is the table's cut.
        pretrained: load torchvision's default weights; without meaning for an nn.Module of your own.
        lin_ftrs, ps, bn_final, init, concat_pool: the head, see `create_head`.
        custom_head: a head of your own, used as it is, (N, C, H, W) -> (N, n_out).
        split_on: layer groups, see `split_groups`. Known architectures have three (the body in two parts, the head),
            others two (body, head).
        in_chans: channels of the images. Other than 3, the first convolution is adapted: pretrained planes are summed
            for 1 channel, else repeated and scaled by 3 / in_chans; from scratch it starts at random.
        weights: a path, a state dict or torchvision weights; goes before `pretrained`.

    Raises:
        UsageError: an unknown architecture, a cut that leaves no features, weights of another network, groups that do
            not hold every parameter exactly once.
        DownloadError: pretrained weights that could not be fetched.
        MissingFileError, CorruptFileError, UnsafeFileError: a file of weights that cannot be used.
    """
    module, architecture, name = _whole_network(base_arch)
    body = create_body(module, cut if cut is not None or architecture is None else architecture.cut)
    check_in_chans(body, in_chans)
    head = custom_head
    if head is None:
        stem = first_conv(body)
        n_features = count_features(body, in_chans if stem is None else stem.in_channels)
        head = create_head(
            n_features, n_out, lin_ftrs=lin_ftrs, ps=ps, concat_pool=concat_pool, bn_final=bn_final, init=init
        )
    elif not isinstance(head, nn.Module):
        raise UsageError("custom_head", got=head, expected="an nn.Module", fix="Pass for example nn.Sequential(...).")
    model = nn.Sequential(body, head)
    groups = split_groups(model, _default_groups(body, head, architecture) if split_on is None else split_on)
    # Last, so that no mistake above is found only after a download.
    if weights is None and pretrained and name is not None:
        weights = "DEFAULT"
    _fill(module, body, in_chans, weights, name)
    return Cnn(model, groups)


def _whole_network(base_arch: BaseArch) -> tuple[nn.Module, Architecture | None, str | None]:
    """The network to cut, its row of the table, and what torchvision calls it."""
    if isinstance(base_arch, nn.Module):
        return base_arch, None, None
    name = torchvision_name(base_arch)
    if isinstance(base_arch, Architecture | str) or name in ARCHITECTURES or not callable(base_arch):
        architecture = find_architecture(base_arch)
        return architecture(), architecture, architecture.name
    module = base_arch()
    if not isinstance(module, nn.Module):
        raise UsageError(
            "base_arch", got=module, expected="a function that returns an nn.Module", fix="Return the whole network."
        )
    return module, None, name


def _default_groups(body: nn.Module, head: nn.Module, architecture: Architecture | None) -> list[nn.Module]:
    layers = list(body.children())
    if architecture is None or len(layers) <= architecture.split:
        return [body, head]
    return [layers[architecture.split], head]  # where the second and the third group begin


def _fill(module: nn.Module, body: nn.Module, in_chans: int, weights: Weights | None, name: str | None) -> None:
    """Load `weights` into `body`, cut from `module`, and make it take `in_chans` channels."""
    is_trained = name is None  # a network of the user's own comes with its weights
    if weights is not None:
        state = plain_names(find_weights(weights, name), module)
        stem = first_conv(body)
        key = next((f"{path}.weight" for path, layer in module.named_modules() if layer is stem), "")
        if key in state and state[key].shape[1:2] == (in_chans,):  # trained on such images already
            set_in_chans(body, in_chans, keep_weights=False)
        load_body(module, body, state, name or type(module).__name__)
        is_trained = True
    set_in_chans(body, in_chans, keep_weights=is_trained)
