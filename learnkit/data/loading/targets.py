"""Targets of datasets and loaders: what they mean, and whether they fit that."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset, default_collate

from learnkit.data.classes import Classes, check_same_classes
from learnkit.data.loading.batch_parts import parts_of
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, UsageError
from learnkit.text import counted

__all__ = [
    "SET_NAMES",
    "TargetCheck",
    "check_dataset",
    "checked_targets",
    "checked_task",
    "known_classes",
    "known_task",
    "listed_targets",
]

SET_NAMES = {"train": "training", "valid": "validation"}
SAME_ORDER = "A number would mean another class in each: number the classes of all sets alike."


def checked_task(task: Any) -> Task | None:
    """A task, or None.

    Raises:
        UsageError: something else, such as its name.
    """
    if task is not None and not hasattr(task, "n_out"):
        raise UsageError(
            "task",
            got=task,
            expected="a task object",
            fix="Pass Regression(), MultiLabel(classes) or Classification(classes).",
        )
    return task  # type: ignore[no-any-return]


def known_task(task: Any, classes: Iterable[Any] | None, sets: Mapping[str, Any]) -> Task | None:
    """The task given, or the classification of the classes given or named by the datasets; None without any.

    Args:
        task: a task, or None.
        classes: names of the class indices, or None.
        sets: the datasets by name, as for `known_classes`.

    Raises:
        UsageError: something that is not a task.
        DataError: two datasets with different classes.
    """
    task = checked_task(task)
    names = known_classes((task.classes or None) if task is not None else classes, sets)
    return task if task is not None or names is None else Classification(tuple(names))


def known_classes(given: Iterable[Any] | None, sets: Mapping[str, Any]) -> Classes | None:
    """The classes that class indices are numbers of: those given, or those that the datasets name; None without any.

    Args:
        given: names in the order of the indices; they may rename those of the datasets.
        sets: a dataset, or None, by its name in errors. Its classes are its attribute `classes`; a Subset or a
            ConcatDataset has those of the datasets it is made of.

    Raises:
        DataError: two datasets with different classes, or the same classes given in another order.
    """
    named = {f"the {SET_NAMES.get(name, name)} set": classes_of(dataset) for name, dataset in sets.items()}
    known = [(name, classes) for name, classes in named.items() if classes]
    for name, classes in known[1:]:
        check_same_classes(known[0][1], classes, known[0][0], name, SAME_ORDER)
    if given is None:
        return known[0][1] if known else None
    names = Classes(given)
    if known and sorted(names) == sorted(known[0][1]):
        check_same_classes(known[0][1], names, known[0][0], "the argument classes", "Leave classes= out.")
    return names or None


def classes_of(dataset: Any) -> Classes | None:
    """The classes that a dataset names; None if it names none. Several names of one class, as ImageNet has, are one.

    Raises:
        UsageError: names without an order.
        DataError: the parts of a ConcatDataset have different classes.
    """
    names = getattr(dataset, "classes", None)
    if isinstance(names, Iterable):
        return Classes([", ".join(name) if isinstance(name, tuple) else name for name in names])
    if isinstance(dataset, Subset):
        return classes_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return known_classes(None, {f"joined ({number})": part for number, part in enumerate(dataset.datasets)})
    return None


def listed_targets(dataset: Any) -> Any:
    """The targets of all items, a tensor or a list, where none has to be read; None for other datasets.

    Those of tensors in memory, of a list of pairs, of the attribute `targets` of torchvision's datasets (if there is no
    target_transform), and of a Subset of these.
    """
    if isinstance(dataset, Subset):
        targets = listed_targets(dataset.dataset)
        indices = list(dataset.indices)
        return targets[indices] if isinstance(targets, Tensor) else targets and [targets[i] for i in indices]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1] if len(dataset.tensors) > 1 else None
    if isinstance(dataset, list | tuple):
        are_pairs = all(isinstance(item, list | tuple) and len(item) > 1 for item in dataset)
        return [item[-1] for item in dataset] if are_pairs else None
    targets = getattr(dataset, "targets", None)
    is_one_each = isinstance(targets, Tensor | Sequence) and len(targets) == len(dataset)
    return targets if is_one_each and getattr(dataset, "target_transform", None) is None else None


def check_dataset(task: Task | None, name: str, dataset: Any) -> None:
    """Check the targets of a dataset that lists them; of other datasets, the first batch is checked when it is read.

    Raises:
        DataError: targets that do not fit the task.
    """
    targets = None if task is None else listed_targets(dataset)
    if task is None or targets is None:
        return
    try:
        checked_targets(task, name, _joined(targets))
    except DataError:  # a dataset may list other targets than its items have
        checked_targets(task, name, _joined([dataset[i][-1] for i in range(len(dataset))]))


def checked_targets(task: Task, name: str, y: Any) -> Any:
    """Targets (N, ...) as the task's loss takes them; those of a custom task, or of several tensors, are unchanged.

    Raises:
        DataError: text, another shape or type than the task's, or numbers out of its range.
    """
    if isinstance(y, list | tuple) and any(isinstance(label, str) for label in y):
        raise DataError(
            f"{name}: targets", got=list(y[:3]), expected="numbers, such as class indices",
            fix="Return the index of the class in `classes`; ImageDataBunch.from_datasets takes names.",
        )  # fmt: skip
    if not isinstance(y, Tensor):
        return y
    n = task.n_out
    given, are_floats = y.dtype, y.is_floating_point()
    if isinstance(task, Regression | MultiLabel):
        y = y if are_floats else y.to(torch.get_default_dtype())
        fits = y.ndim == n == 1 or (y.ndim > 1 and y.shape[1] == n)
        fine = y.isfinite() if isinstance(task, Regression) else (y >= 0) & (y <= 1)
        of = "" if isinstance(task, Regression) else " of 0 or 1"
        expected = f"{counted(n, 'number' if of else 'finite number')}{of} per item"
    elif isinstance(task, Classification):
        y = y if are_floats else y.long()
        fits = y.shape == (len(y), n) if are_floats else y.shape != (len(y), 1)
        expected = f"class indices from 0 to {n - 1}, one per item"
        fine = (y >= 0) & ((y <= 1) if are_floats else (y < n))
    elif isinstance(task, Segmentation) and task.binary:
        y = y[:, None].float() if y.ndim == 3 else y.float()
        fits, expected = y.ndim == 4 and y.shape[1] == 1, "0 or 1 for each pixel, (N, height, width)"
        fine = (y == 0) | (y == 1) | (y == (-1 if task.ignored is None else task.ignored))
    elif isinstance(task, Segmentation):
        y = y if y.dtype == torch.uint8 else y.long()
        fits, expected = y.ndim == 3 and not are_floats, f"class indices from 0 to {n - 1}, (N, height, width)"
        fine = (y >= 0) & (y < n) | (y == (-1 if task.ignored is None else task.ignored))
    else:
        return y
    if not fits:
        raise DataError(f"{name}: targets of shape {tuple(y.shape)} and type {given}", expected=expected)
    wrong = (~fine).reshape(len(y), -1).any(1).nonzero()[:, 0].tolist()
    if wrong:
        strange = y[wrong[0]][~fine[wrong[0]]][:3].tolist()
        raise DataError(
            f"{name}: {counted(len(wrong), 'target')}, first that of item {wrong[0]}", got=strange, expected=expected
        )
    return y


class TargetCheck:
    """Checks the targets of the first batch, and gives every later batch the type that those were converted to.

    Python's numbers, which are collated as float64, become floats like the inputs.

    Args:
        task: what the targets mean; None to check nothing.
        name: of the set, for errors.
    """

    def __init__(self, task: Task | None, name: str) -> None:
        self.task = task
        self.name = name
        self._is_done = task is None
        self._dtype: torch.dtype | None = None  # None to leave it

    def __call__(self, batch: Any) -> tuple[Any, ...]:
        """A batch as a tuple, (inputs..., targets) or (inputs,); targets that are not one tensor are unchanged.

        Raises:
            DataError: a batch with named entries, or targets that do not fit the task.
        """
        parts = parts_of(batch, f" of the {self.name} set")
        if self._is_done and self._dtype is None:
            return parts
        if len(parts) > 1 and not self._is_done and self.task is not None:
            fitting = checked_targets(self.task, self.name, parts[-1])
            self._is_done = True
            if isinstance(fitting, Tensor):
                is_double = torch.float64 in {fitting.dtype} - {getattr(x, "dtype", None) for x in parts[:-1]}
                dtype = torch.get_default_dtype() if is_double else fitting.dtype
                self._dtype = None if dtype == parts[-1].dtype else dtype
        return (*parts[:-1], parts[-1].to(self._dtype)) if len(parts) > 1 and self._dtype is not None else parts


def _joined(targets: Any) -> Any:
    """The targets of items as those of one batch."""
    if isinstance(targets, Tensor):
        return targets
    try:
        return default_collate(list(targets))
    except (TypeError, RuntimeError):  # of different shapes, or not for torch: only the dataset's own collation knows
        return None
