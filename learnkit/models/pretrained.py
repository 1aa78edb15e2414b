"""Pretrained weights: where they come from, and how they are loaded into a body."""

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from learnkit.errors import CorruptFileError, DownloadError, UsageError
from learnkit.models.finite import tell_of_weights
from learnkit.safe_load import plain_name, read_weights, tensors_only
from learnkit.types import PathLike

__all__ = ["Weights", "find_weights", "load_body", "plain_names"]

Weights: TypeAlias = PathLike | Mapping[str, Tensor] | Any  # Any: a member of a torchvision weights enum

# The names in torchvision's files of layers that were renamed since: of densenet, and of vit.
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)"), r"\1"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


def find_weights(weights: Weights, name: str | None) -> dict[str, Tensor]:
    """The tensors of `weights`, by name, on the CPU.

    Args:
        weights: a path; a state dict; a member of a torchvision weights enum, or its name ("DEFAULT",
            "IMAGENET1K_V1"), which is fetched once and then read from torch's cache (TORCH_HOME).
        name: name of the network in torchvision; None for any other.

    Raises:
        DownloadError: not in the cache, and cannot be fetched.
        UsageError, MissingFileError, UnsafeFileError, CorruptFileError: as `read_weights`.
    """
    if isinstance(weights, Mapping):
        return tensors_only(dict(weights), "weights")
    member = _enum_member(weights, name)
    if member is not None:
        return _fetched(member, name or str(member))
    if isinstance(weights, str | Path) or hasattr(weights, "__fspath__"):
        return read_weights(weights)
    raise UsageError(
        "weights",
        got=weights,
        expected="a path, a state dict or torchvision weights",
        fix='Pass for example weights="body.pth" or weights="DEFAULT".',
    )


def _enum_member(weights: object, name: str | None) -> Any:
    """The member of torchvision's enum, None if `weights` is something else."""
    from torchvision.models import WeightsEnum, get_model_weights

    is_member = isinstance(weights, WeightsEnum)
    if name is None or not (is_member or isinstance(weights, str)):
        return weights if is_member else None
    known = get_model_weights(name)
    if is_member:
        if isinstance(weights, known):
            return weights
        fix = f"Pass one of {', '.join(str(member) for member in known)}."
        raise UsageError("weights", got=str(weights), expected=f"weights for {name}", fix=fix)
    return known.__members__.get(str(weights).removeprefix(f"{known.__name__}."))


def _fetched(member: Any, name: str) -> dict[str, Tensor]:
    url = str(member.url)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    was_there = cached.exists()
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # no route, full disk, wrong checksum; the reader fails in many ways on a broken file
        if was_there:
            fix = f"Delete it and run again to fetch it from {url}."
            what = f"{cached}: the cached weights of {name} cannot be read ({error!r})"
            raise CorruptFileError(what, fix=fix) from error
        raise DownloadError(
            f"the pretrained weights of {name} could not be fetched from {url} ({error}), "
            f"and there is no copy at {cached}",
            fix='Put the file there, pass weights="path.pth" for a local file, or pretrained=False for random weights.',
        ) from error
    return tensors_only(state, str(cached))


def plain_names(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """`state` under the names of `module`: without the `module.` and `_orig_mod.` of wrappers, old names updated."""
    known = _tensors(module)
    return {_new_name(plain_name(key, known), known): tensor for key, tensor in state.items()}


def _new_name(key: str, known: Container[str]) -> str:
    candidates = (pattern.sub(new, key) for pattern, new in _OLD_NAMES if key not in known)
    return next((candidate for candidate in candidates if candidate in known), key)


def load_body(module: nn.Module, body: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Copy tensors named as in `module` into `body`, which was cut from it.

    Tensors of the part that was cut off (the classifier) are ignored; all others must match in name and shape.

    Raises:
        UsageError: the first 5 tensors that are missing, differ in shape, or belong to another network.
    """
    inside = {id(tensor) for tensor in _tensors(body).values()}
    known = _tensors(module)
    wanted = {key: tensor for key, tensor in known.items() if id(tensor) in inside}
    if inside and not wanted:
        raise UsageError(
            "cut: the function returned copies of the layers, so weights cannot be loaded",
            fix="Return the layers of the module it is given.",
        )
    wrong = _mismatches(wanted, state) + _unexpected(module, wanted, known, state)
    if wrong:
        raise UsageError(
            f"weights: {len(wrong)} tensors do not fit the body of {name}: {'; '.join(wrong[:5])}",
            fix="Pass the weights of the same architecture.",
        )
    tell_of_weights(f"weights for {name}", module, {key: state[key] for key in wanted if key in state})
    with torch.no_grad():
        for key, tensor in wanted.items():
            if key in state:
                tensor.copy_(state[key])


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, as in a state dict, but not detached."""
    return dict(module.state_dict(keep_vars=True))


def _mismatches(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    wrong = []
    for key, tensor in wanted.items():
        if key in given and given[key].shape != tensor.shape:
            wrong.append(f"{key} got {tuple(given[key].shape)}, expected {tuple(tensor.shape)}")
        elif key not in given and not key.endswith("num_batches_tracked"):  # files of torch before 0.4.1 lack it
            wrong.append(f"{key} is missing")
    return wrong


def _unexpected(
    module: nn.Module, wanted: Mapping[str, Tensor], known: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> list[str]:
    """Tensors of neither the body nor the part cut off: resnet34's file would otherwise partly fit resnet18."""
    in_body = {key.partition(".")[0] for key in wanted}
    cut_off = {child for child, _ in module.named_children() if child not in in_body}
    return [
        f"{key} is not in this network" for key in given if key not in known and key.partition(".")[0] not in cut_off
    ]
