"""Shared type aliases and `DatasetType`."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from numbers import Integral
from typing import Any, Self, TypeAlias

import torch

from learnkit.errors import UsageError

__all__ = ["Activation", "DatasetType", "LayerDecay", "LearningRate", "Loss", "PathLike"]

PathLike: TypeAlias = str | os.PathLike[str]
Loss: TypeAlias = Callable[..., torch.Tensor]  # (preds, targets) -> scalar
Activation: TypeAlias = Callable[[torch.Tensor], torch.Tensor]  # raw outputs -> predictions


@dataclass(frozen=True)
class LayerDecay:
    """Learning rates that fall from layer group to layer group: `lr * decay**depth`, the head at depth 0.

    With one group per block this is the layer-wise decay of BEiT (Bao et al. 2021): `learn.split(models.blocks)`, then
    `learn.fit(5, lr=LayerDecay(1e-3, 0.75))`.

    Args:
        lr: the rate of the last group, above 0.
        decay: the rate of each group divided by that of the next, in (0, 1].
    """

    lr: float
    decay: float


LearningRate: TypeAlias = float | slice | list[float] | tuple[float, ...] | LayerDecay


class DatasetType(IntEnum):
    """Part of the data, numbered as in fastai v1."""

    Train = 1
    Valid = 2
    Test = 3
    Single = 4
    Fix = 5  # the training items in order, with the validation transforms

    @classmethod
    def of(cls, value: Any, what: str = "ds_type") -> Self:
        """The DatasetType of a DatasetType, its number or its name ("train", "valid", "test").

        Args:
            value: what a caller passed.
            what: the argument's name, for the error.

        Raises:
            UsageError: none of these; the message suggests the nearest name.

        >>> DatasetType.of("valid")
        <DatasetType.Valid: 2>
        >>> DatasetType.of("vaild")
        Traceback (most recent call last):
        learnkit.errors.UsageError: ds_type: got 'vaild', expected 'train', 'valid' or 'test'. Did you mean 'valid'?
        """
        names = {one.name.lower(): one for one in cls}
        if isinstance(value, str) and value.lower() in names:
            return names[value.lower()]
        if isinstance(value, Integral) and not isinstance(value, bool) and value in set(cls):
            return cls(int(value))
        near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.4) if isinstance(value, str) else []
        raise UsageError(
            what, got=value, expected="'train', 'valid' or 'test'", fix=f"Did you mean {near[0]!r}?" if near else ""
        )
