"""The `Metric` protocol, and how names, functions and objects become metrics."""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from learnkit.checks import check_int, nearest
from learnkit.errors import UsageError
from learnkit.metrics.accumulate import Sums, mean, precise, total_and_count
from learnkit.metrics.accumulated import AccumulatedMetric, Batch, Targets
from learnkit.metrics.factories import FACTORIES
from learnkit.metrics.functions import METRICS, NamedMetric

__all__ = [
    "FunctionMetric",
    "Metric",
    "MetricSpec",
    "ObjectMetric",
    "make_metrics",
    "metrics_for",
    "targets_of",
    "top_k",
]

TAKEN = ("epoch", "train_loss", "valid_loss", "time")  # columns of the history
MetricSpec: TypeAlias = str | Callable[..., Any] | object | Sequence[Any] | None


class Metric(Protocol):
    """A number over a whole set, accumulated batch by batch.

    `update` keeps its numbers on the device; only `compute` waits for them.
    """

    @property
    def name(self) -> str:
        """Its column in the history."""
        ...

    @property
    def higher_is_better(self) -> bool | None:
        """The direction; None when unknown."""
        ...

    def reset(self) -> None:
        """Drop all batches."""
        ...

    def update(self, preds: Any, targets: Any) -> None:
        """Add a batch: raw outputs (N, ...) and targets (N, ...)."""
        ...

    def merge(self, other: Any) -> None:
        """Add the batches of another metric of the same kind, from another part of the set.

        For several processes; a custom object may lack it and then works in a single one.
        """
        ...

    def compute(self) -> float:
        """The number over all batches since the last reset; nan without batches."""
        ...


def make_metrics(spec: MetricSpec) -> list[Metric]:
    """Metrics from names, functions and objects.

    Args:
        spec: one of, or a list of: a name in `METRICS` or `FACTORIES`, or the function of that name; a
            function(preds, targets) that returns one number per batch, which is averaged over items; an object with
            update, compute and reset, like those of torchmetrics. The `higher_is_better` of a function or an object,
            and the `name` of an object, are kept.

    Raises:
        UsageError: an unknown name (the nearest are listed), a class instead of an object, something that cannot be
            called, or the same name twice.

    >>> [metric.name for metric in make_metrics(["accuracy", torch.nn.functional.cross_entropy])]
    ['accuracy', 'cross_entropy']
    """
    if spec is None:
        return []
    parts = spec if isinstance(spec, list | tuple) else [spec]
    metrics = [_make(part) for part in parts]
    names = [metric.name for metric in metrics]
    for name in names:
        if name in TAKEN:
            raise UsageError("metrics", got=name, expected="a name that is not a column of the history")
        if names.count(name) > 1:
            fix = f"Leave one {name!r} out, or change the __name__ of a function, the `name` of an object."
            raise UsageError("metrics", got=names, expected="different names", fix=fix)
    return metrics


def _make(part: object) -> Metric:
    if isinstance(part, AccumulatedMetric | FunctionMetric | ObjectMetric):
        return part
    if isinstance(part, str):
        if part in FACTORIES:
            return FACTORIES[part]()
        if part not in METRICS:
            fix = f"Nearest: {nearest(part, [*METRICS, *FACTORIES])}."
            raise UsageError("metrics", got=part, expected="a known metric, a function or an object", fix=fix)
        return _element_metric(part, METRICS[part])
    if inspect.isclass(part):
        fix = f"Pass {part.__name__}(...)."
        raise UsageError("metrics", got=part.__name__, expected="an instance, not a class", fix=fix)
    if all(callable(getattr(part, method, None)) for method in ("update", "compute", "reset")):
        return ObjectMetric(part)
    if not callable(part):
        expected = "a name, a function(preds, targets) or an object with update, compute and reset"
        raise UsageError("metrics", got=part, expected=expected, fix="Pass for example metrics='accuracy'.")
    function = part.func if isinstance(part, functools.partial) else part
    if function in FACTORIES.values():  # f1 means f1()
        return _make(part())
    for name, named in METRICS.items():
        if function is named.function:  # the same numbers by function as by name: rmse is not a mean over batches
            args, keywords = (part.args, part.keywords) if isinstance(part, functools.partial) else ((), {})
            return _element_metric(name, named, *args, **keywords)
    return FunctionMetric(part)


def targets_of(metric: Metric) -> tuple[Targets, ...] | None:
    """The targets that a metric of learnkit is for; None for custom functions and objects."""
    return metric.takes if isinstance(metric, AccumulatedMetric) else None


def metrics_for(targets: Targets) -> list[str]:
    """The names of the metrics for these targets."""
    names = [name for name, named in METRICS.items() if targets in named.takes]
    return names + [name for name, factory in FACTORIES.items() if targets in factory().takes]


def _element_metric(name: str, named: NamedMetric, *args: Any, **keywords: Any) -> AccumulatedMetric:
    """The mean of a named metric's elements over the whole set."""

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        return Batch(total_and_count(*named.elements(preds, targets, *args, **keywords)))

    def finish(total: Tensor, count: Tensor) -> float:
        return named.finish(mean(total, count))

    return AccumulatedMetric(name, prepare, Sums(), finish, takes=named.takes, higher_is_better=named.higher_is_better)


def top_k(k: int = 5, *, name: str | None = None) -> AccumulatedMetric:
    """The metric `top_k_accuracy` for this k, named "top_3_accuracy" for 3 unless `name` is passed.

    Raises:
        UsageError: k below 1; at the first batch, k above the number of classes.
    """
    check_int("top_k: k", k, 1)
    return _element_metric(name or f"top_{k}_accuracy", METRICS["top_k_accuracy"], k=k)


class FunctionMetric:
    """A function(preds, targets) -> number for a batch, averaged over the items of a set."""

    def __init__(self, function: Callable[..., Any]) -> None:
        inner = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        self.name = _name(inner)
        self.higher_is_better: bool | None = _direction(inner) if _direction(function) is None else _direction(function)
        self._function = function
        self.reset()

    def reset(self) -> None:
        self._sums = Sums()  # of value times items, and of items

    def update(self, preds: Any, targets: Any) -> None:
        with torch.no_grad():
            value = self._function(preds, targets)
        if not isinstance(value, Tensor | int | float) and not hasattr(value, "__float__"):
            raise UsageError(
                f"metric {self.name}", got=value, expected="a number per batch", fix="Return a scalar tensor."
            )
        value = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
        value = precise(_scalar(value, self.name))
        size = len(preds[0] if isinstance(preds, tuple | list) else preds)
        self._sums.update(value * size, torch.full_like(value, size))

    def merge(self, other: "FunctionMetric") -> None:
        self._sums.merge(other._sums)

    def compute(self) -> float:
        return mean(*self._sums.compute()) if self._sums.sums else float("nan")


class ObjectMetric:
    """An object that accumulates batches, with update(preds, targets), compute() and reset()."""

    def __init__(self, metric: Any) -> None:
        self.name = _name(metric)
        self.higher_is_better: bool | None = _direction(metric)
        self._metric = metric
        self._n_updates = 0

    def reset(self) -> None:
        self._metric.reset()
        self._n_updates = 0

    def update(self, preds: Any, targets: Any) -> None:
        if self._n_updates == 0 and isinstance(self._metric, nn.Module) and isinstance(preds, Tensor):
            self._metric.to(preds.device)
        self._metric.update(preds, targets)
        self._n_updates += 1

    def merge(self, other: "ObjectMetric") -> None:
        """Through the object's own `merge`, or torchmetrics' `merge_state`.

        Raises:
            UsageError: it has neither.
        """
        if not other._n_updates:
            return
        merge = getattr(self._metric, "merge", None) or getattr(self._metric, "merge_state", None)
        if merge is None:
            expected = "an object with merge(other), to combine several processes"
            raise UsageError(f"metric {self.name}", got=type(self._metric).__name__, expected=expected)
        merge(other._metric)
        self._n_updates += other._n_updates

    def compute(self) -> float:
        if not self._n_updates:
            return float("nan")
        value = self._metric.compute()
        if isinstance(value, Tensor):
            value = _scalar(value, self.name)
        elif not hasattr(value, "__float__"):
            fix = "Pass the parts of a collection as a list of metrics."
            raise UsageError(f"metric {self.name}", got=value, expected="one number", fix=fix)
        return float(value)


def _scalar(value: Tensor, name: str) -> Tensor:
    if value.numel() != 1:
        fix = "Average it, for a torchmetrics object with average='macro'."
        raise UsageError(f"metric {name}", got=tuple(value.shape), expected="one number, shape ()", fix=fix)
    return value.reshape(())


def _name(metric: Any) -> str:
    """`confusion` for a function, `f1_score` for an F1Score object, or the object's own name."""
    own = getattr(metric, "name", None)
    if isinstance(own, str) and own:
        return own
    if isinstance(getattr(metric, "__name__", None), str):
        return str(metric.__name__)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(metric).__name__)
    return spaced.lower()


def _direction(metric: Any) -> bool | None:
    """`higher_is_better` of a metric that has it."""
    value = getattr(metric, "higher_is_better", None)
    return value if isinstance(value, bool) else None
