"""The `Metric` protocol, and how names, functions and objects become metrics."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from learnkit.arguments import check_keywords
from learnkit.checks import check_int, nearest
from learnkit.errors import UsageError, WrongTypeError
from learnkit.metrics.accumulate import Sums, mean, total_and_count
from learnkit.metrics.accumulated import AccumulatedMetric, Batch, Targets
from learnkit.metrics.classification import f_beta
from learnkit.metrics.factories import FACTORIES
from learnkit.metrics.functions import METRICS, SEVERAL, NamedMetric, check_settings
from learnkit.metrics.multilabel import f_beta_multi
from learnkit.metrics.per_class import PerClass
from learnkit.metrics.shapes import check_classes, check_ignored
from learnkit.metrics.wrapped import BATCH, FunctionMetric, ObjectMetric, own_name

__all__ = [
    "Metric",
    "MetricSpec",
    "columns",
    "make_metrics",
    "metrics_for",
    "results",
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
        """Add the batches of `other`, a metric of the same kind, from another part of the set.

        For several processes; a custom object may lack it and then works in a single one.
        """
        ...

    def compute(self) -> float | dict[str, float]:
        """The number over all batches since the last reset, or several by column; nan without batches.

        A metric of several numbers names them in a property `columns`.
        """
        ...


def make_metrics(
    spec: MetricSpec, *, classes: Sequence[str] | None = None, ignore_index: int | None = None,
    check_targets: bool = False,
) -> list[Metric]:  # fmt: skip
    """Metrics from names, functions and objects.

    Args:
        spec: one of, or a list of: a name in `METRICS` or `FACTORIES`, or the function of that name, also as a
            `functools.partial`; a function(preds, targets) that returns one number per batch, which is averaged over
            items, or a total and its weight; an object with update, compute and reset, like those of torchmetrics; a
            MetricCollection of torchmetrics. The `higher_is_better` of a function or an object, the `__name__` of a
            function or a partial, and the `name` of an object, are kept.
        classes: the data's, which name the columns of a metric with a number per class; None to number them.
        ignore_index: of the data or the loss; metrics passed by name or as a function leave its targets out, unless
            they have an `ignore_index` of their own.
        check_targets: refuse targets that are no class at the end of a set, where a metric leaves none out; some
            metrics always do.

    Raises:
        UsageError: an unknown name (the nearest are listed), a class instead of an object, something that cannot be
            called, a setting out of range, two metrics with the same name, or a number per class without classes.
        WrongTypeError: a function that cannot be called with (preds, targets), or a keyword it does not have.

    >>> make_metrics(["accuracy", nn.functional.cross_entropy])
    [accuracy, cross_entropy]
    """
    metrics = [_make(part, name, ignore_index, check_targets) for part, name in _parts(spec)]
    if classes is not None:
        for metric in metrics:
            _name_classes(metric, classes)
    names = [name for metric in metrics for name in columns(metric)]
    for name in names:
        if name in TAKEN:
            raise UsageError("metrics", got=name, expected="a name that is not a column of the history")
        if names.count(name) > 1:
            fix = f"Leave one {name!r} out, or change the __name__ of a function, the `name` of an object."
            raise UsageError("metrics", got=names, expected="different names", fix=fix)
    return metrics


def columns(metric: Metric) -> list[str]:
    """The columns of a metric in the history: its name, or one for each of several numbers."""
    return list(getattr(metric, "columns", [metric.name]))


def results(metric: Metric) -> dict[str, float]:
    """The numbers of a metric by column."""
    found = metric.compute()
    return found if isinstance(found, dict) else {metric.name: float(found)}


def _parts(spec: MetricSpec) -> Iterator[tuple[Any, str]]:
    """Each metric, and the name a MetricCollection gives it, else ""."""
    for part in () if spec is None else spec if isinstance(spec, list | tuple | nn.ModuleList) else (spec,):
        if isinstance(part, nn.ModuleDict) and _accumulates(part):
            yield from ((member, str(name)) for name, member in part.items())
        else:
            yield part, ""


def _make(part: Any, name: str, ignore_index: int | None, check_targets: bool) -> Metric:
    if isinstance(part, AccumulatedMetric | FunctionMetric | ObjectMetric):
        return part
    if isinstance(part, str):
        if part not in METRICS and part not in FACTORIES:
            fix = f"Nearest: {nearest(part, [*METRICS, *FACTORIES])}."
            raise UsageError("metrics", got=part, expected="a known metric, a function or an object", fix=fix)
        function = METRICS[part].function if part in METRICS else FACTORIES[part]
        return _make(function, name, ignore_index, check_targets)
    if inspect.isclass(part):
        fix = f"Pass {part.__name__}(...)."
        raise UsageError("metrics", got=part.__name__, expected="an instance, not a class", fix=fix)
    if _accumulates(part):
        return ObjectMetric(part, name)
    if not callable(part):
        expected = "a name, a function(preds, targets) or an object with update, compute and reset"
        raise UsageError("metrics", got=part, expected=expected, fix="Pass for example metrics='accuracy'.")
    function = part.func if isinstance(part, functools.partial) else part
    for known, named in METRICS.items():
        if function is named.function:  # the same numbers by function as by name: rmse is not a mean over batches
            settings = _settings(part, known, ignore_index)
            return _element_metric(name or _given_name(part) or known, named, check_targets, **settings)
    if any(function is factory for factory in (*FACTORIES.values(), *UNNAMED)):  # f1 means f1()
        settings = _settings(part, function.__name__, ignore_index)
        return function(**({"name": _given_name(part) or None} | settings))  # type: ignore[no-any-return]
    return FunctionMetric(part)


def _accumulates(part: Any) -> bool:
    return all(callable(getattr(part, method, None)) for method in ("update", "compute", "reset"))


def _given_name(part: Any) -> str:
    """The name that a user gave a partial."""
    return own_name(part) if isinstance(part, functools.partial) else ""


def _settings(part: Any, name: str, ignore_index: int | None) -> dict[str, Any]:
    """The keywords of a partial of one of learnkit's functions, and the data's `ignore_index` if it takes one.

    Raises:
        WrongTypeError: an argument without a name, or a keyword that the function does not have.
    """
    is_partial = isinstance(part, functools.partial)
    parameters = inspect.signature(part.func if is_partial else part).parameters
    known = [setting for setting in parameters if setting not in BATCH]
    given: dict[str, Any] = dict(part.keywords) if is_partial else {}
    if is_partial and part.args:
        expected = f"settings by name: partial({name}, {', '.join(f'{setting}=...' for setting in known)})"
        raise WrongTypeError(f"metric {name}", got=part.args, expected=expected)
    check_keywords(f"metric {name}", given, known)
    return {"ignore_index": ignore_index, **given} if ignore_index is not None and "ignore_index" in known else given


def _name_classes(metric: Metric, classes: Sequence[str]) -> None:
    """Tell a metric with a number per class the names of its columns."""
    if isinstance(metric, PerClass) and metric.is_per_class:
        if not classes:
            fix = "Give the data classes=, or average over them: average='macro'."
            raise UsageError(f"metric {metric.name}: average", expected="data with classes for average=None", fix=fix)
        metric.classes = tuple(classes)


def targets_of(metric: Metric) -> tuple[Targets, ...] | None:
    """The targets that a metric of learnkit is for; None for custom functions and objects."""
    return metric.takes if isinstance(metric, AccumulatedMetric) else None


def metrics_for(targets: Targets) -> list[str]:
    """The names of the metrics for these targets."""
    names = [name for name, named in METRICS.items() if targets in named.takes]
    return names + [name for name, factory in FACTORIES.items() if targets in factory().takes]


def _element_metric(name: str, named: NamedMetric, check_targets: bool, **settings: Any) -> AccumulatedMetric:
    """The mean of a named metric's elements over the whole set, whose targets are checked unless some do not count."""
    try:
        check_settings(**settings)
    except UsageError as error:
        raise error.prefixed(f"metric {name}") from None

    def prepare(preds: Tensor, targets: Tensor) -> Batch:
        return Batch(total_and_count(*named.elements(preds, targets, **settings)))

    def prepare_checked(preds: Tensor, targets: Tensor) -> Batch:
        return Batch(prepare(preds, targets).parts, preds.shape[1], targets)

    def finish(total: Tensor, count: Tensor) -> float:
        return named.finish(mean(total, count))

    checks = check_targets and named.takes is SEVERAL and settings.get("ignore_index") is None
    return AccumulatedMetric(
        name, prepare_checked if checks else prepare, Sums(), finish, takes=named.takes,
        higher_is_better=named.higher_is_better, check=check_classes if checks else None,
    )  # fmt: skip


def top_k(k: int = 5, *, ignore_index: int | None = None, name: str | None = None) -> AccumulatedMetric:
    """The metric `top_k_accuracy` for this k, named "top_3_accuracy" for 3 unless `name` is passed.

    Targets of `ignore_index` do not count.

    Raises:
        UsageError: k below 1; at the first batch, k above the number of classes; at the end, targets of no class.
    """
    check_int("top_k: k", k, 1)
    check_ignored(ignore_index)
    return _element_metric(name or f"top_{k}_accuracy", METRICS["top_k_accuracy"], True, k=k, ignore_index=ignore_index)


UNNAMED = (f_beta, f_beta_multi, top_k)  # makers whose metric has a name of its own
