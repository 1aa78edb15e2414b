"""How pictures were prepared for the published weights of a network: mean, deviation, size and interpolation."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name
from learnkit.models.timm import is_timm_name, timm_config

__all__ = ["Preprocessing", "differs", "has_preprocessing", "preprocessing_of"]

_TOLERANCE = 0.02  # of pixels in [0, 1]: statistics of two samples of ImageNet differ by less


class Preprocessing(NamedTuple):
    """How the pictures were prepared that weights were trained on."""

    mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
    std: tuple[float, ...]
    size: int  # pixels, height and width
    interpolation: str  # "bilinear", "bicubic"

    @property
    def options(self) -> dict[str, Any]:
        """The keywords of a bunch that prepare pictures so.

        `ImageDataBunch.from_folder("pets", **preprocessing_of("resnet50").options)`
        """
        return {"size": self.size, "normalize": (self.mean, self.std), "interpolation": self.interpolation}

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std for pictures of so many channels: for other than 3, the means over the three."""
        if channels == len(self.mean):
            return self.mean, self.std
        mean, std = (round(sum(values) / len(values), 4) for values in (self.mean, self.std))
        return (mean,) * channels, (std,) * channels


def has_preprocessing(base_arch: object) -> bool:
    """Whether this is a network with published weights, and not one of the user's own."""
    if isinstance(base_arch, str | Architecture):
        return True
    return torchvision_name(base_arch) in ARCHITECTURES


def preprocessing_of(base_arch: Architecture | str | Callable[..., Any], weights: Any = None) -> Preprocessing:
    """What the published weights of a network want their pictures to be.

    Args:
        base_arch: an architecture, its name, a torchvision builder, or "timm/NAME".
        weights: which of its weights: a torchvision entry or its name, a tag of timm; the default ones for None and
            for a file or state dict, which says nothing of its pictures.

    Raises:
        UsageError: a network that is not known, weights that it does not have.

    >>> preprocessing_of("resnet18")
    Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=224, interpolation='bilinear')
    """
    if isinstance(base_arch, str) and is_timm_name(base_arch):
        tag = weights if isinstance(weights, str) and weights != "DEFAULT" and "." not in weights else ""
        config = timm_config(base_arch, tag)
        if config is None:
            raise UsageError(f"timm says nothing of how pictures for {base_arch} are prepared")
        return Preprocessing(tuple(config.mean), tuple(config.std), config.input_size[-1], str(config.interpolation))
    if isinstance(base_arch, nn.Module):
        raise UsageError("base_arch", got=type(base_arch).__name__, expected="a network with published weights")
    transforms = _entry(find_architecture(base_arch).name, weights).transforms()
    interpolation = transforms.interpolation.value
    return Preprocessing(tuple(transforms.mean), tuple(transforms.std), transforms.crop_size[0], interpolation)


def _entry(name: str, weights: Any) -> Any:
    """The torchvision entry that is meant."""
    from torchvision.models import WeightsEnum, get_model_weights

    known = get_model_weights(name)
    if isinstance(weights, WeightsEnum):
        return weights
    named = str(weights).removeprefix(f"{known.__name__}.") if isinstance(weights, str) else ""
    return known.__members__.get(named, known["DEFAULT"])


def differs(wanted: Preprocessing, mean: Sequence[float], std: Sequence[float]) -> bool:
    """Whether pictures normalised by this mean and std (one value a channel) are other than what the weights want."""
    ours, theirs = [*mean, *std], [value for values in wanted.statistics(len(mean)) for value in values]
    return any(abs(our - their) > _TOLERANCE for our, their in zip(ours, theirs, strict=True))
