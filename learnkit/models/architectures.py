"""The table of known networks: where each is cut, and where the layer groups of its body begin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from learnkit.checks import nearest
from learnkit.errors import UsageError
from learnkit.models.cut import Cut
from learnkit.models.timm import timm_hint
from learnkit.models.torchvision_bodies import (
    densenet_body,
    features_body,
    inception_body,
    mnasnet_body,
    regnet_body,
    swin_body,
    vit_body,
)

__all__ = ["ARCHITECTURES", "Architecture", "find_architecture", "torchvision_name"]


@dataclass(frozen=True)
class Architecture:
    """A torchvision network; a call builds all of it, including the classifier.

    Args:
        name: the name of the torchvision builder.
        cut: how many children make the body, as in `children[:cut]`, or a function(network) -> body.
        splits: children of the body at which the second, third... layer group begins; the head is one more.
        min_side: height and width in pixels of the smallest image that yields a feature map.
        pooled: the body outputs one value per channel (N, C, 1, 1), so the head has nothing to pool.
    """

    name: str
    cut: Cut
    splits: tuple[int, ...]
    min_side: int = 1
    pooled: bool = False

    def __call__(self, weights: Any = None, **kwargs: Any) -> nn.Module:
        """The torchvision model, with random weights unless `weights` are given."""
        import torchvision

        if weights is None and self.name in _WARN_ABOUT_INIT:
            kwargs = {"init_weights": True} | kwargs
        model: nn.Module = torchvision.models.get_model(self.name, weights=weights, **kwargs)
        return model


_WARN_ABOUT_INIT = {"googlenet", "inception_v3"}  # these two warn unless init_weights is given

# Names, cut, splits, other arguments of Architecture. The splits of resnet, alexnet, vgg with batch norm, squeezenet,
# densenet and mobilenet_v2 are those of fastai 1; the others begin a group at the stage of stride 16, as resnet's does.
_FAMILIES: tuple[tuple[str, Cut, tuple[int, ...], dict[str, Any]], ...] = (
    ("resnet18 resnet34 resnet50 resnet101 resnet152", -2, (6,), {}),
    ("resnext50_32x4d resnext101_32x8d resnext101_64x4d", -2, (6,), {}),
    ("wide_resnet50_2 wide_resnet101_2", -2, (6,), {}),
    ("alexnet", features_body, (6,), {"min_side": 63}),
    ("vgg11", features_body, (10,), {"min_side": 32}),
    ("vgg13", features_body, (14,), {"min_side": 32}),
    ("vgg16", features_body, (16,), {"min_side": 32}),
    ("vgg19", features_body, (18,), {"min_side": 32}),
    ("vgg13_bn", features_body, (20,), {"min_side": 32}),
    ("vgg11_bn vgg16_bn vgg19_bn", features_body, (22,), {"min_side": 32}),
    ("squeezenet1_0", features_body, (5, 8), {"min_side": 21}),
    ("squeezenet1_1", features_body, (5, 8), {"min_side": 17}),
    ("densenet121 densenet161 densenet169 densenet201", densenet_body, (7,), {"min_side": 29}),
    ("googlenet", inception_body, (9,), {"min_side": 15}),
    ("inception_v3", inception_body, (11,), {"min_side": 75}),
    ("shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0", -1, (3,), {}),
    ("mobilenet_v2", features_body, (10,), {}),
    ("mobilenet_v3_small", features_body, (4,), {}),
    ("mobilenet_v3_large", features_body, (7,), {}),
    ("mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3", mnasnet_body, (10,), {}),
    ("efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3", features_body, (4,), {}),
    ("efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7", features_body, (4,), {}),
    ("efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l", features_body, (4,), {}),
    ("convnext_tiny convnext_small convnext_base convnext_large", features_body, (4,), {"min_side": 32}),
    ("regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf", regnet_body, (3,), {}),
    ("regnet_x_8gf regnet_x_16gf regnet_x_32gf", regnet_body, (3,), {}),
    ("regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf", regnet_body, (3,), {}),
    ("regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf", regnet_body, (3,), {}),
    ("swin_t swin_s swin_b", swin_body, (4,), {"min_side": 4}),
    ("swin_v2_t swin_v2_s swin_v2_b", swin_body, (4,), {"min_side": 4}),
    ("vit_b_16", vit_body, (7,), {"min_side": 16, "pooled": True}),  # half of the 12, 24 and 32 layers of the encoder
    ("vit_b_32", vit_body, (7,), {"min_side": 32, "pooled": True}),
    ("vit_l_16", vit_body, (13,), {"min_side": 16, "pooled": True}),
    ("vit_l_32", vit_body, (13,), {"min_side": 32, "pooled": True}),
    ("vit_h_14", vit_body, (17,), {"min_side": 14, "pooled": True}),
)

ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(name, cut, splits, **more) for names, cut, splits, more in _FAMILIES for name in names.split()
}


def find_architecture(base_arch: Architecture | str | Callable[..., Any]) -> Architecture:
    """The architecture of `base_arch`: itself, a name, or a builder of torchvision (`torchvision.models.resnet18`).

    Raises:
        UsageError: not in the table; the message lists the nearest names.

    >>> find_architecture("resnet34").cut
    -2
    """
    if isinstance(base_arch, Architecture):
        return base_arch
    name = base_arch if isinstance(base_arch, str) else torchvision_name(base_arch)
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if name is None:
        raise UsageError(
            "base_arch",
            got=base_arch,
            expected="an architecture, its name or a torchvision builder",
            fix="Pass for example learnkit.models.resnet18.",
        )
    raise UsageError(
        "base_arch",
        got=name,
        expected="a known architecture",
        fix=f"Nearest: {nearest(name, ARCHITECTURES)}. {timm_hint(name) or 'Pass any other network as an nn.Module.'}",
    )


def torchvision_name(base_arch: object) -> str | None:
    """The name of this network in torchvision, None if it is not one of torchvision's builders."""
    if isinstance(base_arch, Architecture):
        return base_arch.name
    module = getattr(base_arch, "__module__", None) or ""
    # A class of torchvision (torchvision.models.ResNet) is not a builder, and neither is a user-defined `resnet18`.
    if isinstance(base_arch, type | nn.Module) or not module.startswith("torchvision.models"):
        return None
    return getattr(base_arch, "__name__", None)
