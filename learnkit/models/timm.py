"""Networks of timm by name, "timm/NAME" or "timm/NAME.TAG": their features, layer groups and published weights.

timm (Wightman 2019) is imported only here, when one of its networks is requested: `pip install learnkit[timm]`.
"""

import importlib.util
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.checks import missing_extra, nearest
from learnkit.errors import DownloadError, UsageError
from learnkit.modes import eval_mode

__all__ = [
    "PREFIX",
    "TimmBody",
    "TimmNetwork",
    "converted",
    "create_timm",
    "group_starts",
    "is_timm_model",
    "is_timm_name",
    "timm_config",
    "timm_hint",
    "timm_state",
]

PREFIX = "timm/"


class TimmBody(nn.Module):
    """The features (N, C, H, W) of a timm network; (N, C, 1, 1) for one with tokens, pooled as the network does.

    Args:
        network: without a classifier.
        channels_last: it outputs (N, H, W, C), as swin does.
    """

    def __init__(self, network: nn.Module, *, channels_last: bool = False) -> None:
        super().__init__()
        self.network = network
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(x)
        if features.ndim == 2:
            return features[:, :, None, None]
        return features.permute(0, 3, 1, 2) if self.channels_last and features.ndim == 4 else features


@dataclass(frozen=True)
class TimmNetwork:
    """A timm network without its classifier.

    `name` is without "timm/" and tag; `options` are the keywords for `timm.create_model`; `image_size` is one that
    it accepts.
    """

    name: str
    tag: str
    module: nn.Module
    body: TimmBody
    pooled: bool
    image_size: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)


def is_timm_name(base_arch: object) -> bool:
    """Whether this is a str that begins with "timm/".

    >>> is_timm_name("timm/resnet18"), is_timm_name("resnet18")
    (True, False)
    """
    return isinstance(base_arch, str) and base_arch.startswith(PREFIX)


def is_timm_model(name: str) -> bool:
    """Whether timm has a network of this name, without "timm/" and tag.

    Raises:
        UsageError: timm is not installed.
    """
    return bool(_timm().is_model(name))


def create_timm(base_arch: str, in_chans: int = 3, image_size: tuple[int, int] | None = None) -> TimmNetwork:
    """The network "timm/NAME" or "timm/NAME.TAG", with random weights and without its classifier.

    Args:
        base_arch: "timm/", a name in timm, and optionally the tag of its weights.
        in_chans: channels of the images.
        image_size: (height, width) of the images; a network with a fixed input size is built for it.

    Raises:
        UsageError: timm is not installed, has no such network, or cannot build it for such images.
    """
    timm = _timm()
    name, tag = _name_and_tag(base_arch)
    config = timm.get_pretrained_cfg(name)
    native = tuple(config.input_size[1:]) if config is not None else (224, 224)
    size = image_size or native
    failure: Exception | None = None
    for options in _size_options(config, size):
        try:
            module = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_chans, **options)
            features = _features(module, in_chans, size)
        except (TypeError, RuntimeError, AssertionError, ValueError) as error:
            failure = error
            continue
        spatial = isinstance(features, Tensor) and features.ndim == 4
        if spatial:
            module.reset_classifier(0, "")
        channels_last = spatial and getattr(module, "output_fmt", "NCHW") == "NHWC"
        body = TimmBody(module, channels_last=channels_last)
        return TimmNetwork(name, tag, module, body, not spatial, size, options)
    raise UsageError(
        f"{PREFIX}{name} does not accept images of {size[0]} x {size[1]} pixels and {in_chans} channels ({failure})",
        fix=f"Make the data with size={native if native[0] != native[1] else native[0]}, that of its weights.",
    ) from failure


def _size_options(config: Any, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Keywords of `create_model` to try in turn, for a network that accepts images of this size."""
    if config is None or not config.fixed_input_size:
        return [{}]
    return [{"dynamic_img_size": True}, {"img_size": size}, {}]  # any size; this one; the default


def _features(module: Any, in_chans: int, size: tuple[int, int]) -> Any:
    """The output of `forward_features` for a blank image."""
    with eval_mode(module):
        return module.forward_features(torch.zeros(1, in_chans, *size))


def group_starts(module: Any) -> list[nn.Module]:
    """The layer at which the second half of a timm network begins, by the stages of timm's `group_matcher`."""
    layers = {name: layer for name, layer in module.named_modules() if list(layer.parameters(recurse=False))}
    if hasattr(module, "group_matcher"):
        from timm.models import group_modules

        stage_of = dict(group_modules(module, module.group_matcher(coarse=True), reverse=True))
    else:
        stage_of = {name: number for number, name in enumerate(layers)}
    half = (max(stage_of.values(), default=0) + 2) // 2
    ordered = [name for name in layers if name]
    second = next((name for name in ordered[1:] if stage_of.get(name, 0) >= half), None)
    return [] if second is None else [layers[second]]


def timm_config(base_arch: str, tag: str = "") -> Any:
    """timm's pretrained_cfg of a network: mean, std, input_size, interpolation, first_conv.

    Raises:
        UsageError: as `create_timm`; or it has no weights with that tag.
    """
    name, own_tag = _name_and_tag(base_arch)
    return _timm().get_pretrained_cfg(_tagged(name, tag or own_tag))


def timm_state(network: TimmNetwork, tag: str, in_chans: int) -> dict[str, Tensor]:
    """The published weights of a network, by name; timm adapts the first convolution to `in_chans`.

    Raises:
        UsageError: timm has no weights with that tag.
        DownloadError: they are not in the cache and could not be fetched.
    """
    full = _tagged(network.name, tag or network.tag)
    try:
        trained = _timm().create_model(full, pretrained=True, num_classes=0, in_chans=in_chans, **network.options)
    except Exception as error:  # no route, full disk, offline mode, a file that does not fit: the hub raises many types
        raise DownloadError(
            f"the pretrained weights of {PREFIX}{full} could not be fetched from the Hugging Face hub, and there is no "
            f"copy in its cache ({str(error).strip().splitlines()[0] if str(error).strip() else error!r})",
            fix="Set HF_HOME to a cache that has them (and HF_HUB_OFFLINE=1 to stay offline), pass "
            'weights="path.safetensors" for a local file, or pretrained=False for random weights.',
        ) from error
    return dict(trained.state_dict())


def converted(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the names and shapes that a network has now, by timm's own conversion of its files.

    It knows the files of the authors (DINO's, CLIP's with both towers), and resizes positions to other images. A state
    dict that fits is returned as it is, and so is one that timm cannot convert.
    """
    own = module.state_dict()
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None or all(key in state and state[key].shape == tensor.shape for key, tensor in own.items()):
        return state
    try:
        made = dict(convert(dict(state), module))
    except (AssertionError, AttributeError, KeyError, IndexError, RuntimeError, TypeError, ValueError):
        return state  # the error about its tensors says what does not fit
    return made if all(isinstance(tensor, Tensor) for tensor in made.values()) else state


def timm_hint(name: str) -> str:
    """How to request a network that torchvision lacks from timm; "" if timm has none of that name either."""
    if importlib.util.find_spec("timm") is None or not _timm().is_model(name.partition(".")[0]):
        return ""
    return f'timm has a network of that name: pass "{PREFIX}{name}".'


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise missing_extra("timm", "timm") from error
    return timm


def _name_and_tag(base_arch: str) -> tuple[str, str]:
    """The name of a network and the tag of its weights ("" for the default weights)."""
    timm = _timm()
    name, _, tag = base_arch.removeprefix(PREFIX).partition(".")
    if not timm.is_model(name):
        near = nearest(name, timm.list_models())
        raise UsageError("base_arch", got=base_arch, expected="a network of timm", fix=f"Nearest: {near}.")
    if tag:
        _tagged(name, tag)
    return name, tag


def _tagged(name: str, tag: str) -> str:
    timm = _timm()
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        fix = f"timm has {', '.join(tags)}." if tags else "timm has no weights for it: pass pretrained=False."
        raise UsageError("weights", got=tag, expected=f"the tag of weights of {PREFIX}{name}", fix=fix)
    return f"{name}.{tag}" if tag else name
