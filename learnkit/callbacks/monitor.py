"""A monitored result: whether it exists, which direction is better, and whether it has improved."""

import math
import re
from abc import ABC, abstractmethod
from typing import Literal

from learnkit.checks import check_choice, check_kind, check_number, nearest
from learnkit.errors import UsageError
from learnkit.metrics.factories import FACTORIES
from learnkit.metrics.functions import METRICS
from learnkit.metrics.metric import columns
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["Mode", "Monitor", "MonitoringCallback", "direction", "direction_of_words"]

Mode = Literal["min", "max"] | None

# Words of a name that say which direction is better; a name with words of both, or that turns one round, says nothing.
LOWER = {"loss", "error", "mae", "mse", "rmse", "msle", "rmsle", "mape", "smape", "nll", "bce", "entropy", "perplexity"}
HIGHER = {"accuracy", "acc", "precision", "recall", "f1", "auc", "auroc", "iou", "miou", "dice", "jaccard", "r2"}
TURNS = {"neg", "negative", "minus", "inverse", "inverted", "reduction", "gain", "improvement", "free", "skill"}


class Monitor:
    """The best value so far of one column of the record.

    Args:
        name: "train_loss", "valid_loss" or a column of a metric.
        min_delta: a value must beat the best by more than this to count as an improvement.
        mode: "min" if lower is better, "max" if higher is; None for the direction of the metric, or of a plain name.
        baseline: the value to beat at first; None for any.

    Attributes:
        best: the best value so far, the baseline or nan before the first.
    """

    def __init__(self, name: str, min_delta: float = 0.0, *, mode: Mode = None, baseline: float | None = None) -> None:
        check_kind("monitor", name, str, "the name of a column, such as 'valid_loss'")
        self.name = name
        self.min_delta: float = check_number("min_delta", min_delta, "[0, inf)")
        check_choice("mode", mode, ("min", "max", None))
        self.mode = mode
        self.baseline: float | None = None if baseline is None else check_number("baseline", baseline)
        self.best: float = math.nan
        self._higher_is_better = False
        self._seen = (-1, -1)

    def __repr__(self) -> str:
        more = "" if self.mode is None else f", mode {self.mode!r}"
        more += "" if self.baseline is None else f", from {self.baseline}"
        return f"{self.name!r} by more than {self.min_delta}{more}"

    def start(self, state: TrainState, *, keep_best: bool = False, mode: Mode = None) -> None:
        """Start with the baseline, or keep the best; refuse a name that this fit will not record.

        Args:
            state: the state of the fit.
            keep_best: whether the best of earlier fits is the value to beat.
            mode: the direction, if another part of the fit knows it.

        Raises:
            UsageError: the name is not among the fit's columns, or nobody says which direction is better.
        """
        if self.name not in state.record_names:
            known = nearest(self.name, state.record_names, n=len(state.record_names))
            raise UsageError("monitor", got=self.name, expected=f"one of {known}", fix=_how_to_record(self.name, state))
        mode = mode or self.mode
        higher = direction(self.name, state) if mode is None else mode == "max"
        if higher is None:
            raise UsageError(
                "monitor", got=self.name, expected="a metric whose direction is known",
                fix="Pass mode='min' or mode='max', or set higher_is_better of the metric.",
            )  # fmt: skip
        self._higher_is_better = higher
        self._seen = (-1, -1)
        if not keep_best:
            self.best = math.nan if self.baseline is None else self.baseline

    def value(self, state: TrainState) -> float | None:
        """The result of the epoch that ends; None if it has been looked at, or was not measured in this epoch."""
        is_new = self._seen != (state.epoch, state.step)
        is_measured = self.name not in state.valid or state.validated_step == state.step
        return state.row[self.name] if is_new and is_measured else None

    def improves(self, state: TrainState, value: float) -> bool:
        """Whether a value beats the best by more than `min_delta`, which makes it the new best; never for nan."""
        self._seen = (state.epoch, state.step)
        better = self.beats(value, self.best, self.min_delta) or (math.isnan(self.best) and not math.isnan(value))
        if better:
            self.best = value
        return better

    def beats(self, value: float, other: float, by: float = 0.0) -> bool:
        """Whether a value is better than another by more than this; never for nan."""
        return (value - other if self._higher_is_better else other - value) > by


class MonitoringCallback(Callback, ABC):
    """A callback that looks at a monitored result after each validation, or at the end of each epoch."""

    monitor: Monitor

    def after_validate(self, state: TrainState) -> None:
        if state.is_mid_epoch and self.monitor.name in state.valid:
            self._look(state, state.valid[self.monitor.name])

    def after_epoch(self, state: TrainState) -> None:
        value = self.monitor.value(state)
        if value is not None:
            self._look(state, value)

    @abstractmethod
    def _look(self, state: TrainState, value: float) -> None:
        """Act on a new value."""


def _how_to_record(name: str, state: TrainState) -> str:
    """What makes a fit record this column; "" if nothing is known to."""
    measured = [column for metric in state.metrics for column in columns(metric)]
    if name.removeprefix("train_") in measured and name.startswith("train_"):
        return "Or pass train_metrics=True."
    if state.valid_dl is None and name in ("valid_loss", *measured):
        more = f" (such as 'train_{measured[0]}', with train_metrics=True)" if measured else ""
        return f"This fit has no validation set: monitor the training{more}, or give the data one."
    return "Or add it to metrics=." if state.valid_dl is not None and name in (*METRICS, *FACTORIES) else ""


def direction(name: str, state: TrainState) -> bool | None:
    """Whether a higher value of this column is better; None if neither its metric nor its name says so."""
    higher = {column: metric.higher_is_better for metric in state.metrics for column in columns(metric)}
    known = higher.get(name, higher.get(name.removeprefix("train_")))
    return direction_of_words(name) if known is None else known


def direction_of_words(name: str) -> bool | None:
    """Whether a higher value is better, by the words of a plain name; None if they do not say so.

    >>> [direction_of_words(name) for name in ("mae_years", "my_accuracy", "score", "neg_mse")]
    [False, True, None, None]
    """
    words = set(re.findall(r"[a-z]+[0-9]*", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()))
    lower, higher = bool(words & LOWER), bool(words & HIGHER)
    return None if lower == higher or words & TURNS else higher
