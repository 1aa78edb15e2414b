"""Metrics that torchmetrics computes, their objects made at the first batch, when the number of outputs is known."""

import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from learnkit.errors import UsageError

__all__ = [
    "CLASSES",
    "LABELS",
    "MASKS",
    "NUMBERS",
    "LazyMetric",
    "Prepared",
    "Targets",
    "check_average",
    "import_torchmetrics",
]

Prepared = tuple[Tensor, Tensor, int]  # what torchmetrics gets, and the number of outputs

Targets: TypeAlias = Literal["class", "label", "labels", "mask", "numbers"]
"""Of an item: a class number, one yes/no, a yes/no for each of several labels, a class number a pixel, numbers."""

# What metrics take. Pixels have classes as items have; the overlap of masks means nothing for items.
CLASSES: tuple[Targets, ...] = ("class", "label", "mask")
LABELS: tuple[Targets, ...] = ("label", "labels")
NUMBERS: tuple[Targets, ...] = ("numbers",)
MASKS: tuple[Targets, ...] = ("mask",)


class LazyMetric:
    """A number over a whole set, gathered by a torchmetrics object.

    What torchmetrics warns of (a class without items, say) is dealt with by `finish`, so its warnings are not shown.

    Args:
        name: its column in the history.
        prepare: raw outputs and targets of a batch as torchmetrics takes them, with the number of outputs.
        build: the torchmetrics object for that number of outputs.
        finish: what that object computes as one number.
        takes: the targets it is meant for.
        higher_is_better: which way is up.

    Raises:
        UsageError: torchmetrics is not installed.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[Tensor, Tensor], Prepared],
        build: Callable[[int], Any],
        finish: Callable[[Any], float] = float,
        *,
        takes: tuple[Targets, ...],
        higher_is_better: bool = True,
    ) -> None:
        import_torchmetrics(name)  # now, not after an epoch of training
        self.name = name
        self.takes = takes
        self.higher_is_better = higher_is_better
        self._prepare = prepare
        self._build = build
        self._finish = finish
        self.reset()

    def reset(self) -> None:
        self._metric: Any = None
        self._n_outputs = 0

    def update(self, preds: Tensor, targets: Tensor) -> None:
        for what, value in (("preds", preds), ("targets", targets)):
            if not isinstance(value, Tensor):
                got = type(value).__name__
                raise UsageError(f"metric {self.name}: {what}", got=got, expected="one tensor")
        try:
            inputs, wanted, n_outputs = self._prepare(preds.detach(), targets.detach())
        except UsageError as error:
            raise UsageError(f"metric {self.name}: {error.message}") from None
        if not len(wanted):
            return  # nothing left in this batch that counts
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._metric is None:
                self._metric, self._n_outputs = self._build(n_outputs).to(inputs.device), n_outputs
                if inputs.is_floating_point():
                    self._metric.set_dtype(inputs.dtype)
            if n_outputs != self._n_outputs:
                expected = f"{self._n_outputs}, as in the batches before"
                raise UsageError(f"metric {self.name}: outputs for each item", got=n_outputs, expected=expected)
            with torch.no_grad():
                self._metric.update(inputs, wanted)

    def compute(self) -> float:
        if self._metric is None:
            return float("nan")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._finish(self._metric.compute())


def import_torchmetrics(name: str) -> Any:
    """The torchmetrics module, for the metric of this name.

    Raises:
        UsageError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own imports
            import torchmetrics
    except ImportError as error:
        raise UsageError(
            f"metric {name} needs torchmetrics, which is not installed",
            fix='Install it: pip install "learnkit[metrics]".',
        ) from error
    return torchmetrics


def check_average(average: str, known: tuple[str, ...]) -> str:
    """The way to average if it is known, else a UsageError."""
    if average not in known:
        raise UsageError("average", got=average, expected=f"one of {', '.join(known)}")
    return average
