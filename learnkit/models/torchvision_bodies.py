"""The body of each family of torchvision: the layers whose output is the feature map that its classifier pools.

What a network computes in its `forward` and not in a layer (a ReLU, a permutation, a class token) becomes a layer here,
so that the body outputs exactly what the classifier was trained on. Layers are shared, never copied.
"""

import torch
from torch import Tensor, nn

__all__ = [
    "ClassToken",
    "ImageTokens",
    "ScaleInput",
    "densenet_body",
    "features_body",
    "inception_body",
    "mnasnet_body",
    "regnet_body",
    "resized_positions",
    "swin_body",
    "vit_body",
]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_NOT_IN_THE_BODY = {"AuxLogits", "aux1", "aux2", "avgpool", "dropout", "fc"}


def features_body(network: nn.Module) -> nn.Module:
    """`features`, of alexnet, vgg, squeezenet, mobilenet, efficientnet and convnext."""
    return network.get_submodule("features")


def mnasnet_body(network: nn.Module) -> nn.Module:
    """`layers` of mnasnet."""
    return network.get_submodule("layers")


def densenet_body(network: nn.Module) -> nn.Module:
    """`features` of densenet, and the ReLU that its `forward` applies to them."""
    return nn.Sequential(*network.get_submodule("features").children(), nn.ReLU())


def regnet_body(network: nn.Module) -> nn.Module:
    """The stem of regnet and its four blocks."""
    return nn.Sequential(network.get_submodule("stem"), *network.get_submodule("trunk_output").children())


def swin_body(network: nn.Module) -> nn.Module:
    """The stages of swin, their norm, and the permutation (N, H, W, C) -> (N, C, H, W)."""
    names = ("norm", "permute")
    return nn.Sequential(*network.get_submodule("features").children(), *map(network.get_submodule, names))


def inception_body(network: nn.Module) -> nn.Module:
    """All of googlenet or inception_v3 except the auxiliary heads and the classifier."""
    children = [child for name, child in network.named_children() if name not in _NOT_IN_THE_BODY]
    return nn.Sequential(ScaleInput(), *children)


def vit_body(network: nn.Module) -> nn.Module:
    """A vision transformer: patches to tokens, the encoder's layers, and the class token as features (N, C, 1, 1)."""
    encoder = network.get_submodule("encoder")
    layers = encoder.get_submodule("layers").children()
    return nn.Sequential(ImageTokens(network), *layers, encoder.get_submodule("ln"), ClassToken())


class ScaleInput(nn.Module):
    """From ImageNet's mean and std to a mean and std of 0.5, which googlenet and inception_v3 expect.

    torchvision's networks do this in `forward` when they are built with weights (`transform_input`), so data for them
    is normalized as for any other network. Images of other than 3 channels are scaled by the mean over the channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in zip(("mean", "std"), _IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (self.mean, self.std) if x.shape[1] == 3 else (self.mean.mean(), self.std.mean())
        return x * (std / 0.5) + (mean - 0.5) / 0.5


class ImageTokens(nn.Module):
    """The first part of torchvision's VisionTransformer: images (N, channels, H, W) to tokens (N, 1 + patches, C).

    The class token comes first. For image sizes other than that of the network, the positions are resized.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        encoder = network.get_submodule("encoder")
        self.conv_proj: nn.Module = network.get_submodule("conv_proj")
        self.class_token: nn.Parameter = network.get_parameter("class_token")
        self.pos_embedding: nn.Parameter = encoder.get_parameter("pos_embedding")
        self.dropout: nn.Module = encoder.get_submodule("dropout")

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x)
        height, width = patches.shape[2:]
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + resized_positions(self.pos_embedding, height, width)
        return self.dropout(tokens)  # type: ignore[no-any-return]


class ClassToken(nn.Module):
    """The first token as features: (N, tokens, C) -> (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, :, None, None]


def resized_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """Positions (1, 1 + side * side, C) of a square of patches for height x width of them: (1, 1 + height * width, C).

    That of the class token, the first, does not change; the others are interpolated (Dosovitskiy et al. 2020, 3.2).
    """
    n_patches = positions.shape[1] - 1
    side = round(n_patches**0.5)
    if (height, width) == (side, side):
        return positions
    grid = positions[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
    grid = nn.functional.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
