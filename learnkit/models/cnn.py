"""Building a convolutional network: the body of a known one, and a new head."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from learnkit.errors import UsageError
from learnkit.models.backbone import BaseArch, Network, fill_network, find_network
from learnkit.models.cut import Cut, count_features
from learnkit.models.groups import SplitOn, split_groups
from learnkit.models.head import Init, create_head
from learnkit.models.pretrained import Weights
from learnkit.models.stem import check_in_chans, first_conv

__all__ = ["Cnn", "build_cnn"]


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
    network = find_network(base_arch, cut, in_chans, image_size)
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
    fill_network(network, in_chans, weights)
    return Cnn(model, groups)


def _default_groups(network: Network, head: nn.Module) -> list[nn.Module]:
    return [*network.starts, head] if network.starts else [network.body, head]
