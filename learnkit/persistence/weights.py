"""Weights on disk: written completely or not at all, read without running anything, compared before they are loaded."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.atomic_files import write_atomically
from learnkit.data.classes import check_same_classes
from learnkit.errors import UsageError, warn
from learnkit.safe_load import plain_name, read_file, tensors_only
from learnkit.types import PathLike

__all__ = ["check_name", "load_weights", "plain_model", "save_weights", "weights_path"]

CONVERT = "`learnkit convert FILE OUT.safetensors` extracts the weights from a checkpoint."
MAX_LISTED = 5  # differences in one error


def check_name(name: str) -> str:
    """A file name from a user, refused if it could lead to another folder.

    Raises:
        UsageError: anything but 1 to 100 letters, digits, dots, dashes and underscores, or only dots.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) or not name.strip("."):
        raise UsageError(
            "file name", got=name, expected="1 to 100 letters, digits, '.', '_' and '-'",
            fix="Pass a plain name, or an absolute path.",
        )  # fmt: skip
    return name


def weights_path(file: PathLike, folder: Path) -> Path:
    """The path of a file: in `folder`, unless it is absolute; .pth is added to a bare name.

    A Path (not a str) of an existing file is returned unchanged, so `load(save(name))` works.
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


def save_weights(
    path: Path, model: nn.Module, optimizer: Optimizer | None = None, *, classes: Sequence[str] = ()
) -> None:
    """Write {"model": state dict of the model itself, "opt": that of the optimizer, "classes": their names}.

    What is not given is left out; without both, the file is the bare state dict.
    """
    weights = plain_model(model).state_dict()
    others: dict[str, Any] = {} if optimizer is None else {"opt": optimizer.state_dict()}
    others |= {"classes": list(classes)} if classes else {}
    content = {"model": weights, **others} if others else weights
    write_atomically(path, lambda file: torch.save(content, file))


def load_weights(
    path: Path, model: nn.Module, *, strict: bool = True, classes: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Load the weights of a file into the model, and return the optimizer state it holds, if any.

    Args:
        path: a file of `save_weights`, or any bare state dict.
        model: its weights are changed in place, all or none.
        strict: refuse a file with missing or unexpected tensors; otherwise warn about them and skip them.
        classes: those of the model's outputs; compared with the file's, if both are known.

    Raises:
        DataError: a file for other classes, or for the same in another order.
        MissingFileError: no such file; the message lists what is there.
        UnsafeFileError: a pickle that would run code.
        CorruptFileError: a damaged file.
        UsageError: tensors of the wrong shape, or (strict) unknown or missing names.
    """
    content = read_file(path)
    optimizer = None
    weights = content
    named: Any = []
    if isinstance(content, Mapping) and {"model"} < content.keys() <= {"model", "opt", "classes"}:
        weights, optimizer, named = content["model"], content.get("opt"), content.get("classes", [])
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(
            f"{path} holds no state dict", expected="tensors by name, as learn.save writes them", fix=CONVERT
        )
    if optimizer is not None and not _is_optimizer_state(optimizer):
        raise UsageError(f'{path}: its "opt" is not the state of an optimizer', fix=CONVERT)
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UsageError(f'{path}: its "classes" are no list of names', fix=CONVERT)
    if classes and named:
        fix = f"Make the data with classes={named!r}, or load into a learner with these."
        check_same_classes(classes, named, "this learner", str(path), fix)
    model = plain_model(model)
    matched = _match(path, tensors_only(weights, str(path)), model, strict)
    model.load_state_dict(matched, strict=False)
    return optimizer


def _is_optimizer_state(content: object) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
        return False
    groups = content.get("param_groups")
    if not isinstance(groups, list):
        return False
    return all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)


def _match(path: Path, weights: dict[str, Tensor], model: nn.Module, strict: bool) -> dict[str, Tensor]:
    """The tensors of the file that the model has; other shapes, or (strict) other names, are refused."""
    own = model.state_dict()
    plain = {plain_name(name, own): tensor for name, tensor in weights.items()}
    if len(plain) < len(weights):
        raise UsageError(
            f"{path}: some tensors are there twice, with and without the prefix of a wrapper",
            fix="Save the state dict of one model.",
        )
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
    missing = [f"{name} not in the file" for name in own if name not in weights]
    unexpected = [f"{name} not in the model" for name in weights if name not in own]
    names = [*missing, *unexpected]
    if shapes or (strict and names):
        differing = [*shapes, *(names if strict else [])]
        raise UsageError(
            f"{path} does not fit this model: {'; '.join(differing[:MAX_LISTED])}"
            + (f"; and {len(differing) - MAX_LISTED} more" if len(differing) > MAX_LISTED else ""),
            fix="Different classes, or another architecture? Build the model it was saved from.",
        )
    if names:
        warn(f"{path}: {'; '.join(names[:MAX_LISTED])}; those keep their values")
    return {name: tensor for name, tensor in weights.items() if name in own}
