"""A monitored result: whether it exists, which direction is better, and whether it has improved."""

import math

from learnkit.checks import check_number, nearest
from learnkit.errors import UsageError
from learnkit.training.state import TrainState

__all__ = ["Monitor"]


class Monitor:
    """The best value so far of one column of the record.

    Args:
        name: "train_loss", "valid_loss" or the name of a metric.
        min_delta: a value must beat the best by more than this to count as an improvement.

    Attributes:
        best: the best value so far, nan before the first.
    """

    def __init__(self, name: str, min_delta: float = 0.0) -> None:
        self.name = name
        self.min_delta = check_number("min_delta", min_delta, "[0, inf)")
        self.best = math.nan
        self._higher_is_better = False

    def __repr__(self) -> str:
        return f"{self.name!r} by more than {self.min_delta}"

    def start(self, state: TrainState) -> None:
        """Reset, and refuse a name that this fit will not record.

        Raises:
            UsageError: the name is not among the fit's columns.
        """
        if self.name not in state.record_names:
            known = nearest(self.name, state.record_names, n=len(state.record_names))
            raise UsageError("monitor", got=self.name, expected=f"one of {known}", fix="Or add it to metrics=.")
        better = {metric.name: metric.higher_is_better for metric in state.metrics}.get(self.name)
        guess = not any(word in self.name for word in ("loss", "error"))
        self._higher_is_better = guess if better is None else better
        self.best = math.nan

    def improves(self, state: TrainState) -> bool:
        """Whether the last row beats the best by more than `min_delta`, which makes it the new best; never for nan."""
        value = state.row[self.name]
        gain = value - self.best if self._higher_is_better else self.best - value
        better = gain > self.min_delta or (math.isnan(self.best) and not math.isnan(value))
        if better:
            self.best = value
        return better
