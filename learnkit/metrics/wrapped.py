"""A user's own metrics, functions of a batch and objects that accumulate batches, as metrics of a whole set."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.arguments import check_keywords, check_takes, unwrapped
from learnkit.errors import UsageError
from learnkit.metrics.accumulate import Sums, mean, precise
from learnkit.metrics.per_class import PerClass
from learnkit.tree import count_items, leaves

__all__ = ["BATCH", "FunctionMetric", "ObjectMetric", "check_call", "own_name"]

BATCH = ("preds", "targets")  # what learnkit's metrics are called with


class FunctionMetric:
    """A function(preds, targets) of a batch, averaged over the items of a set.

    It returns one number; or two, a total and the weight it is of, for items of different weights: the number of the
    set is then the sum of the totals divided by that of the weights.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        inner = unwrapped(function)
        self.name: str = own_name(function) or own_name(inner) or _from_class(inner)
        self.higher_is_better: bool | None = _direction(inner) if _direction(function) is None else _direction(function)
        check_call(function, self.name)
        self._function = function
        self.reset()

    def __repr__(self) -> str:
        return self.name

    def reset(self) -> None:
        self._sums = Sums()  # of value times weight, and of weights: those of a batch are its items unless returned

    def update(self, preds: Any, targets: Any) -> None:
        try:
            with torch.no_grad():
                value = self._function(preds, targets)
        except Exception as error:  # whatever a user's function raises, which is raised again
            _note(error, self.name, _given(preds, targets))
            raise
        if isinstance(value, tuple) and len(value) == 2:
            total, weight = (self._number(part) for part in value)
            self._sums.update(total, weight.to(total.device))
        else:
            number, size = self._number(value), count_items(targets, preds)
            self._sums.update(number * size, torch.full_like(number, size))

    def _number(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor | int | float) and not hasattr(value, "__float__"):
            expected = "a number per batch, or two: a total and its weight"
            raise UsageError(f"metric {self.name}", got=value, expected=expected, fix="Return a scalar tensor.")
        value = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
        return precise(_scalar(value, self.name))

    def merge(self, other: "FunctionMetric") -> None:
        self._sums.add(other._sums.tensors())

    def compute(self) -> float:
        return mean(*self._sums.compute()) if self._sums.sums else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """What was kept of the batches since the last reset."""
        return {"sums": self._sums.sums}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._sums.sums = saved["sums"]


class ObjectMetric(PerClass):
    """An object that accumulates batches, with update(preds, targets), compute() and reset().

    One of torchmetrics with `average=None` has a number and a column per class.

    Args:
        metric: the object.
        name: its column in the history; "" for its own name.
    """

    def __init__(self, metric: Any, name: str = "") -> None:
        super().__init__(name or own_name(metric) or _from_class(metric), _is_per_class(metric))
        self.higher_is_better: bool | None = _direction(metric)
        self._metric = metric
        self._n_updates = 0
        self._first = ""  # batch, in words

    def reset(self) -> None:
        self._metric.reset()
        self._n_updates = 0

    def update(self, preds: Any, targets: Any) -> None:
        if self._n_updates == 0:
            self._first = _given(preds, targets)
            tensor = next((leaf for leaf in leaves(preds) if isinstance(leaf, Tensor)), None)
            if tensor is not None and isinstance(self._metric, nn.Module):
                self._metric.to(tensor.device)
        try:
            self._metric.update(preds, targets)
        except Exception as error:  # of torchmetrics, with a traceback inside of it
            _note(error, self.name, self._first)
            raise
        self._n_updates += 1

    def sees_all(self) -> None:
        """Every process gives it the batches of all: one of torchmetrics does not put the processes together itself."""
        if hasattr(self._metric, "distributed_available_fn"):
            self._metric.distributed_available_fn = _never

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
        self._first = self._first or other._first
        self._n_updates += other._n_updates

    def compute(self) -> float | dict[str, float]:
        if not self._n_updates:
            return self.without_batches()
        try:
            value = self._metric.compute()
        except Exception as error:  # perhaps of batches that never fitted
            _note(error, self.name, self._first)
            raise
        if self.is_per_class and isinstance(value, Tensor) and value.ndim == 1:
            return self.by_class(value.double().tolist())
        if isinstance(value, Tensor):
            value = _scalar(value, self.name)
        elif not hasattr(value, "__float__"):
            fix = "Pass metrics of one number each, or one of torchmetrics with average=None for a number per class."
            raise UsageError(f"metric {self.name}", got=value, expected="one number", fix=fix)
        return float(value)


def check_call(function: Callable[..., Any], name: str) -> None:
    """Refuse what cannot be called with (preds, targets), before there is a batch.

    Args:
        function: the metric, perhaps a partial.
        name: its name in errors.

    Raises:
        WrongTypeError: naming the keyword that it does not have, or what it is called with.
    """
    try:
        parameters = inspect.signature(unwrapped(function)).parameters
    except (TypeError, ValueError):  # some built-in functions have none
        return
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        check_keywords(f"metric {name}", getattr(function, "keywords", {}), list(parameters))
    check_takes(f"metric {name}", function, f"({', '.join(BATCH)})")


def own_name(metric: Any) -> str:
    """The `name` or `__name__` of a function, a partial or an object; "" without one."""
    for name in (getattr(metric, "name", None), getattr(metric, "__name__", None)):
        if isinstance(name, str) and name:
            return name
    return ""


def _from_class(metric: Any) -> str:
    """`f1_score` for an F1Score object."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(metric).__name__)
    return spaced.lower()


def _note(error: Exception, name: str, given: str) -> None:
    """Add to the error of a user's metric which one it is of, what it got, and what to do if that does not fit it."""
    error.add_note(
        f"in metric {name}, which is given raw outputs, and targets as the loss is: {given}. If it needs others, pass "
        "a function (preds, targets), or an object with update, compute and reset, that changes them first."
    )


def _given(preds: Any, targets: Any) -> str:
    """The types and shapes of a batch's outputs and targets."""
    return ", ".join(
        f"{name} {' and '.join(map(_described, leaves(tree)))}"
        for name, tree in zip(BATCH, (preds, targets), strict=True)
    )


def _described(leaf: Any) -> str:
    is_tensor = isinstance(leaf, Tensor)
    return f"{str(leaf.dtype).removeprefix('torch.')} {tuple(leaf.shape)}" if is_tensor else type(leaf).__name__


def _never() -> bool:
    return False


def _scalar(value: Tensor, name: str) -> Tensor:
    if value.numel() != 1:
        fix = "Average it, for a torchmetrics object with average='macro'."
        raise UsageError(f"metric {name}", got=tuple(value.shape), expected="one number, shape ()", fix=fix)
    return value.reshape(())


def _direction(metric: Any) -> bool | None:
    """`higher_is_better` of a metric that has it."""
    value = getattr(metric, "higher_is_better", None)
    return value if isinstance(value, bool) else None


def _is_per_class(metric: Any) -> bool:
    """Whether an object of torchmetrics returns a number per class."""
    has_classes = any(isinstance(getattr(metric, name, None), int) for name in ("num_classes", "num_labels"))
    return has_classes and getattr(metric, "average", "") in (None, "none")
