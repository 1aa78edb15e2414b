"""The weights beside adapters, which an export can leave out where they can be had again: which, and from where."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from learnkit.models.pretrained_cfg import published_name
from learnkit.models.spec import BackboneSpec
from learnkit.models.stem import first_conv

__all__ = ["OWN", "RANDOM", "BaseWeights", "frozen_layers", "source_of"]

OWN = ""  # a file or state dict of the user's
RANDOM = None  # drawn when the network was built: there is no other copy
LAYERS = (nn.Linear, _ConvNd, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class BaseWeights:
    """The frozen weights of a network with adapters, as they were before training.

    Attributes:
        source: the name of the published weights; `OWN` for the user's, `RANDOM` for none.
        digests: the SHA-256 of each tensor, by its name in the network.
    """

    source: str | None
    digests: Mapping[str, str]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], source: str | None) -> Self:
        """These tensors, by their names in the network."""
        return cls(source, {name: _sha256(tensor) for name, tensor in tensors.items()})

    def unchanged(self, state: Mapping[str, Any]) -> list[str]:
        """The names of the tensors of a state dict that are what they were."""
        return [name for name, digest in self.digests.items() if name in state and _sha256(state[name]) == digest]


def frozen_layers(model: nn.Module) -> dict[str, Tensor]:
    """The frozen parameters of layers, by name, as they were loaded.

    Without what is computed from the published weights, perhaps with other last bits elsewhere: positions, which are
    resized to the images, and a first convolution for other than 3 channels.
    """
    stem = first_conv(model)
    return {
        f"{path}.{name}": parameter
        for path, layer in model.named_modules()
        if isinstance(layer, LAYERS) and not (layer is stem and stem.in_channels != 3)
        for name, parameter in layer.named_parameters(recurse=False)
        if not parameter.requires_grad
    }


def source_of(spec: BackboneSpec, *, pretrained: bool, weights: Any) -> str | None:
    """Where the weights of a network come from: the name of published ones, `OWN` or `RANDOM`.

    Args:
        spec: the network.
        pretrained, weights: as passed to `BackboneSpec.build`.
    """
    if weights is None and not pretrained:
        return RANDOM
    return published_name(spec.base_arch, weights) or OWN


def _sha256(tensor: Tensor) -> str:
    values = tensor.detach().cpu().contiguous()
    return hashlib.sha256(values.reshape(-1).view(torch.uint8).numpy().data).hexdigest()
