"""build_cnn and build_unet: a `BackboneSpec` and its network in one call."""

from typing import Any

from torch import nn

from learnkit.models.backbone import BaseArch
from learnkit.models.groups import SplitOn
from learnkit.models.head import Init
from learnkit.models.pretrained import Weights
from learnkit.models.spec import BackboneSpec, BuiltModel

__all__ = ["build_cnn", "build_unet"]


def build_cnn(
    base_arch: BaseArch,
    n_out: int,
    *,
    pretrained: bool = True,
    weights: Weights | None = None,
    custom_head: nn.Module | None = None,
    split_on: SplitOn | None = None,
    init: Init = "kaiming_normal_",
    **shape: Any,
) -> BuiltModel:
    """The body of `base_arch` with a new head for `n_out` outputs, as `cnn_learner` builds it.

    Args:
        base_arch: a name, a builder or a module.
        n_out: outputs.
        pretrained: whether the body has pretrained weights.
        weights: which, if not the default ones.
        custom_head: in place of the usual head, (N, C, H, W) -> (N, n_out).
        split_on: where layer groups begin; None for body and head, the body in two.
        init: how weights of the head are drawn.
        **shape: the further arguments of `BackboneSpec`.
    """
    spec = BackboneSpec(base_arch, n_out, **shape)
    return spec.build(pretrained=pretrained, weights=weights, custom_head=custom_head, split_on=split_on, init=init)


def build_unet(
    base_arch: BaseArch,
    n_out: int,
    *,
    pretrained: bool = True,
    weights: Weights | None = None,
    split_on: SplitOn | None = None,
    **shape: Any,
) -> BuiltModel:
    """A U-Net around the body of `base_arch`; arguments as for `build_cnn`; in_chans, cut, image_size in `shape`."""
    spec = BackboneSpec(base_arch, n_out, "unet", **shape)
    return spec.build(pretrained=pretrained, weights=weights, split_on=split_on)
