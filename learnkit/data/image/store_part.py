"""Some items of a store in an order of their own: a split of a set that is cached as a whole."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learnkit.data.image.cache import Arrays, Store

__all__ = ["StorePart"]


class StorePart:
    """The items of a store at these places.

    Args:
        whole: the store.
        places: of each item in it, int64 (n,).
    """

    def __init__(self, whole: Store, places: Sequence[int]) -> None:
        self.whole: Store = whole
        self.places: npt.NDArray[np.int64] = np.asarray(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Arrays:
        return self.whole[int(self.places[i])]

    def rows(self, indices: Sequence[int]) -> npt.NDArray[Any] | None:
        """Items as one array, as `Store.rows` does."""
        return self.whole.rows(self.places[np.asarray(indices, dtype=np.int64)])  # type: ignore[arg-type]
