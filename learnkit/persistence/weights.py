"""Weights on disk: written whole, read without running anything, errors that say what does not fit."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.atomic_files import write_atomically
from learnkit.errors import UsageError, warn
from learnkit.safe_load import plain_name, read_file, tensors_only
from learnkit.types import PathLike

__all__ = ["check_name", "load_weights", "plain_model", "save_weights", "weights_path"]

TAKE = "`learnkit convert FILE OUT.safetensors` takes the weights alone out of a checkpoint."
SAVE = "Save the state dict of one model."


def check_name(name: str) -> str:
    """A file name given by a user, refused when it could lead anywhere else.

    Raises:
        UsageError: anything but 1 to 100 letters, digits, dots, dashes and underscores, or only dots.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) or not name.strip("."):
        raise UsageError(
            "file name", got=name, expected="1 to 100 letters, digits, '.', '_' and '-'",
            fix="Give a plain name, or an absolute path.",
        )  # fmt: skip
    return name


def weights_path(file: PathLike, folder: Path) -> Path:
    """Where a file is: in `folder`, or just there if the path is absolute; .pth is added to a bare name.

    A Path (not a text) that leads to a file is taken as it is, so `load(save(name))` works.
    """
    path = Path(file)
    if isinstance(file, Path) and os.path.isfile(path):
        return path
    if not path.is_absolute():
        path = folder / check_name(str(file))
    is_whole = path.suffix in (".pth", ".pt") or os.path.isfile(path)  # False for a name too long, too
    return path if is_whole else path.with_name(f"{path.name}.pth")


def plain_model(model: nn.Module) -> nn.Module:
    """The model itself, without the wrappers of torch.compile and of data parallelism."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def save_weights(path: Path, model: nn.Module, optimizer: Optimizer | None = None) -> None:
    """Write the state dict of the model itself, or {"model": ..., "opt": ...} when an optimizer is given."""
    weights = plain_model(model).state_dict()
    content = weights if optimizer is None else {"model": weights, "opt": optimizer.state_dict()}
    write_atomically(path, lambda file: torch.save(content, file))


def load_weights(path: Path, model: nn.Module, *, strict: bool = True) -> dict[str, Any] | None:
    """Put a file's weights into the model, and return the optimizer state it holds, if any.

    Args:
        path: a file of `save_weights`, or any bare state dict.
        model: its weights are changed in place, all or none.
        strict: refuse a file with missing or further tensors; without it those are told in a warning and left out.

    Raises:
        MissingFileError: no such file; the message lists what is there.
        UnsafeFileError: a pickle that would run code.
        CorruptFileError: a damaged file.
        UsageError: tensors of another shape, or (strict) other names.
    """
    content = read_file(path)
    optimizer = None
    weights = content
    if isinstance(content, Mapping) and content.keys() == {"model", "opt"}:
        weights, optimizer = content["model"], content["opt"]
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(f"{path} holds no state dict", expected="tensors by name, as learn.save writes them", fix=TAKE)
    if optimizer is not None and not _is_optimizer_state(optimizer):
        raise UsageError(f'{path}: its "opt" is not what an optimizer keeps', fix=TAKE)
    model = plain_model(model)
    fitting = _matched(path, tensors_only(weights, str(path)), model, strict)
    model.load_state_dict(fitting, strict=False)
    return optimizer


def _is_optimizer_state(content: object) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
        return False
    groups = content.get("param_groups")
    if not isinstance(groups, list):
        return False
    return all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)


def _matched(path: Path, weights: dict[str, Tensor], model: nn.Module, strict: bool) -> dict[str, Tensor]:
    """The tensors of the file that fit the model; any other shape, or (strict) any other name, is refused."""
    own = model.state_dict()
    plain = {plain_name(name, own): tensor for name, tensor in weights.items()}
    if len(plain) < len(weights):
        raise UsageError(f"{path}: some tensors are there twice, with and without a wrapper's prefix", fix=SAVE)
    weights = plain
    shapes = [
        f"{name} {tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} in the model"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    shapes += [
        f"{name} {weights[name].dtype} in the file, {tensor.dtype} in the model"
        for name, tensor in own.items()
        if name in weights and tensor.is_floating_point() and not weights[name].is_floating_point()
    ]
    names = [f"{name} not in the file" for name in own if name not in weights]
    names += [f"{name} not in the model" for name in weights if name not in own]
    if shapes or (strict and names):
        differing = [*shapes, *(names if strict else [])]
        raise UsageError(
            f"{path} does not fit this model: {'; '.join(differing[:5])}"
            + (f"; and {len(differing) - 5} more" if len(differing) > 5 else ""),
            fix="Different classes, or another architecture? Build the model it was saved from.",
        )
    if names:
        warn(f"{path}: {'; '.join(names[:5])}; those keep their values")
    return {name: tensor for name, tensor in weights.items() if name in own}
