"""Tasks: the meaning of a target: how it is encoded, activated, decoded and shown, its loss and its metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from learnkit.checks import is_number, nearest, plain
from learnkit.data.classes import Classes, check_same_classes, label_text
from learnkit.errors import DataError, UsageError
from learnkit.losses.flattened import MSELossFlat

__all__ = ["Classification", "MultiLabel", "Regression", "Task", "task_of_classes"]


class Task(Protocol):
    """The meaning of a target."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the outputs; empty if unnamed."""

    @property
    def n_out(self) -> int:
        """The number of outputs a model needs."""

    @property
    def metrics(self) -> Sequence[Any]:
        """The metrics of `metrics="default"`."""

    def encode(self, label: Any) -> Tensor:
        """A label as a target of the loss."""

    def loss(self) -> nn.Module:
        """The default loss."""

    def activation(self, raw: Tensor) -> Tensor:
        """Raw outputs (N, n_out) as probabilities or values."""

    def decode(self, activated: Tensor) -> tuple[Any, Tensor]:
        """(label, index) of one row of activated outputs (n_out,)."""

    def text(self, target: Tensor) -> str:
        """One encoded target as a title of its image."""


@dataclass(frozen=True)
class Classification:
    """One class per item; targets are int64 class indices (N,).

    Raises:
        DataError: fewer than two classes.
        UsageError: classes that are not a list of different names.
    """

    classes: tuple[str, ...]
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", Classes(self.classes))
        if len(self.classes) < 2:
            raise DataError(
                f"only class {self.classes[0]!r}" if self.classes else "no classes",
                expected="two or more",
                fix="Add a class; for several labels per item, or numbers, pass another task (task=).",
            )

    @property
    def n_out(self) -> int:
        return len(self.classes)

    def encode(self, label: Any) -> Tensor:
        name = label_text(label)
        if name not in self._places:
            raise DataError("label", got=label, expected=f"one of the classes: {nearest(name, self.classes)}, ...")
        return torch.tensor(self._places[name])

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.classes)}

    def loss(self) -> nn.Module:
        return nn.CrossEntropyLoss()

    def activation(self, raw: Tensor) -> Tensor:
        return raw.softmax(1)

    def decode(self, activated: Tensor) -> tuple[str, Tensor]:
        index = activated.argmax()
        return self.classes[int(index)], index

    def text(self, target: Tensor) -> str:
        return self.classes[int(target)]


@dataclass(frozen=True)
class MultiLabel:
    """Any number of classes per item, including none; targets are float 0/1 vectors (N, n_classes).

    Attributes:
        classes: the names.
        threshold: a class is predicted if its probability is above it; one number, or one per class.
    """

    classes: tuple[str, ...]
    threshold: float | tuple[float, ...] = 0.5
    metrics: ClassVar[tuple[str, ...]] = ("accuracy_multi",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", Classes(self.classes))
        each: Any = plain(self.threshold)
        if isinstance(each, list):  # of NumPy or torch, or from a file without tuples
            object.__setattr__(self, "threshold", tuple(each))
        each = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        if isinstance(self.threshold, tuple) and len(each) != len(self.classes):
            expected = f"one number, or {len(self.classes)}: one per class"
            raise UsageError("threshold", got=self.threshold, expected=expected)
        if not all(is_number(one) and 0 <= one < 1 for one in each):
            expected = "a probability, 0 or more and below 1, or one per class"
            raise UsageError("threshold", got=self.threshold, expected=expected)

    @property
    def n_out(self) -> int:
        return len(self.classes)

    def encode(self, label: Any) -> Tensor:
        """A list of classes as a 0/1 vector (n_classes,).

        Raises:
            DataError: a label that is not a class.
        """
        target = torch.zeros(len(self.classes))
        for name in label:
            if name not in self._places:
                raise DataError(
                    "label", got=name, expected=f"one of the classes: {nearest(str(name), self.classes)}, ..."
                )
            target[self._places[name]] = 1
        return target

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.classes)}

    def loss(self) -> nn.Module:
        return nn.BCEWithLogitsLoss()

    def activation(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()

    def chosen(self, activated: Tensor) -> Tensor:
        """Whether each class is above its threshold, bool (..., n_out), for activated outputs (..., n_out)."""
        if isinstance(self.threshold, tuple):
            return activated > torch.tensor(self.threshold, dtype=activated.dtype, device=activated.device)
        return activated > self.threshold

    def decode(self, activated: Tensor) -> tuple[list[str], Tensor]:
        chosen = self.chosen(activated)
        return [name for name, is_chosen in zip(self.classes, chosen.tolist(), strict=True) if is_chosen], chosen

    def text(self, target: Tensor) -> str:
        named = zip(self.classes, target.tolist(), strict=True)
        return "; ".join(name for name, is_there in named if is_there) or "(none)"


@dataclass(frozen=True)
class Regression:
    """Numbers per item; targets are float32 (N, n), one column for each of `names`."""

    names: tuple[str, ...] = ("value",)
    metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae")

    def __post_init__(self) -> None:
        if isinstance(self.names, str):
            raise UsageError("names", got=self.names, expected="a tuple of names, one for each number")
        object.__setattr__(self, "names", tuple(map(str, self.names)))

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def n_out(self) -> int:
        return len(self.names)

    def encode(self, label: Any) -> Tensor:
        """Numbers as float32 (n,).

        Raises:
            DataError: another number of them.
        """
        numbers = torch.as_tensor(label, dtype=torch.float32).reshape(-1)
        if len(numbers) != len(self.names):
            raise DataError("label", got=label, expected=f"{len(self.names)} numbers: {', '.join(self.names)}")
        return numbers

    def loss(self) -> nn.Module:
        return MSELossFlat()  # accepts targets (N,) and (N, 1)

    def activation(self, raw: Tensor) -> Tensor:
        return raw

    def decode(self, activated: Tensor) -> tuple[tuple[float, ...], Tensor]:
        return tuple(activated.reshape(-1).tolist()), activated

    def text(self, target: Tensor) -> str:
        numbers = [f"{number:.4g}" for number in target.reshape(-1).tolist()]
        if len(numbers) == 1:
            return numbers[0]
        return "; ".join(f"{name} {number}" for name, number in zip(self.names, numbers, strict=True))


def task_of_classes(task: Task | str | None, classes: Classes) -> Task:
    """The Classification of some classes, or with "multilabel" the MultiLabel; a task of these classes itself.

    Raises:
        UsageError: a task without classes.
        DataError: a task of other classes.
    """
    kinds: dict[str | None, type[Classification | MultiLabel]] = {
        None: Classification, "classification": Classification, "multilabel": MultiLabel,
    }  # fmt: skip
    if isinstance(task, str | None) and task in kinds:
        return kinds[task](classes)
    if not isinstance(task, Classification | MultiLabel):
        raise UsageError("task", got=task, expected="a task with classes: 'classification', 'multilabel'")
    check_same_classes(task.classes, classes, "task=", "classes", "Pass the same list.")
    return task
