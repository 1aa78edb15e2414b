"""Weights on disk: written completely or not at all, read without running anything, compared before they are loaded."""

import copy
import os
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from learnkit.atomic_files import named_file, write_atomically
from learnkit.checks import check_kind
from learnkit.data.classes import check_same_classes
from learnkit.errors import UsageError, warn
from learnkit.models.finite import tell_of_weights
from learnkit.persistence.optimizer_state import is_optimizer_state, optimizer_state
from learnkit.persistence.suffixes import WEIGHTS, existing, with_suffix
from learnkit.safe_load import plain_name, read_file, tensors_only
from learnkit.text import name_of, shortened
from learnkit.training.weights import EXTRA, extra_state, set_tensors, tensors_of
from learnkit.types import PathLike

__all__ = ["check_name", "load_weights", "plain_model", "save_weights", "saved_path", "weights_path"]

CONVERT = "`learnkit convert FILE OUT.safetensors` extracts the weights from a checkpoint."
OTHER_MODEL = "Different classes, or another architecture? Build the model it was saved from."
OTHER_HEAD = f"{OTHER_MODEL} learn.load(..., skip_mismatched=True) loads the tensors that fit."
CLASSES = "classes"  # in the metadata of a state dict
MAX_LISTED = 5  # differences in one error


def check_name(name: str, fix: str = "Pass a plain name, or an absolute path.") -> str:
    """A file name from a user, refused if it could lead to another folder; `fix` is the advice.

    Raises:
        UsageError: anything but 1 to 100 letters, digits, dots, dashes and underscores, or only dots.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name) or not name.strip("."):
        raise UsageError(
            "file name", got=name, expected="1 to 100 letters, digits, '.', '_' and '-'",
            fix=fix,
        )  # fmt: skip
    return name


def weights_path(file: PathLike, folder: Path) -> Path:
    """The path of a file to write: in `folder`, unless it is absolute; .pth is added unless it ends in .pth or .pt.

    A Path (not a str) of an existing file is returned unchanged, so `load(save(name))` works.
    """
    return file if _is_existing(file) else with_suffix(_placed(file, folder), WEIGHTS)


def saved_path(file: PathLike, folder: Path) -> Path:
    """The path of a file to read: that of `weights_path`, or one without its suffix if only that is there."""
    return file if _is_existing(file) else existing(_placed(file, folder), WEIGHTS)


def _is_existing(file: object) -> TypeGuard[Path]:
    return isinstance(file, Path) and os.path.isfile(file)


def _placed(file: PathLike, folder: Path) -> Path:
    """An absolute path, or a name in the folder."""
    check_kind("file", file, str | os.PathLike, "a name, or a path")
    path = Path(file)
    return named_file("file", path) if path.is_absolute() else folder / check_name(str(file))


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
    path: Path,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    loss: object = None,
    *,
    classes: Sequence[str] = (),
) -> None:
    """Write the state dict of the model itself; with an optimizer {"model": ..., "opt": ...}.

    The state of a loss that has parameters is added as "loss", and the class of the optimizer to its state. The names
    of the classes are in the metadata of the state dict, which torch ignores.
    """
    weights: Any = plain_model(model).state_dict()
    if classes:
        weights._metadata.setdefault("", {})[CLASSES] = list(classes)
    more: dict[str, Any] = {}
    if optimizer is not None:
        more["opt"] = optimizer_state(optimizer)
    if _has_parameters(loss):
        more["loss"] = loss.state_dict()
    content = {"model": weights, **more} if more else weights
    write_atomically(path, lambda file: torch.save(content, file))


def load_weights(
    path: Path,
    model: nn.Module,
    *,
    strict: bool = True,
    skip_mismatched: bool = False,
    loss: object = None,
    classes: Sequence[str] = (),
    is_own: bool = False,
) -> dict[str, Any] | None:
    """Load the weights of a file into the model, and return the optimizer state it holds, if any.

    Args:
        path: a file of `save_weights`, or any bare state dict.
        model: its weights are changed in place, all or none.
        strict: refuse a file with missing or unexpected tensors; otherwise warn about them and skip them.
        skip_mismatched: skip tensors of another shape too, with a warning.
        loss: its parameters are loaded too, if it has any; a file without them is taken, with a warning.
        classes: those of the model's outputs; compared with the file's, if both are known. With `skip_mismatched`
            others are allowed, with a warning if the head is as large.
        is_own: whether this model wrote the file, so that a buffer of another shape is one that has grown since.

    Warns:
        LearnkitWarning: weights that are nan or infinite, or that were not loaded.

    Raises:
        DataError: a file for other classes, or for the same in another order.
        MissingFileError: no such file; the message lists what is there.
        UnsafeFileError: a pickle that would run code.
        CorruptFileError: a damaged file.
        UsageError: tensors of the wrong shape, or (strict) unknown or missing names; nothing that fits.
    """
    content = read_file(path)
    optimizer, of_loss = None, None
    weights = content
    if isinstance(content, Mapping) and {"model"} < content.keys() <= {"model", "opt", "loss"}:
        weights, optimizer, of_loss = content["model"], content.get("opt"), content.get("loss")
    model = plain_model(model)
    if not isinstance(weights, Mapping) or not all(
        isinstance(value, Tensor) or _is_extra(name) for name, value in weights.items()
    ):
        raise UsageError(
            f"{path} holds no state dict", expected="tensors by name, as learn.save writes them", fix=CONVERT
        )
    if optimizer is not None and not is_optimizer_state(optimizer):
        raise UsageError(f'{path}: its "opt" is not the state of an optimizer', fix=CONVERT)
    named = _classes_of(path, weights)
    if classes and named:
        _compare_classes(path, classes, named, skip_mismatched)
    named_tensors = {name: value for name, value in weights.items() if not _is_extra(name)}
    tensors = tensors_only(named_tensors, str(path)) if named_tensors else {}
    grown = {name for name, _ in model.named_buffers()} if is_own else set()
    matched = _match(path, tensors, model, strict, skip_mismatched, grown)
    matched_loss = _match_loss(path, of_loss, loss)
    extra = {name: value for name, value in weights.items() if _is_extra(name)}
    known = extra_state(model)
    extra = {plain: value for name, value in extra.items() if (plain := plain_name(name, known)) in known}
    _load(path, model, {**matched, **extra}, grown)
    tell_of_weights(f"weights in {path}", model, matched)
    if isinstance(loss, nn.Module):
        set_tensors(loss, matched_loss)
        tell_of_weights(f"parameters of the loss in {path}", loss, matched_loss)
    return optimizer


def _classes_of(path: Path, weights: Any) -> list[str]:
    """The classes in the metadata of a state dict; empty if there are none."""
    metadata = getattr(weights, "_metadata", None)
    own = metadata.get("", {}) if isinstance(metadata, Mapping) else {}
    named = own.get(CLASSES, []) if isinstance(own, Mapping) else []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UsageError(f"{path}: its classes are not a list of names", fix=CONVERT)
    return named


def _compare_classes(path: Path, ours: Sequence[str], theirs: Sequence[str], skip_mismatched: bool) -> None:
    """Refuse a file for other classes; a new head may be trained for others, so skip_mismatched allows these."""
    if skip_mismatched and sorted(ours) != sorted(theirs):
        if len(ours) == len(theirs):
            warn(f"{path}: its head was trained for {shortened(theirs, 10)}, here for {shortened(ours, 10)}: train it")
        return
    fix = f"Make the data with classes={list(theirs)!r}, or load into a learner with these."
    if sorted(ours) != sorted(theirs):
        fix += " To train a new head, load with skip_mismatched=True."
    check_same_classes(ours, theirs, "this learner", str(path), fix)


def _has_parameters(loss: object) -> TypeGuard[nn.Module]:
    return isinstance(loss, nn.Module) and any(True for _ in loss.parameters())


def _is_extra(name: object) -> bool:
    return isinstance(name, str) and (name == EXTRA or name.endswith(f".{EXTRA}"))


def _match_loss(path: Path, saved: object, loss: object) -> dict[str, Tensor]:
    """The parameters and buffers of a loss in a file; a loss without parameters has none."""
    if not _has_parameters(loss):
        return {}
    if saved is None:
        warn(f"{path} holds no parameters of the loss; those of {name_of(loss)} keep their values")
        return {}
    return _match(path, tensors_only(saved, f"{path}: the loss"), loss, strict=True)


def _load(path: Path, model: nn.Module, matched: dict[str, Any], grown: Container[str]) -> None:
    """Load what matches; buffers that torch cannot write into are replaced."""
    shared = {
        name: matched.pop(name)
        for name, own in tensors_of(model).items()
        if _needs_replacing(own, name, matched, grown)
    }
    try:
        model.load_state_dict(matched, strict=False)
    except RuntimeError as error:  # of a layer that loads itself
        raise UsageError(f"{path} does not fit this model: {str(error).splitlines()[-1].strip()}") from error
    set_tensors(model, shared)


def _needs_replacing(own: Tensor, name: str, matched: Mapping[str, Any], grown: Container[str]) -> bool:
    if name not in matched or is_lazy(own):
        return False
    return (0 in own.stride() and own.numel() > 1) or (name in grown and matched[name].shape != own.shape)


def _takes_its_shape(model: nn.Module, name: str, value: Tensor) -> bool:
    """Whether the layer of this tensor accepts a value of another shape, as observers of quantization do."""
    path, _, last = name.rpartition(".")
    layer = model.get_submodule(path)
    if type(layer)._load_from_state_dict is nn.Module._load_from_state_dict:
        return False
    try:
        copy.deepcopy(layer).load_state_dict({last: value}, strict=False)
    except RuntimeError:
        return False
    return True


def _match(
    path: Path,
    weights: dict[str, Tensor],
    model: nn.Module,
    strict: bool,
    skip_mismatched: bool = False,
    grown: Container[str] = (),
) -> dict[str, Tensor]:
    """The tensors of the file that the model has; other shapes, or (strict) other names, are refused.

    Those named in `grown` may have any shape.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if not _is_extra(name)}
    plain = {plain_name(name, own): tensor for name, tensor in weights.items()}
    if len(plain) < len(weights):
        raise UsageError(
            f"{path}: some tensors are there twice, with and without the prefix of a wrapper",
            fix="Save the state dict of one model.",
        )
    weights = plain
    shared = {name: tensor for name, tensor in own.items() if name in weights}
    differing = {
        name: f"{name} {tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} in the model"
        for name, tensor in shared.items()
        if not (is_lazy(tensor) or weights[name].shape == tensor.shape or name in grown)
        and not _takes_its_shape(model, name, weights[name])
    }
    differing |= {
        name: f"{name} {weights[name].dtype} in the file, {tensor.dtype} in the model"
        for name, tensor in shared.items()
        if tensor.is_floating_point() and not weights[name].is_floating_point()
    }
    missing = [f"{name} not in the file" for name in own if name not in weights]
    unexpected = [f"{name} not in the model" for name in weights if name not in own]
    names = [*missing, *unexpected]
    refused = [*([] if skip_mismatched else differing.values()), *(names if strict and not skip_mismatched else [])]
    if refused or (own and shared.keys() <= differing.keys()):
        listed = [*differing.values(), *names]
        shown = refused or listed
        raise UsageError(
            f"{path} does not fit this model: {'; '.join(shown[:MAX_LISTED])}"
            + (f"; and {len(shown) - MAX_LISTED} more" if len(shown) > MAX_LISTED else ""),
            fix=OTHER_HEAD if refused and shared.keys() > differing.keys() else OTHER_MODEL,
        )
    if differences := [*differing.values(), *names]:
        warn(f"{path}: {'; '.join(differences[:MAX_LISTED])}; those keep their values")
    return {name: tensor for name, tensor in weights.items() if name in own and name not in differing}
