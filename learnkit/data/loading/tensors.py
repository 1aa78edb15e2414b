"""Tensors in memory: inputs with their targets, checked against what these mean."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learnkit.data.classes import Classes
from learnkit.data.loading.targets import checked_targets, checked_task
from learnkit.data.table.labels import warn_missing_classes
from learnkit.data.tasks import Classification, Task
from learnkit.errors import DataError, UsageError, WrongTypeError
from learnkit.losses.outputs import names_of
from learnkit.models.calling import SEVERAL_INPUTS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ItemForm", "check_parts", "one_item", "tensor_samples"]

Part = tuple[Tensor, ...]  # (x, y), or (x,)


class ItemForm(NamedTuple):
    """What one input looks like: its shape, None where that may differ from item to item, and its dtype."""

    shape: torch.Size | None
    dtype: torch.dtype


def check_parts(
    parts: Sequence[tuple[Any, Any]], task: Task | None, classes: Sequence[str] | None, device: torch.device
) -> tuple[Task | None, Part, Part | None, Part | None]:
    """What the targets mean, if that is known, and training, validation and test set as tensors on the device.

    Args:
        parts: (x, y) of each set: x (N, ...), y as the task's loss takes it. The test set may lack y; validation and
            test may lack both.
        task: what the targets mean; None for class indices, and for targets of three axes or more, such as images.
        classes: names of the classes; None for their numbers.

    Raises:
        UsageError: float targets without a task.
        DataError: inputs and targets of different lengths, an empty set, or targets that do not fit the task.

    Warns:
        LearnkitWarning: a class without training items, or without validation items.
    """
    train = _paired("train", *parts[0], device)
    valid, test = (
        None if x is None and y is None else _paired(name, x, y, device, train)
        for name, (x, y) in zip(("valid", "test"), parts[1:], strict=True)
    )
    meaning = checked_task(task) or _task_of(train[1], None if valid is None else valid[1], classes)
    train = _with_targets(meaning, "train", train)
    valid = valid and _with_targets(meaning, "valid", valid)
    _warn_missing_classes(meaning, train[1], None if valid is None else valid[1])
    return meaning, train, valid, test and _with_targets(meaning, "test", test)


def one_item(item: Any, form: ItemForm | None, device: torch.device) -> Tensor:
    """One input (...) as a batch of one (1, ...) on the device, of the form of the data's, if that is known.

    It has memory of its own: a model may write into its input.
    """
    if form and isinstance(item, Tensor) and (item.shape, item.dtype) == form and item.device == device:
        return item[None].clone()
    if isinstance(item, str | bytes | os.PathLike):
        raise WrongTypeError(
            f"item: got {type(item).__name__} ({item!r})", expected="numbers",
            fix="This data is tensors; files are read by an ImageDataBunch.",
        )  # fmt: skip
    try:
        x = _tensor("item", item, device, form and form.dtype)
    except WrongTypeError as error:
        if not _is_structure(item):
            raise
        raise WrongTypeError(
            f"item: got {names_of(item)}", expected="numbers, the one input of a model",
            fix=SEVERAL_INPUTS,
        ) from error  # fmt: skip
    x = x.clone()
    if form is None:
        return x[None]
    if form.shape is not None and x.shape != form.shape:
        raise UsageError("item", got=tuple(x.shape), expected=f"the shape of one input, {tuple(form.shape)}")
    if x.is_floating_point() and not form.dtype.is_floating_point:
        raise WrongTypeError("item", got=x.dtype, expected=f"integers, like the data ({form.dtype})")
    like_data = x.to(form.dtype)
    if not (form.dtype.is_floating_point or torch.equal(like_data.to(x.dtype), x)):
        raise UsageError("item", got=(int(x.min()), int(x.max())), expected=f"numbers of the data's type, {form.dtype}")
    return like_data[None]


def _is_structure(item: Any) -> bool:
    """Whether an item is a dict, a dataclass, or a tuple or list that holds arrays or such."""
    if isinstance(item, tuple | list):
        return any(getattr(part, "ndim", 0) or _is_structure(part) for part in item)
    return isinstance(item, Mapping) or (is_dataclass(item) and not isinstance(item, type))


def tensor_samples(parts: Mapping[str, Part]) -> "pd.DataFrame":
    """The table of tensors in memory: one row per item, with its number as input, its target and its split."""
    import pandas as pd

    tables = []
    for split, (x, *y) in parts.items():
        targets = y[0].tolist() if y else [None] * len(x)
        tables.append(pd.DataFrame({"input": range(len(x)), "target": targets, "split": split}))
    return pd.concat(tables, ignore_index=True)


def _paired(name: str, x: Any, y: Any, device: torch.device, train: Part = ()) -> Part:
    """(x, y), or for a test set (x,) without y, as tensors of equal length on the device; floats as in training."""
    if x is None or (y is None and name != "test"):
        raise DataError(f"{name}: got no {'inputs' if x is None else 'targets'}", expected="inputs and targets")
    types: Sequence[torch.dtype | None] = [part.dtype for part in train] or [None, None]
    given = [(part, dtype) for part, dtype in zip((x, y), types, strict=True) if part is not None]
    tensors = tuple(_tensor(name, part, device, dtype) for part, dtype in given)
    if len(tensors) == 2 and len(tensors[0]) != len(tensors[1]):
        raise DataError(f"{name}: got {len(tensors[0])} inputs and {len(tensors[1])} targets", expected="equally many")
    if not len(tensors[0]):
        raise DataError(f"the {name} set is empty", fix="Add at least one item, or leave it out.")
    return tensors


def _task_of(y_train: Tensor, y_valid: Tensor | None, classes: Sequence[str] | None) -> Task | None:
    """The task that integers of shape (N,) mean: a classification, of "0" to the largest unless classes are given.

    None for floats of three axes or more, as an autoencoder has: no task is for these, and a learner asks for a loss.

    Raises:
        UsageError: other targets, whose meaning is unknown.
    """
    if y_train.is_floating_point() and y_train.ndim > 2 and classes is None:
        return None
    if y_train.is_floating_point() or y_train.ndim != 1:
        raise UsageError(
            f"targets of type {y_train.dtype} and shape {tuple(y_train.shape)} need a task",
            fix="Pass task=Regression((...names...)) or task=MultiLabel(classes) for float labels of shape (N, n). Any "
            "others train without a task: from_datasets of a TensorDataset, and a loss_func= for the learner.",
        )
    if classes is not None:
        return Classification(tuple(Classes(classes)))
    largest = int(max(y.max() for y in (y_train, y_valid) if y is not None))
    return Classification(tuple(str(i) for i in range(largest + 1)))


def _with_targets(task: Task | None, name: str, tensors: Part) -> Part:
    """With targets as the task's loss takes them; those of a custom task, or of none, are unchanged."""
    x, *targets = tensors
    if task is None:
        return tensors
    return (x, *(checked_targets(task, name, y) for y in targets))


def _warn_missing_classes(task: Task | None, *targets: Tensor | None) -> None:
    """Warn about classes without training items, and about those without validation items.

    Args:
        task: only those of a classification are counted.
        targets: those of training and validation; None without a validation set.
    """
    if not isinstance(task, Classification) or any(y is not None and y.is_floating_point() for y in targets):
        return
    counts = (
        Counter()
        if y is None
        else Counter(dict(zip(task.classes, torch.bincount(y.flatten(), minlength=task.n_out).tolist(), strict=True)))
        for y in targets
    )
    train, valid = (+count for count in counts)
    warn_missing_classes(task.classes, train, valid)


def _tensor(name: str, values: Any, device: torch.device, like: torch.dtype | None = None) -> Tensor:
    """Numbers as a tensor: integers of their type, floats of the type of the data, if that is known.

    If not, tensors are unchanged, and NumPy's default, float64, becomes torch's default type.
    """
    try:
        tensor = torch.as_tensor(values)
        is_double = isinstance(values, np.ndarray) and values.dtype == np.float64
        if tensor.is_floating_point() and like is not None and like.is_floating_point:
            tensor = torch.as_tensor(values, dtype=like)  # of the values themselves, so that nothing is rounded twice
        elif is_double:
            tensor = tensor.to(torch.get_default_dtype())
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise WrongTypeError(f"{name}: got {type(values).__name__} ({error})", expected="numbers") from error
    return tensor.to(device)
