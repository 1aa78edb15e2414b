"""The one-cycle policy: the learning rate rises and falls once, momentum the other way."""

from collections.abc import Sequence

from learnkit.checks import check_number, is_number, plain
from learnkit.errors import UsageError
from learnkit.optim.groups import spread_rates
from learnkit.optim.optimizers import momentum_of, set_learning_rates, set_momentum
from learnkit.optim.schedules import Schedule, one_cycle, one_cycle_momentum
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState
from learnkit.types import LearningRate

__all__ = ["OneCycle"]


class OneCycle(Callback):
    """One cycle over the whole fit (Smith, Topin: Super-convergence, 2018).

    Args:
        lr_max: the peak: a number, a slice spread over the layer groups, or one per group; None for the fit's own `lr`.
        moms: momentum at the ends and at the peak; Adam's first beta counts as momentum.
        div_factor: the rate starts at `lr_max / div_factor`.
        pct_start: the fraction of the fit in which the rate rises.
        final_div: the rate ends near `lr_max / final_div`; None for `div_factor * 1e4`.

    Raises:
        UsageError: `moms` that are not two numbers in [0, 1), or a factor or fraction out of its range.
    """

    order = Order.SCHEDULE
    sets = frozenset({"lr"})

    def __init__(
        self,
        lr_max: LearningRate | None = None,
        moms: Sequence[float] = (0.95, 0.85),
        div_factor: float = 25.0,
        pct_start: float = 0.3,
        final_div: float | None = None,
    ) -> None:
        lr_max, moms = plain(lr_max), plain(moms)
        if lr_max is not None and not isinstance(lr_max, list | tuple):
            spread_rates(lr_max, 1)  # raises early for nan and the like
        are_two = isinstance(moms, Sequence) and len(moms) == 2
        if not are_two or not all(is_number(mom) and 0 <= mom < 1 for mom in moms):
            raise UsageError("moms", got=moms, expected="two numbers in [0, 1): at the ends, and at the peak")
        self.lr_max = lr_max
        self.moms: tuple[float, ...] = tuple(moms)
        self.div_factor: float = check_number("div_factor", div_factor, "(0, inf)")
        self.pct_start: float = check_number("pct_start", pct_start, "[0, 1]")
        self.final_div: float = (
            div_factor * 1e4 if final_div is None else check_number("final_div", final_div, "(0, inf)")
        )
        self._rates: list[Schedule] = []
        self._momentum = one_cycle_momentum(*moms, warm_up=pct_start)

    def before_fit(self, state: TrainState) -> None:
        peaks = state.rates if self.lr_max is None else spread_rates(self.lr_max, len(state.rates))
        self._rates = [
            one_cycle(peak, warm_up=self.pct_start, div=self.div_factor, div_final=self.final_div) for peak in peaks
        ]
        self._set(state)

    def before_batch(self, state: TrainState) -> None:
        self._set(state)

    def _set(self, state: TrainState) -> None:
        progress = state.progress
        set_learning_rates(state.optimizer, [rate(progress) for rate in self._rates])
        if momentum_of(state.optimizer) is not None:
            set_momentum(state.optimizer, self._momentum(progress))
