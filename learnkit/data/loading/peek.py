"""What data tells of itself before anything is trained: its first item, and what its targets mean."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from learnkit.data.loading.loaders import TensorLoader
from learnkit.data.tasks import Classification, Task
from learnkit.errors import UsageError
from learnkit.seeds import preserve_all_rng

__all__ = ["checked_task", "first_input", "first_target", "named_task"]


def first_input(loader: Any) -> Any:
    """The first training input, where it can be had without drawing a batch; None elsewhere."""
    return _first(loader, 0)


def first_target(loader: Any) -> Any:
    """The first training target, likewise."""
    return _first(loader, 1)


def _first(loader: Any, place: int) -> Any:
    if isinstance(loader, TensorLoader):
        return loader.tensors[place][0] if place < len(loader.tensors) else None
    if isinstance(loader, list | tuple):  # of batches
        batch = loader[0] if loader else ()
        part = batch[place] if isinstance(batch, tuple | list) and place < len(batch) else None
        return part[0] if isinstance(part, Sequence | Tensor | np.ndarray) and len(part) else None
    dataset: Any = getattr(loader, "dataset", None)
    collates_plainly = getattr(loader, "collate_fn", default_collate) is default_collate
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and collates_plainly):
        return None
    with preserve_all_rng():  # looking must not move what a dataset draws from
        item = dataset[0] if len(dataset) else None
    return item[place] if isinstance(item, tuple | list) and place < len(item) else None


def checked_task(task: Any) -> Task | None:
    """A task, or None.

    Raises:
        UsageError: something else, such as its name.
    """
    if task is not None and not hasattr(task, "n_out"):
        raise UsageError(
            "task",
            got=task,
            expected="an object",
            fix="Pass Regression(), MultiLabel(classes) or Classification(classes).",
        )
    return task  # type: ignore[no-any-return]


def named_task(classes: Sequence[Any] | None) -> Task | None:
    """A classification of these classes, None without any."""
    return Classification(tuple(str(name) for name in classes)) if classes else None
