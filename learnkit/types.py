"""Shared type aliases and `DatasetType`."""

import os
from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias

import torch

__all__ = ["Activation", "DatasetType", "LearningRate", "Loss", "PathLike"]

PathLike: TypeAlias = str | os.PathLike[str]
Loss: TypeAlias = Callable[..., torch.Tensor]  # (preds, targets) -> scalar
Activation: TypeAlias = Callable[[torch.Tensor], torch.Tensor]  # raw model output -> what a user reads
LearningRate: TypeAlias = float | slice | list[float] | tuple[float, ...]


class DatasetType(IntEnum):
    """Part of the data, numbered as in fastai v1."""

    Train = 1
    Valid = 2
    Test = 3
    Single = 4
    Fix = 5  # the training items in order, with the validation transforms
