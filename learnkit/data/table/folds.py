"""Cross-validation: bunches of which each validates on another part, and predictions put back in the table's order."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Folds"]

Bunch = TypeVar("Bunch")


class Folds(Generic[Bunch]):
    """k bunches, made when they are asked for.

    ```python
    folds = dls.folds(5)
    preds = []
    for fold in folds:
        learn = cnn_learner(fold, resnet18)
        learn.fit(3)
        preds.append(learn.get_preds()[0])
    out_of_fold = folds.in_order(preds)  # a row for each of folds.samples, from the model that did not see it
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
        if not -len(self) <= number < len(self):
            raise IndexError(f"fold {number} of {len(self)}")
        return self._fold(number % len(self))

    def __iter__(self) -> Iterator[Bunch]:
        return (self._fold(number) for number in range(len(self)))

    def in_order(self, parts: Sequence[Tensor]) -> Tensor:
        """Values of each fold's validation set, (n_fold, ...), as one tensor (len(samples), ...) in the table's order.

        Raises:
            DataError: not one tensor a fold, or of another length than the fold's validation set.
        """
        sizes = np.bincount(self.numbers).tolist()
        if [len(part) for part in parts] != sizes:
            raise DataError("folds", got=f"parts of {[len(part) for part in parts]} rows", expected=f"{sizes}")
        whole = torch.empty(len(self.numbers), *parts[0].shape[1:], dtype=parts[0].dtype)
        for number, part in enumerate(parts):
            whole[torch.from_numpy(self.numbers == number)] = part.cpu()
        return whole
