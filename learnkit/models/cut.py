"""The body of a network: where it is cut, and how many features it outputs."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from learnkit.checks import is_int
from learnkit.errors import UsageError
from learnkit.modes import eval_mode
from learnkit.seeds import preserve_rng

__all__ = ["Cut", "count_features", "create_body"]

Cut: TypeAlias = int | Callable[[nn.Module], nn.Module]

_POOLING = re.compile(r"Pool[123]d$")  # AvgPool2d, AdaptiveMaxPool1d, and other libraries' classes named that way
_SIZES = (64, 128, 256, 512)  # pixels, tried in turn: some bodies do not run on the smallest


def create_body(module: nn.Module, cut: Cut | None = None) -> nn.Module:
    """The layers of `module` without its classifier; the layers are shared, not copied.

    Args:
        module: a whole network.
        cut: an int keeps `children[:cut]`, a function of the module returns the body, None cuts before the last
            top-level child that is or contains a pooling layer.

    Raises:
        UsageError: no pooling layer found, a cut that leaves nothing or is out of range, or a default cut that would
            drop convolutions after the last pooling layer.

    >>> layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> len(create_body(layers))
    2
    """
    if cut is None:
        return nn.Sequential(*_layers(module)[: _default_cut(module)])
    if is_int(cut):
        return nn.Sequential(*_first_layers(module, cut))
    if not callable(cut) or isinstance(cut, bool):
        raise UsageError(
            "cut",
            got=cut,
            expected="an int or a function(module) -> module",
            fix="Pass cut=-2 to leave out the last two children.",
        )
    body = cut(module)
    if not isinstance(body, nn.Module):
        raise UsageError("cut", got=body, expected="a function that returns an nn.Module", fix="Return the body.")
    return body


def _layers(module: nn.Module) -> list[nn.Module]:
    # `children()` yields a layer that is used twice only once; in a Sequential the second use counts too.
    return list(module) if isinstance(module, nn.Sequential) else list(module.children())


def _first_layers(module: nn.Module, cut: int) -> list[nn.Module]:
    layers = _layers(module)
    if cut > len(layers) or not layers[:cut]:
        raise UsageError(
            "cut",
            got=cut,
            expected=f"a number that keeps 1 to {len(layers)} children of {type(module).__name__}",
            fix="A negative number counts from the end.",
        )
    return layers[:cut]


def _default_cut(module: nn.Module) -> int:
    name = type(module).__name__
    fix = "pass cut= with a number of children to keep or a function(module) -> body, or the whole network to Learner."
    layers = _layers(module)
    pooling = [i for i, layer in enumerate(layers) if any(_is_pooling(inner) for inner in layer.modules())]
    if not pooling:
        raise UsageError(f"no pooling layer found in {name}; {fix}")
    if pooling[-1] == 0:
        raise UsageError(f"no layers before the last child of {name} that contains a pooling layer; {fix}")
    dropped = [layer for layer in layers[pooling[-1] + 1 :] if any(isinstance(m, _ConvNd) for m in layer.modules())]
    if dropped:  # pooling in the stem and later by a function: most of the network would be dropped silently
        raise UsageError(f"{name} has convolutions after its last pooling layer, which the default cut drops; {fix}")
    return pooling[-1]


def _is_pooling(module: nn.Module) -> bool:
    return any(_POOLING.search(kind.__name__) for kind in type(module).__mro__)


def count_features(
    body: nn.Module, in_chans: int = 3, *, name: str = "the network", size: tuple[int, int] | None = None
) -> int:
    """The number of channels that `body` outputs for a small blank image; mode, buffers and RNG are restored.

    Args:
        body: takes images (N, in_chans, H, W), returns features (N, C, h, w).
        in_chans: channels of the image.
        name: network the body was cut from, for errors.
        size: (height, width) to try first.

    Raises:
        UsageError: the body does not run, or does not return features.
    """
    features = _dummy_forward(body, in_chans, name, size)
    if not isinstance(features, Tensor) or features.ndim != 4:
        got = f"a tensor of shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
        raise UsageError(
            f"the body cut from {name} returns {got}, expected features (N, C, H, W)",
            fix="Pass another cut=, before the layers that flatten.",
        )
    return features.shape[1]


def _dummy_forward(body: nn.Module, in_chans: int, name: str, size: tuple[int, int] | None) -> object:
    like = next(body.parameters(), torch.empty(0))
    failure: Exception | None = None
    with _without_trace(body, like.device):
        for height, width in [*([size] if size else []), *((side, side) for side in _SIZES)]:
            try:
                return body(torch.zeros(1, in_chans, height, width, device=like.device, dtype=like.dtype))
            except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
                failure = failure or error
    raise UsageError(
        f"the body cut from {name} does not run on an image of {in_chans} channels "
        f"({type(failure).__name__}: {str(failure).strip().splitlines()[0] if str(failure) else ''})",
        fix="Pass another cut=, or in_chans= if the network expects another number of channels.",
    ) from failure


@contextmanager
def _without_trace(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients; modes, buffers and random generators are restored afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    on_cpu = device.type == "cpu"  # preserve_rng covers it
    fork = nullcontext() if on_cpu else torch.random.fork_rng([device], device_type=device.type)
    with preserve_rng(), fork, eval_mode(module):
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
