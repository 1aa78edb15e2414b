"""The metrics that learnkit computes itself: batches are prepared and accumulated, and read once at the end."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor

from learnkit.checks import check_kind
from learnkit.distributed.exchange import gathered, together
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.metrics.accumulate import Accumulator, Range
from learnkit.metrics.per_class import PerClass

__all__ = [
    "CLASSES",
    "LABELS",
    "MASKS",
    "NUMBERS",
    "POINTS",
    "AccumulatedMetric",
    "Batch",
    "Check",
    "Targets",
]

Targets: TypeAlias = Literal["class", "label", "labels", "mask", "numbers", "points"]
"""Per item: a class index, one yes/no, yes/no for each of several labels, a class index per pixel, numbers, places."""

# What metrics take. Pixels have classes as items have; the overlap of masks means nothing for items.
CLASSES: tuple[Targets, ...] = ("class", "label", "mask")
LABELS: tuple[Targets, ...] = ("label", "labels")
NUMBERS: tuple[Targets, ...] = ("numbers",)
MASKS: tuple[Targets, ...] = ("mask",)
POINTS: tuple[Targets, ...] = ("points",)


class Batch(NamedTuple):
    """A batch as an accumulator takes it."""

    parts: tuple[Any, ...]  # as `update` of the accumulator takes them
    n_outputs: int = 1  # per item, the same in all batches
    targets: Tensor | None = None  # whose lowest and highest value are checked at the end


Check: TypeAlias = Callable[[float, float, int], None]
"""Raises a UsageError for a lowest or highest target that is out of range for the number of outputs."""


class AccumulatedMetric(PerClass):
    """A number over a whole set, whatever the batches, or one per class; `update` never waits for the device.

    Args:
        name: its column in the history.
        prepare: raw outputs and targets of a batch as the accumulator takes them.
        accumulator: keeps the batches.
        finish: from what was kept to one number, or one per class.
        takes: the targets it is for.
        higher_is_better: the direction.
        check: check of the range of the targets, once they are read.
        is_per_class: whether there is one number per class.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[Tensor, Tensor], Batch],
        accumulator: Accumulator,
        finish: Callable[..., float | Sequence[float]],
        *,
        takes: tuple[Targets, ...],
        higher_is_better: bool = True,
        check: Check | None = None,
        is_per_class: bool = False,
    ) -> None:
        check_kind("name", name, str, "text, the column of the metric")
        super().__init__(name, is_per_class)
        self.takes = takes
        self.higher_is_better = higher_is_better
        self._prepare = prepare
        self._accumulator = accumulator
        self._finish = finish
        self._check = check
        self._range = Range()
        self._n_outputs: int | None = None  # None before the first batch

    def reset(self) -> None:
        self._accumulator.reset()
        self._range.reset()
        self._n_outputs = None

    def update(self, preds: Tensor, targets: Tensor) -> None:
        try:
            _check_tensors(preds, targets)
            batch = self._prepare(_detached(preds), _detached(targets))
            self._expect(batch.n_outputs)
        except UsageError as error:  # not `_named`, which would cost more than a small batch
            raise error.prefixed(f"metric {self.name}") from None
        self._accumulator.update(*batch.parts)
        if batch.targets is not None:
            self._range.update(batch.targets)

    def merge(self, other: "AccumulatedMetric") -> None:
        """Add the batches that a metric of the same name and settings has seen, perhaps in another process."""
        if other._n_outputs is None:
            return
        with self._named():
            self._expect(other._n_outputs)
        self._accumulator.add(other._accumulator.tensors())
        self._range.add(other._range.tensors())

    def of_all(self) -> Self:
        """The metric of the batches that all processes have seen; every process must call it."""
        if world.size == 1:
            return self
        whole = copy.copy(self)
        whole._accumulator, whole._range, whole._n_outputs = type(self._accumulator)(), Range(), None
        parts = zip(
            gathered(torch.tensor(self._n_outputs or 0)), together(self._accumulator.tensors()),
            together(self._range.tensors()), strict=True,
        )  # fmt: skip
        for n_outputs, kept, ends in parts:
            if n_outputs:
                with self._named():
                    whole._expect(int(n_outputs))
            whole._accumulator.add(kept)
            whole._range.add(ends)
        return whole

    def compute(self) -> float | dict[str, float]:
        if self._n_outputs is None:
            return self.without_batches()
        ends = self._range.compute()
        if self._check is not None and ends:
            low, high = (end.item() for end in ends)
            with self._named():
                self._check(low, high, self._n_outputs)
        found = self._finish(*self._accumulator.compute())
        if isinstance(found, Sequence):
            return self.by_class(found)
        return float(found)

    def state_dict(self) -> dict[str, Any]:
        """What was kept of the batches since the last reset."""
        return {"kept": vars(self._accumulator), "range": self._range.ends, "n_outputs": self._n_outputs}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        vars(self._accumulator).update(saved["kept"])
        self._range.ends, self._n_outputs = saved["range"], saved["n_outputs"]

    def _expect(self, n_outputs: int) -> None:
        if self._n_outputs not in (None, n_outputs):
            expected = f"{self._n_outputs}, as in the batches before"
            raise UsageError("outputs per item", got=n_outputs, expected=expected)
        self._n_outputs = n_outputs

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            raise error.prefixed(f"metric {self.name}") from None


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.requires_grad else tensor  # a view costs more than the question


def _check_tensors(preds: object, targets: object) -> None:
    for what, value in (("preds", preds), ("targets", targets)):
        if not isinstance(value, Tensor):
            fix = "For several, pass a function (preds, targets) that takes its parts."
            raise UsageError(what, got=type(value).__name__, expected="one tensor", fix=fix)
