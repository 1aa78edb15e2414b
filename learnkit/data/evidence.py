"""What data tells of itself before anything is trained: its first input, its pairs, and what its targets mean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from learnkit.data.loaders import TensorLoader
from learnkit.data.tasks import Classification, Task
from learnkit.errors import DataError, UsageError
from learnkit.seeds import kept_all_rng

__all__ = ["first_input", "named_task", "paired", "task_of"]


def first_input(loader: Any) -> Any:
    """The first training input, where it can be had without drawing a batch; None elsewhere."""
    if isinstance(loader, TensorLoader):
        return loader.tensors[0][0]
    if isinstance(loader, list | tuple):  # of batches
        batch = loader[0] if loader else ()
        return batch[0][0] if isinstance(batch, tuple | list) and len(batch) and len(batch[0]) else None
    dataset: Any = getattr(loader, "dataset", None)
    collates_plainly = getattr(loader, "collate_fn", default_collate) is default_collate
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and collates_plainly):
        return None
    with kept_all_rng():  # looking must not move what a dataset draws from
        item = dataset[0] if len(dataset) else None
    return item[0] if isinstance(item, tuple | list) and item else None


def paired(name: str, x: Any, y: Any, device: torch.device) -> tuple[Tensor, ...]:
    """(x, y), or (x,) without y, as tensors of equal length on the device."""
    tensors = tuple(torch.as_tensor(part, device=device) for part in (x, y) if part is not None)
    if len(tensors) == 2 and len(tensors[0]) != len(tensors[1]):
        raise DataError(
            f"{name}: got {len(tensors[0])} inputs and {len(tensors[1])} targets", expected="as many of both"
        )
    if not len(tensors[0]):
        raise DataError(f"the {name} set is empty", fix="Give it at least one item, or leave it out.")
    return tensors


def task_of(y_train: Tensor, y_valid: Tensor, classes: Sequence[str] | None) -> Task:
    """The task that whole numbers of shape (N,) mean: a classification, of "0" to the largest unless classes are given.

    Raises:
        UsageError: other targets, which do not say what they mean.
        DataError: a class number without a class.
    """
    if y_train.is_floating_point() or y_train.ndim != 1:
        raise UsageError(
            f"targets of type {y_train.dtype} and shape {tuple(y_train.shape)} do not say what they mean",
            fix="Float labels need task=Regression((...names...)) or task=MultiLabel(classes), of learnkit.data.tasks.",
        )
    low, high = int(min(y_train.min(), y_valid.min())), int(max(y_train.max(), y_valid.max()))
    names = tuple(str(i) for i in range(high + 1)) if classes is None else tuple(classes)
    if low < 0 or high >= len(names):
        raise DataError(
            "class numbers", got=f"{low} to {high}", expected=f"0 to {len(names) - 1}, one of {len(names)} classes"
        )
    return Classification(names)


def named_task(classes: Sequence[Any] | None) -> Task | None:
    """A classification of these classes, None without any."""
    return Classification(tuple(str(name) for name in classes)) if classes else None
