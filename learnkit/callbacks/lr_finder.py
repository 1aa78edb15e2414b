"""The learning-rate finder: a short run with growing rates, and the rates its losses suggest."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learnkit.callbacks.recorder import LRCurve, Smoothed, Suggestions
from learnkit.checks import check_int
from learnkit.errors import StopFit, UsageError
from learnkit.optim.groups import is_positive
from learnkit.optim.optimizers import last_group, set_learning_rates
from learnkit.optim.schedules import exponential
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["LRFinder", "Suggestions", "suggest"]

MIN_BATCHES = 6  # suggestions need a curve of several points
NOISY_END = 5  # points of a curve that are left out at its end
INTERVAL, ALIKE = 15, 0.005  # of `slide`: points between two gradients, and by how much they may differ
DIVERGENCE_FACTOR = 4.0  # a smoothed loss this many times the best ends the run
SETTLED = 10  # batches behind a smoothed loss from which on it counts as the best: one lucky small batch does not
EARLY_FACTOR = 100.0  # until then, a smoothed loss this many times the best ends the run: start_lr is far too high


class LRFinder(Callback):
    """Train on one batch at each of `num_it` rates from `start_lr` toward `end_lr`, in equal ratios (Smith, 2017).

    The run ends after `num_it` batches (6 at least), when the loss is nan or infinite, and, with `stop_div`, when the
    smoothed loss is more than four times its best. Until ten batches are averaged the best may be one lucky batch:
    there it takes a hundred times. As a callback it really trains; `Learner.lr_find` restores everything afterwards.

    Attributes:
        lrs: the rate of each batch.
        losses: the smoothed loss of each batch.

    Raises:
        UsageError: rates that are not positive and increasing.
    """

    order = Order.SCHEDULE
    sets = frozenset({"lr"})

    def __init__(self, start_lr: float = 1e-7, end_lr: float = 10, num_it: int = 100, stop_div: bool = True) -> None:
        if not (is_positive(start_lr) and is_positive(end_lr) and start_lr < end_lr):
            raise UsageError("start_lr, end_lr", got=(start_lr, end_lr), expected="finite rates, 0 < start_lr < end_lr")
        self.num_it: int = max(check_int("num_it", num_it, 1), MIN_BATCHES)
        self.stop_div = stop_div
        self._rate = exponential(start_lr, end_lr)
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self._smoothed = Smoothed()

    def before_fit(self, state: TrainState) -> None:
        self.lrs, self.losses = [], []
        self._smoothed = Smoothed()
        state.stops_on_nan = True

    def before_batch(self, state: TrainState) -> None:
        rate = self._rate(len(self.lrs) / self.num_it)
        set_learning_rates(state.optimizer, [rate] * len(state.rates))

    def after_batch(self, state: TrainState) -> None:
        rate = last_group(state.optimizer)["lr"]
        loss = state.loss.item() if state.loss_value is None else state.loss_value
        if not math.isfinite(loss):
            raise StopFit(f"the loss became {loss} at lr {rate:.3g}")
        self.lrs.append(rate)
        self.losses.append(self._smoothed.add(loss))
        if self.stop_div and self._diverged():
            raise StopFit("the loss diverged")
        if len(self.lrs) >= self.num_it:
            raise StopFit(f"{self.num_it} batches seen")

    def _diverged(self) -> bool:
        if len(self.losses) <= SETTLED:
            return self.losses[-1] > EARLY_FACTOR * min(self.losses)
        return self.losses[-1] > DIVERGENCE_FACTOR * min(self.losses[SETTLED - 1 :])

    def state_dict(self) -> dict[str, Any]:
        return {"lrs": self.lrs, "losses": self.losses, "smoothed": self._smoothed.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.lrs, self.losses = saved["lrs"], saved["losses"]
        self._smoothed.load_state_dict(saved["smoothed"])

    def curve(self) -> LRCurve:
        """The curve of the run and its suggestions.

        Raises:
            UsageError: the run was too short for suggestions.
        """
        return LRCurve(
            tuple(self.lrs), tuple(self.losses), suggest(self.lrs, self.losses, skip_start=self.num_it // 10)
        )


def suggest(lrs: Sequence[float], losses: Sequence[float], *, skip_start: int = 10) -> Suggestions:
    """Read four rates off a curve of rates and smoothed losses, without its noisy start and its end.

    `steep`: where the loss falls fastest per decade. `minimum`: a tenth of the rate of the lowest loss. `valley`:
    halfway into the middle third of the longest fall. `slide`: the rate before the loss starts to rise, by interval
    gradients.

    Raises:
        UsageError: fewer than two points are left.
    """
    end = len(lrs) - NOISY_END if len(lrs) - NOISY_END - skip_start >= 2 else len(lrs)
    rates, falls = np.asarray(lrs[skip_start:end]), np.asarray(losses[skip_start:end])
    if len(rates) < 2:
        raise UsageError(
            "finite losses of lr_find", got=len(lrs), expected=f"at least {skip_start + 2}",
            fix="Lower start_lr, raise num_it, or look for nan in the data.",
        )  # fmt: skip
    return Suggestions(
        valley=float(rates[_valley(falls)]),
        steep=float(rates[:-1][np.argmin(np.diff(falls) / np.diff(np.log(rates)))]),
        minimum=float(rates[np.argmin(falls)] / 10),
        slide=float(rates[_slide(falls)]),
    )


def _valley(losses: npt.NDArray[np.float64]) -> int:
    """Index halfway into the second third of the longest strictly falling subsequence."""
    length = np.ones(len(losses), dtype=int)
    for i in range(1, len(losses)):
        higher = length[:i][losses[:i] > losses[i]]
        if len(higher):
            length[i] = higher.max() + 1
    last = int(length.argmax())
    first = last - int(length[last])
    third = (last - first) / 3
    return max(first + int(third) + int(third / 2), 0)


def _slide(losses: npt.NDArray[np.float64]) -> int:
    """Slide an interval from the right until the gradients at both ends agree, and return its left end."""
    gradients = np.gradient(losses)
    left = max(len(losses) - 1 - INTERVAL, 0)
    found = left
    while left >= 0 and abs(gradients[min(left + INTERVAL, len(losses) - 1)] - gradients[left]) > ALIKE:
        found = left
        left -= 1
    return found
