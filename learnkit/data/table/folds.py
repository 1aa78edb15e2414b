"""Cross-validation: bunches that each validate on a different part, and predictions in the table's order."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.checks import check_int, is_int
from learnkit.data.table.columns import group_numbers
from learnkit.data.table.draws import by_class, class_counts, permutation
from learnkit.errors import DataError, WrongTypeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Folds", "fold_numbers"]

Bunch = TypeVar("Bunch")


class Folds(Generic[Bunch]):
    """k bunches, each made when it is accessed.

    ```python
    folds = dls.folds(5)
    preds = []
    for fold in folds:
        learn = cnn_learner(fold, resnet18)
        learn.fit(3)
        preds.append(learn.get_preds()[0])
    out_of_fold = folds.in_order(preds)  # one row per row of folds.samples, from the model that did not train on it
    ```

    Attributes:
        samples: the rows that are dealt out, in the table's order.
        numbers: the fold of each of them, int64 (len(samples),).
    """

    def __init__(self, samples: "pd.DataFrame", numbers: npt.NDArray[np.int64], fold: Callable[[int], Bunch]) -> None:
        self.samples = samples
        self.numbers = numbers
        self._fold = fold

    def __len__(self) -> int:
        return int(self.numbers.max()) + 1

    def __getitem__(self, number: int) -> Bunch:
        if not is_int(number):
            raise WrongTypeError("fold", got=number, expected=f"a number from 0 to {len(self) - 1}")
        if not -len(self) <= number < len(self):
            raise IndexError(f"fold {number} of {len(self)}")  # ends a loop over them
        return self._fold(number % len(self))

    def __iter__(self) -> Iterator[Bunch]:
        return (self._fold(number) for number in range(len(self)))

    def in_order(self, parts: Iterable[Tensor | npt.NDArray[Any]]) -> Tensor:
        """Values of each fold's validation set, (n_fold, ...), as one tensor (len(samples), ...) in the table's order.

        Raises:
            DataError: not one tensor per fold, of another length than the fold's validation set, or of other shapes.
        """
        given, sizes = list(parts), np.bincount(self.numbers).tolist()
        if any(not hasattr(part, "shape") for part in given):
            raise DataError("folds", got=type(given[0]).__name__, expected=f"{len(self)} tensors, one of each fold",
                            fix="learn.get_preds() returns (predictions, targets): pass one of them.")  # fmt: skip
        values = [torch.as_tensor(part).cpu() for part in given]
        if [len(part) for part in values] != sizes:
            raise DataError("folds", got=f"parts of {[len(part) for part in values]} rows", expected=f"{sizes}")
        if len(shapes := {tuple(part.shape[1:]) for part in values}) > 1:
            raise DataError("folds", got=f"items of the shapes {sorted(shapes)}", expected="one shape")
        whole = torch.empty(len(self.numbers), *values[0].shape[1:], dtype=values[0].dtype)
        for number, part in enumerate(values):
            whole[torch.from_numpy(self.numbers == number)] = part
        return whole


def fold_numbers(
    samples: "pd.DataFrame", k: int, *, stratify: bool, group: str | None, seed: int
) -> npt.NDArray[np.int64]:
    """The fold, 0 to k - 1, in which each row is validated: every row in one, sizes as even as possible.

    Args:
        samples: the rows.
        k: number of folds.
        stratify: spread every class evenly, as far as the groups allow.
        group: a column; rows of a group share a fold.
        seed: seed of the draw.

    Raises:
        UsageError: k below 2.
        DataError: fewer rows, or groups, than folds.
    """
    check_int("k", k, 2, expected="a number of folds, 2 or more")
    groups = None if group is None else group_numbers(samples, group)
    n_units = len(samples) if groups is None else len(set(groups.tolist()))
    if n_units < k:
        raise DataError(f"{k} folds", got=f"{n_units} {'rows' if group is None else 'groups'}", expected=f"{k} or more")
    folds = np.empty(len(samples), dtype=np.int64)
    if groups is None:
        order = by_class(samples["target"], seed) if stratify else permutation(len(samples), seed)
        folds[order] = np.arange(len(samples)) % k
        return folds
    sizes = np.bincount(groups)
    counts = class_counts(samples["target"], groups, seed) if stratify else sizes[:, None].astype(np.float64)
    return _dealt_out(counts, k, seed)[groups]


def _dealt_out(counts: npt.NDArray[np.float64], k: int, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each group: the largest first, each into the fold that has least of what it holds.

    That fold keeps the sum of the squared shares of every class smallest, and so the folds most even, as the greedy
    search of scikit-learn's StratifiedGroupKFold does by their standard deviations.

    Args:
        counts: (n_groups, n_classes + 1), as `class_counts` returns them; at least k groups.
        k: number of folds.
        seed: seed of the order among groups of one size.
    """
    shuffled = permutation(len(counts), seed)
    order = shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]
    shares = counts / np.maximum(counts.sum(0), 1)
    held, folds = np.zeros((k, counts.shape[1])), np.empty(len(counts), dtype=np.int64)
    for group in order:
        overlap = held @ shares[group]  # 0 with an empty fold: the first k groups go to a fold each
        least = np.flatnonzero(np.isclose(overlap, overlap.min()))
        fold = least[held[least, -1].argmin()]
        held[fold] += shares[group]
        folds[group] = fold
    return folds
