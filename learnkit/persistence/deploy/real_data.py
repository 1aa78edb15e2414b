"""Real data to check an export on: items of a learner's data, evenly spaced, the same ones in every export."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor

from learnkit.data.bunch import DataBunch
from learnkit.data.image.sources import opened
from learnkit.data.loading.batch_parts import parts_of
from learnkit.data.loading.loaders import ImageLoader
from learnkit.metrics.metric import Metric
from learnkit.types import DatasetType

__all__ = ["RealData"]


class RealData(NamedTuple):
    """A learner's data, and what it is measured by.

    Attributes:
        dls: the data, maybe without any items.
        metrics: take raw outputs.
        are_chosen: the metrics are a user's, not those of the task, which take one output.
    """

    dls: DataBunch
    metrics: Sequence[Metric] = ()
    are_chosen: bool = True

    @property
    def has_inputs(self) -> bool:
        """Whether there are training items."""
        return getattr(self.dls.fix_dl, "n_items", 1) > 0

    def images(self, n: int) -> list[Any]:
        """At most n images of the validation set, as they are given: paths, or images without a file."""
        loader = None if self.dls.valid_dl is None else self.dls.ordered_dl(DatasetType.Valid)
        if not isinstance(loader, ImageLoader):
            return []
        sources = loader.dataset.inputs
        return [opened(sources[place]) for place in _spaced(len(sources), n)]

    def inputs(self, n: int) -> Iterator[Tensor]:
        """At most n inputs of the training set, (1, ...), as the model sees them, not augmented."""
        loader = self.dls.ordered_dl(DatasetType.Train)
        n_items = getattr(loader, "n_items", None)
        if n_items is not None:
            yield from (self.dls.one_input(DatasetType.Train, place).cpu() for place in _spaced(n_items, n))
            return
        rows = (row for batch in loader for row in parts_of(batch)[0].split(1))
        yield from (row.cpu() for row in islice(rows, n))

    def batches(self) -> Iterator[tuple[Tensor, Any]]:
        """The validation set as the model sees it, (x, y) on the CPU; nothing if there is none, or it has no labels."""
        if self.dls.valid_dl is None:
            return
        for x, *y in self.dls.ordered_dl(DatasetType.Valid):
            if len(y) == 1 and isinstance(x, Tensor):
                yield x.cpu(), y[0].cpu()


def _spaced(n_items: int, n: int) -> list[int]:
    """At most n places, from the first on and evenly spaced over all of n_items."""
    n = min(n, n_items)
    return [place * n_items // n for place in range(n)]
