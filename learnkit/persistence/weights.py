"""Weights on disk: written whole, read without running anything, errors that say what does not fit."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learnkit.errors import (
    CorruptFileError,
    LearnkitWarning,
    MissingFileError,
    UnsafeFileError,
    UsageError,
)
from learnkit.persistence.atomic import write_atomically
from learnkit.types import PathLike

__all__ = ["check_name", "load_weights", "save_weights", "weights_path"]

PREFIXES = ("module.", "_orig_mod.")  # left in the names by DataParallel and by torch.compile


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
    """Where a file of this name is: in `folder` with the ending .pth, or just there if the path is absolute."""
    path = Path(file)
    if not path.is_absolute():
        path = folder / check_name(str(file))
    return path if path.suffix == ".pth" else path.with_name(f"{path.name}.pth")


def save_weights(path: Path, model: nn.Module, optimizer: Optimizer | None = None) -> None:
    """Write a model's state dict, or {"model": ..., "opt": ...} when an optimizer is given."""
    weights = model.state_dict()
    content = weights if optimizer is None else {"model": weights, "opt": optimizer.state_dict()}
    write_atomically(path, lambda file: torch.save(content, file))


def load_weights(
    path: Path,
    model: nn.Module,
    *,
    device: torch.device | str | None = None,
    strict: bool = True,
) -> dict[str, Any] | None:
    """Put a file's weights into the model, and return the optimizer state it holds, if any.

    Args:
        path: a file of `save_weights`, or any bare state dict.
        model: its weights are changed in place, all or none.
        device: where the tensors are read to; None for the CPU.
        strict: refuse a file with missing or further tensors; without it those are told in a warning and left out.

    Raises:
        MissingFileError: no such file; the message lists what is there.
        UnsafeFileError: a pickle that would run code.
        CorruptFileError: a damaged file.
        UsageError: tensors of another shape, or (strict) other names.
    """
    content = read_file(path, device)
    holds_both = isinstance(content, Mapping) and content.keys() == {"model", "opt"}
    weights = content["model"] if holds_both else content
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(f"{path} holds no state dict", expected="tensors by name, as learn.save writes them")
    fitting = _matched(path, dict(weights), model, strict)
    model.load_state_dict(fitting, strict=False)
    return content["opt"] if holds_both else None


def read_file(path: Path, device: torch.device | str | None = None) -> Any:
    """What torch.save wrote into a file, tensors and plain values only."""
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.pth")) if path.parent.is_dir() else []
        there = f"{path.parent} holds {', '.join(near[:10])}" if near else f"{path.parent} holds no .pth file"
        raise MissingFileError(f"no file {path}; {there}")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(2)
        if start[:1] == b"\x80" and start[1:2] <= b"\x05":  # the first two bytes of a pickle
            raise UnsafeFileError(
                f"{path} is a Python pickle; learnkit does not run code from files",
                fix="Save it again with torch.save or learn.save.",
            )
        raise CorruptFileError(
            f"{path} is not a complete weights file ({path.stat().st_size:,} bytes; the file seems truncated)",
            fix="Save it again, or copy it again.",
        )
    try:
        return torch.load(path, map_location=device or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeFileError(
            f"{path} holds more than tensors and plain values; learnkit does not run code from files",
            fix="Save a state dict: torch.save(model.state_dict(), path).",
        ) from error
    except (RuntimeError, EOFError, KeyError, zipfile.BadZipFile, ValueError) as error:
        raise CorruptFileError(f"{path} is damaged: {error}", fix="Save it again, or copy it again.") from error


def _plain_name(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _matched(path: Path, weights: dict[str, Tensor], model: nn.Module, strict: bool) -> dict[str, Tensor]:
    """The tensors of the file that fit the model; any other shape, or (strict) any other name, is refused."""
    own = model.state_dict()
    weights = {name if name in own else _plain_name(name): tensor for name, tensor in weights.items()}
    shapes = [
        f"{name} {tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} in the model"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
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
        warnings.warn(f"{path}: {'; '.join(names[:5])}; those keep their values", LearnkitWarning, stacklevel=3)
    return {name: tensor for name, tensor in weights.items() if name in own}
