"""The table of known convolutional networks: where each is cut, and where its body is split."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from learnkit.errors import UsageError, nearest

__all__ = ["ARCHITECTURES", "Architecture", "find_architecture", "torchvision_name"]


@dataclass(frozen=True)
class Architecture:
    """A torchvision network; called, it builds the whole of it, classifier included.

    Args:
        name: the name of the torchvision builder.
        cut: how many children make the body, as in `children[:cut]`.
        split: child of the body at which the second layer group begins.
    """

    name: str
    cut: int
    split: int

    def __call__(self, weights: Any = None, **kwargs: Any) -> nn.Module:
        """The torchvision model, with random weights unless `weights` says otherwise."""
        import torchvision

        model: nn.Module = torchvision.models.get_model(self.name, weights=weights, **kwargs)
        return model


def _resnets(*names: str) -> dict[str, Architecture]:
    """Children: conv, norm, relu, pool, layer1..4 | average pool, classifier; group 2 begins at layer3."""
    return {name: Architecture(name, cut=-2, split=6) for name in names}


ARCHITECTURES: dict[str, Architecture] = _resnets(
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)


def find_architecture(base_arch: Architecture | str | Callable[..., Any]) -> Architecture:
    """The architecture meant by itself, by its name, or by a torchvision builder (`torchvision.models.resnet18`).

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
        fix=f"Nearest: {nearest(name, ARCHITECTURES)}. Another network can be given as an nn.Module.",
    )


def torchvision_name(base_arch: object) -> str | None:
    """The name under which torchvision knows this network, None when it is not one of torchvision's builders."""
    if isinstance(base_arch, Architecture):
        return base_arch.name
    module = getattr(base_arch, "__module__", None) or ""
    # A class of torchvision (torchvision.models.ResNet) is no builder, and a user's own `def resnet18` is the user's.
    if isinstance(base_arch, type | nn.Module) or not module.startswith("torchvision.models"):
        return None
    return getattr(base_arch, "__name__", None)
