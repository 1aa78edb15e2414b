"""Arbitrary schedules of learning rate and momentum, phase by phase."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from learnkit.errors import UsageError
from learnkit.optim.groups import head_rate, is_positive, rate_ratios
from learnkit.optim.optimizers import momentum_of, set_learning_rates, set_momentum
from learnkit.optim.schedules import Schedule, constant, linear, sequence
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["GeneralScheduler", "Setting", "TrainingPhase"]

Setting: TypeAlias = float | tuple[float, float] | Schedule


@dataclass(frozen=True, repr=False)
class TrainingPhase:
    """A part of a fit, with its learning rate and momentum.

    Attributes:
        share: the fraction of the fit, from 0 to 1.
        lr: the rate of the last layer group: a number, (start, end), or a schedule of `learnkit.schedules` over the
            phase; None for the fit's own rate.
        mom: momentum in the same form (Adam's first beta counts as momentum); None for the optimizer's own.
        anneal: how (start, end) are joined: `linear`, `cosine`, `exponential`, or another function that takes a start
            and an end and returns a schedule.

    Raises:
        UsageError: an invalid rate or momentum.
    """

    share: float = 1.0
    lr: Setting | None = None
    mom: Setting | None = None
    anneal: Callable[[float, float], Schedule] = linear

    def __post_init__(self) -> None:
        _check("lr", self.lr, _is_rate, "rates of 0 or more")
        _check("mom", self.mom, _is_momentum, "momenta in [0, 1)")
        for setting in (self.lr, self.mom):
            self.schedule(setting, 0.0)  # raises early for ends that cannot be joined

    def __repr__(self) -> str:
        """Shows points of the schedules, since functions may share a name."""
        return f"TrainingPhase({self.share}, lr={self._points(self.lr)}, mom={self._points(self.mom)})"

    def _points(self, setting: Setting | None) -> str:
        course = self.schedule(setting, 0.0)
        return "None" if setting is None else " ".join(f"{course(tenth / 10):.6g}" for tenth in range(10))

    def schedule(self, setting: Setting | None, default: float) -> Schedule:
        """A setting as a schedule over this phase; None for `default` all the time."""
        if setting is None:
            return constant(default)
        if callable(setting):
            return setting
        return self.anneal(*setting) if isinstance(setting, tuple) else constant(setting)


class GeneralScheduler(Callback):
    """Set learning rate and momentum before every batch, following these phases over the whole fit.

    Rates are those of the last layer group (of the one with the largest, if the last is fixed at 0); the other groups
    keep their ratio to it in the rates of the fit: under `fit(5, slice(1e-4, 1e-2))` the first group has a hundredth of
    the scheduled rate. Batch k of N trains with the value at k / N.

    Args:
        phases: TrainingPhase objects whose shares sum to 1; or a mapping of "lr" and "mom" to schedules, functions of
            the completed fraction of the fit.

    Raises:
        UsageError: shares that do not sum to 1, an unknown key; in a fit: a schedule of momentum for an optimizer
            without momentum, a schedule that leaves the allowed range, or a loader without a length.

    Example::

        GeneralScheduler([TrainingPhase(0.3, lr=(1e-4, 1e-2)), TrainingPhase(0.7, lr=(1e-2, 1e-5), anneal=cosine)])
        GeneralScheduler({"lr": flat_cos(1e-2)})
    """

    order = Order.SCHEDULE
    sets = frozenset({"lr"})

    def __init__(self, phases: Sequence[TrainingPhase] | Mapping[str, Setting]) -> None:
        if isinstance(phases, Mapping):
            if not phases or not set(phases) <= {"lr", "mom"}:
                raise UsageError("phases", got=list(phases), expected="the keys 'lr', 'mom' or both")
            phases = [TrainingPhase(1.0, phases.get("lr"), phases.get("mom"))]
        if not isinstance(phases, Sequence) or not all(isinstance(phase, TrainingPhase) for phase in phases):
            raise UsageError("phases", got=phases, expected="a list of TrainingPhase, or a mapping of 'lr' and 'mom'")
        self.phases: list[TrainingPhase] = list(phases)
        sequence(*((phase.share, constant(0.0)) for phase in phases))  # raises for shares that do not sum to 1
        self._rate: Schedule = constant(0.0)
        self._momentum: Schedule | None = None
        self._ratios: list[float] = []

    def before_fit(self, state: TrainState) -> None:
        own = momentum_of(state.optimizer)
        sets_momentum = any(phase.mom is not None for phase in self.phases)
        if sets_momentum and own is None:
            raise UsageError(
                f"mom: {type(state.optimizer).__name__} has no momentum", fix="Leave mom out, or train with 'adamw'."
            )
        own_rate, self._ratios = head_rate(state.rates), rate_ratios(state.rates)
        self._rate = sequence(*((phase.share, phase.schedule(phase.lr, own_rate)) for phase in self.phases))
        self._momentum = None
        if sets_momentum and own is not None:
            self._momentum = sequence(*((phase.share, phase.schedule(phase.mom, own)) for phase in self.phases))
        self._set(state)

    def before_batch(self, state: TrainState) -> None:
        self._set(state)

    def _set(self, state: TrainState) -> None:
        progress = state.progress
        rate = self._rate(progress)
        if not _is_rate(rate):
            raise UsageError(f"lr at {progress:.3g} of the fit", got=rate, expected="a finite rate of 0 or more")
        set_learning_rates(state.optimizer, [rate * ratio for ratio in self._ratios])
        if self._momentum is not None:
            momentum = self._momentum(progress)
            if not _is_momentum(momentum):
                raise UsageError(f"mom at {progress:.3g} of the fit", got=momentum, expected="a momentum in [0, 1)")
            set_momentum(state.optimizer, momentum)


def _is_rate(value: Any) -> bool:
    return value == 0 or is_positive(value)


def _is_momentum(value: Any) -> bool:
    return value == 0 or (is_positive(value) and value < 1)


def _check(name: str, setting: object, is_allowed: Callable[[object], bool], allowed: str) -> None:
    if setting is None or callable(setting):
        return
    numbers = setting if isinstance(setting, tuple) and len(setting) == 2 else (setting,)
    if not all(is_allowed(number) for number in numbers):
        raise UsageError(name, got=setting, expected=f"a number, (start, end) or a schedule, with {allowed}")
