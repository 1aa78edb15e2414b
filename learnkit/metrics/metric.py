"""What a metric is to the training loop, and how names, functions and objects become one."""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from learnkit.checks import nearest
from learnkit.errors import UsageError
from learnkit.metrics.factories import FACTORIES
from learnkit.metrics.functions import METRICS, NamedMetric
from learnkit.metrics.lazy import LazyMetric, Targets

__all__ = [
    "ElementMetric",
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
    """A number over a whole set, gathered batch by batch.

    `update` leaves its numbers on the device; only `compute` waits for them.
    """

    @property
    def name(self) -> str:
        """Its column in the history."""
        ...

    @property
    def higher_is_better(self) -> bool | None:
        """Which way is up; None when that is not known."""
        ...

    def reset(self) -> None:
        """Forget everything gathered."""
        ...

    def update(self, preds: Any, targets: Any) -> None:
        """Add a batch: raw outputs (N, ...) and targets (N, ...)."""
        ...

    def compute(self) -> float:
        """The number over all that was added since the last reset, nan if that is nothing."""
        ...


def make_metrics(spec: MetricSpec) -> list[Metric]:
    """Metrics from what a user writes.

    Args:
        spec: one of, or a list of: a name of `METRICS` or `FACTORIES`, or what such a name stands for; a
            function(preds, targets) that gives one number for a batch, whose mean over items is taken; an object with
            update, compute and reset, as torchmetrics has them. A function's or an object's own `higher_is_better`,
            and an object's own `name`, are kept.

    Raises:
        UsageError: an unknown name (the nearest are listed), a name that needs torchmetrics where it is not installed,
            a class instead of an object, something that cannot be called, or the same name twice.

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
            raise UsageError("metrics", got=name, expected="a name that is no column of the history already")
        if names.count(name) > 1:
            fix = "Leave one out, or give a function another __name__, an object another `name`."
            raise UsageError("metrics", got=names, expected=f"different names, but {name!r} is there twice", fix=fix)
    return metrics


def _make(part: object) -> Metric:
    if isinstance(part, ElementMetric | FunctionMetric | ObjectMetric | LazyMetric):
        return part
    if isinstance(part, str):
        if part in FACTORIES:
            return FACTORIES[part]()
        if part not in METRICS:
            fix = f"Nearest: {nearest(part, [*METRICS, *FACTORIES])}."
            raise UsageError("metrics", got=part, expected="a known metric, a function or an object", fix=fix)
        return ElementMetric(part, METRICS[part])
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
        if function is named.function:  # the same numbers by function as by name: rmse is no mean of batches
            given = (part.args, part.keywords) if isinstance(part, functools.partial) else ((), {})
            return ElementMetric(name, named, *given)
    return FunctionMetric(part)


def targets_of(metric: Metric) -> tuple[Targets, ...] | None:
    """The targets a metric of learnkit's is meant for; None of a user's function or object, which knows by itself."""
    return metric.takes if isinstance(metric, ElementMetric | LazyMetric) else None


def metrics_for(targets: Targets) -> list[str]:
    """The names of the metrics that are meant for these targets, as far as the packages they need are installed."""
    names = [name for name, named in METRICS.items() if targets in named.takes]
    with suppress(UsageError):  # no torchmetrics
        names += [name for name, factory in FACTORIES.items() if targets in factory().takes]
    return names


class ElementMetric:
    """A metric known by name: the mean of its elements over the whole set, whatever the batches."""

    def __init__(
        self, name: str, named: NamedMetric, args: Sequence[Any] = (), keywords: dict[str, Any] | None = None
    ) -> None:
        self.name = name
        self.takes = named.takes
        self.higher_is_better = named.higher_is_better
        self._elements = functools.partial(named.elements, *args, **(keywords or {}))
        self._finish = named.finish
        self.reset()

    def reset(self) -> None:
        self._sums: list[Tensor] = []  # scalars on the device
        self._n = 0

    def update(self, preds: Tensor, targets: Tensor) -> None:
        elements = self._elements(preds, targets).detach()
        self._sums.append(elements.sum())
        self._n += elements.numel()

    def compute(self) -> float:
        return self._finish(sum(_read(self._sums)) / self._n) if self._n else float("nan")


def top_k(k: int = 5, *, name: str | None = None) -> ElementMetric:
    """The metric `top_k_accuracy` for this k, called "top_3_accuracy" for 3 unless it is given a name.

    Raises:
        UsageError: a k below 1; at the first batch, one above the number of classes.
    """
    if k < 1:
        raise UsageError("top_k: k", got=k, expected="1 or more")
    return ElementMetric(name or f"top_{k}_accuracy", METRICS["top_k_accuracy"], keywords={"k": k})


class FunctionMetric:
    """A function(preds, targets) -> number for a batch; over a set, the mean in which every item counts the same."""

    def __init__(self, function: Callable[..., Any]) -> None:
        inner = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        self.name = _name(inner)
        self.higher_is_better: bool | None = _direction(inner) if _direction(function) is None else _direction(function)
        self._function = function
        self.reset()

    def reset(self) -> None:
        self._values: list[Tensor] = []  # scalars on the device
        self._sizes: list[int] = []

    def update(self, preds: Any, targets: Any) -> None:
        with torch.no_grad():
            value = self._function(preds, targets)
        if not isinstance(value, Tensor | int | float) and not hasattr(value, "__float__"):
            raise UsageError(
                f"metric {self.name}", got=value, expected="a number for each batch", fix="Return a scalar tensor."
            )
        value = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
        self._values.append(_scalar(value, self.name).clone())  # a view would keep its whole batch alive
        self._sizes.append(len(preds[0] if isinstance(preds, tuple | list) else preds))

    def compute(self) -> float:
        pairs = zip(_read(self._values), self._sizes, strict=True)
        n = sum(self._sizes)
        return sum(value * size for value, size in pairs) / n if n else float("nan")


class ObjectMetric:
    """An object that gathers by itself, with update(preds, targets), compute() and reset()."""

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

    def compute(self) -> float:
        if not self._n_updates:
            return float("nan")
        value = self._metric.compute()
        if isinstance(value, Tensor):
            value = _scalar(value, self.name)
        elif not hasattr(value, "__float__"):
            fix = "Give the parts of a collection as a list of metrics."
            raise UsageError(f"metric {self.name}", got=value, expected="one number", fix=fix)
        return float(value)


def _scalar(value: Tensor, name: str) -> Tensor:
    if value.numel() != 1:
        fix = "Average it, for a torchmetrics object with average='macro'."
        raise UsageError(f"metric {name}", got=tuple(value.shape), expected="one number, shape ()", fix=fix)
    return value.reshape(())


def _read(scalars: list[Tensor]) -> list[float]:
    """The numbers of scalars on a device, all in one wait, in double precision from here on."""
    if not scalars:
        return []
    kept = scalars[0].dtype
    same = all(scalar.dtype == kept and scalar.device == scalars[0].device for scalar in scalars)
    if same:
        return [float(number) for number in torch.stack(scalars).tolist()]
    return [float(scalar) for scalar in scalars]


def _name(metric: Any) -> str:
    """`confusion` of a function, `f1_score` of an F1Score object, or what the object calls itself."""
    own = getattr(metric, "name", None)
    if isinstance(own, str) and own:
        return own
    if isinstance(getattr(metric, "__name__", None), str):
        return str(metric.__name__)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(metric).__name__)
    return spaced.lower()


def _direction(metric: Any) -> bool | None:
    """`higher_is_better` where the metric says so."""
    value = getattr(metric, "higher_is_better", None)
    return value if isinstance(value, bool) else None
