"""How images were preprocessed for the published weights of a network: mean, std, size and interpolation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name
from learnkit.models.timm import is_timm_name, timm_config

__all__ = ["PretrainedCfg", "get_pretrained_cfg", "has_pretrained_cfg", "published_name"]

_TOLERANCE = 0.02  # of pixels in [0, 1]: statistics of two samples of ImageNet differ by less


class PretrainedCfg(NamedTuple):
    """The preprocessing of the images that weights were trained on."""

    mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
    std: tuple[float, ...]
    size: int  # pixels, height and width
    interpolation: str  # "bilinear", "bicubic"

    @property
    def options(self) -> dict[str, Any]:
        """The keywords of a bunch with this preprocessing.

        `ImageDataBunch.from_folder("pets", **get_pretrained_cfg("resnet50").options)`
        """
        return {"size": self.size, "normalize": (self.mean, self.std), "interpolation": self.interpolation}

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std for images of this many channels: for other than 3, the means over the three."""
        if channels == len(self.mean):
            return self.mean, self.std
        mean, std = (round(sum(values) / len(values), 4) for values in (self.mean, self.std))
        return (mean,) * channels, (std,) * channels

    def agrees(self, mean: Sequence[float], std: Sequence[float]) -> bool:
        """Whether data with this mean and std (one value per channel) is normalized as the weights expect."""
        given, expected = [*mean, *std], [value for values in self.statistics(len(mean)) for value in values]
        return all(abs(one - other) <= _TOLERANCE for one, other in zip(given, expected, strict=True))


def has_pretrained_cfg(base_arch: object) -> bool:
    """Whether this is a network with published weights, not a custom one."""
    if isinstance(base_arch, str | Architecture):
        return True
    return torchvision_name(base_arch) in ARCHITECTURES


def get_pretrained_cfg(base_arch: Architecture | str | Callable[..., Any], weights: Any = None) -> PretrainedCfg:
    """How images must be preprocessed for the published weights of a network.

    Args:
        base_arch: an architecture, its name, a torchvision builder, or "timm/NAME".
        weights: which of its weights: a torchvision entry or its name, a tag of timm; the default ones for None and
            for a file or state dict, which do not record it.

    Raises:
        UsageError: an unknown network, weights that it does not have.

    >>> get_pretrained_cfg("resnet18")
    PretrainedCfg(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=224, interpolation='bilinear')
    """
    if isinstance(base_arch, str) and is_timm_name(base_arch):
        config = timm_config(base_arch, _tag(weights))
        if config is None:
            raise UsageError("base_arch", got=base_arch, expected="a network for which timm records the preprocessing")
        return PretrainedCfg(tuple(config.mean), tuple(config.std), config.input_size[-1], str(config.interpolation))
    if isinstance(base_arch, nn.Module):
        raise UsageError("base_arch", got=type(base_arch).__name__, expected="a network with published weights")
    transforms = _entry(find_architecture(base_arch).name, weights).transforms()
    interpolation = transforms.interpolation.value
    return PretrainedCfg(tuple(transforms.mean), tuple(transforms.std), transforms.crop_size[0], interpolation)


def published_name(base_arch: Any, weights: Any) -> str:
    """The name by which these weights of a network can be fetched again: a tag of timm, an entry of torchvision.

    Args:
        base_arch: a network with published weights.
        weights: as for `BackboneSpec.build`; None for its default ones.

    Returns:
        The name, "" for a file or a state dict.
    """
    if isinstance(base_arch, str) and is_timm_name(base_arch):
        if weights is not None and not _is_tag(weights):
            return ""
        config = timm_config(base_arch, _tag(weights))
        return "" if config is None else str(config.tag)
    entry = _named_entry(find_architecture(base_arch).name, "DEFAULT" if weights is None else weights)
    return "" if entry is None else str(entry.name)


def _is_tag(weights: Any) -> bool:
    """Whether weights of a network of timm are a tag, not a file."""
    return isinstance(weights, str) and not Path(weights).suffix


def _tag(weights: Any) -> str:
    return weights if _is_tag(weights) and weights != "DEFAULT" else ""


def _entry(name: str, weights: Any) -> Any:
    """The entry of torchvision's weights; of a file or a state dict, the default one."""
    return _named_entry(name, weights) or _named_entry(name, "DEFAULT")


def _named_entry(name: str, weights: Any) -> Any:
    from torchvision.models import WeightsEnum, get_model_weights

    known = get_model_weights(name)
    if isinstance(weights, WeightsEnum):
        return weights
    named = str(weights).removeprefix(f"{known.__name__}.") if isinstance(weights, str) else ""
    return known.__members__.get(named)
