"""Tasks: what a target means, in one place: how it is encoded, scored, activated and read back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from learnkit.errors import DataError, nearest

__all__ = ["Classification", "MultiLabel", "Regression", "Task"]


class Task(Protocol):
    """What a target means."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the outputs, empty when they have none."""

    @property
    def n_out(self) -> int:
        """How many outputs a model needs."""

    def encode(self, label: Any) -> Tensor:
        """A label as the loss wants it."""

    def loss(self) -> nn.Module:
        """The loss that goes with the task."""

    def activation(self, raw: Tensor) -> Tensor:
        """Raw outputs (N, n_out) as a user reads them."""

    def decode(self, activated: Tensor) -> tuple[Any, Tensor]:
        """(label, index) of one activated row (n_out,)."""


@dataclass(frozen=True)
class Classification:
    """One class an item; targets are int64 class numbers (N,)."""

    classes: tuple[str, ...]

    @property
    def n_out(self) -> int:
        return len(self.classes)

    def encode(self, label: Any) -> Tensor:
        if str(label) not in self.classes:
            raise DataError(
                "label", got=label, expected=f"one of the classes: {nearest(str(label), self.classes)}, ..."
            )
        return torch.tensor(self.classes.index(str(label)))

    def loss(self) -> nn.Module:
        return nn.CrossEntropyLoss()

    def activation(self, raw: Tensor) -> Tensor:
        return raw.softmax(1)

    def decode(self, activated: Tensor) -> tuple[str, Tensor]:
        index = activated.argmax()
        return self.classes[int(index)], index


@dataclass(frozen=True)
class MultiLabel:
    """Any number of classes an item, none included; targets are float 0/1 vectors (N, n_classes)."""

    classes: tuple[str, ...]
    threshold: float = 0.5

    @property
    def n_out(self) -> int:
        return len(self.classes)

    def encode(self, label: Any) -> Tensor:
        target = torch.zeros(len(self.classes))
        for name in label:
            if name not in self.classes:
                raise DataError(
                    "label", got=name, expected=f"one of the classes: {nearest(str(name), self.classes)}, ..."
                )
            target[self.classes.index(name)] = 1
        return target

    def loss(self) -> nn.Module:
        return nn.BCEWithLogitsLoss()

    def activation(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()

    def decode(self, activated: Tensor) -> tuple[list[str], Tensor]:
        chosen = activated > self.threshold
        return [name for name, is_chosen in zip(self.classes, chosen.tolist(), strict=True) if is_chosen], chosen


@dataclass(frozen=True)
class Regression:
    """Numbers an item; targets are float (N, n) or (N,)."""

    names: tuple[str, ...] = ("value",)

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def n_out(self) -> int:
        return len(self.names)

    def encode(self, label: Any) -> Tensor:
        return torch.as_tensor(label, dtype=torch.float32)

    def loss(self) -> nn.Module:
        return nn.MSELoss()

    def activation(self, raw: Tensor) -> Tensor:
        return raw

    def decode(self, activated: Tensor) -> tuple[tuple[float, ...], Tensor]:
        return tuple(activated.reshape(-1).tolist()), activated
