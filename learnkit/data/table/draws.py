"""Seeded draws of rows: a permutation, an order by class, and groups that give every class its share."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["by_class", "permutation"]


def permutation(n: int, seed: int) -> npt.NDArray[np.int64]:
    """The numbers from 0 to n - 1 in an order drawn by the seed."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()


def by_class(targets: "pd.Series[Any]", seed: int) -> npt.NDArray[np.int64]:
    """Row numbers sorted by target, in random order among equals."""
    shuffled = permutation(len(targets), seed)
    keys = [_class_key(value) for value in targets]
    in_order = sorted(set(keys), key=lambda key: (str(type(key)), str(key) if key is None else key))
    ranks = {key: rank for rank, key in enumerate(in_order)}
    return shuffled[np.argsort([ranks[keys[row]] for row in shuffled], kind="stable")]


def _class_key(target: Any) -> Hashable:
    """Equal for equal sets of labels, in whatever order they are listed."""
    return tuple(sorted(map(str, target))) if isinstance(target, list | set | np.ndarray) else target
