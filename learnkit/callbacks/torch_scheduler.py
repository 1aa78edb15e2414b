"""Torch's learning-rate schedulers, and functions of the epoch number, in a fit."""

import copy
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal, TypeAlias, TypeGuard

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from learnkit.callbacks.monitor import Monitor
from learnkit.errors import UsageError
from learnkit.optim.optimizers import set_learning_rates
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["MakeScheduler", "TorchScheduler"]

MakeScheduler: TypeAlias = Callable[[Optimizer], LRScheduler] | Callable[[int], float]

MOVED = ("lr", "momentum", "betas")  # what torch's schedulers change in a group, beside what they add to it


class TorchScheduler(Callback):
    """Run one of `torch.optim.lr_scheduler` in every fit, made anew for each.

    It starts from the rates of the fit, group by group. Torch's optimizer has up to two parameter groups a layer group,
    those that decay and those that do not: a scheduler that takes a list of values needs one for each of them.

    It steps once per optimizer step, or once per epoch, as a loop written by hand would. A step that an overflow in
    float16 left out, or a batch that only adds to the gradients, does not move it, nor does an epoch without a step.

    Several schedulers in one fit are joined by torch's ChainedScheduler or SequentialLR.

    Args:
        make: what gives the scheduler when called with the optimizer: a lambda, a `functools.partial`, a class; or a
            function of the epoch number alone that gives the factor of every rate. Epochs count from 0 in each fit,
            and with `every="batch"` it is the optimizer steps that are counted.
        every: "epoch", after its validation, or "batch".
        monitor: the column of the record that torch's ReduceLROnPlateau is stepped with; unused by the others.

    Raises:
        UsageError: arguments that cannot work; in a fit: a scheduler of another optimizer, an unknown monitor, or a
            rate that is negative or not finite.

    Example::

        TorchScheduler(lambda opt: CosineAnnealingLR(opt, T_max=10))
        TorchScheduler(partial(OneCycleLR, max_lr=0.1, total_steps=3 * 782), every="batch")
        TorchScheduler(lambda epoch: 0.1 ** (epoch // 30))
    """

    order = Order.RECORD + 5  # when the row is there, and before anything is saved
    sets = frozenset({"lr"})

    def __init__(
        self, make: MakeScheduler, every: Literal["epoch", "batch"] = "epoch", monitor: str = "valid_loss"
    ) -> None:
        if not callable(make):
            raise UsageError(
                "make", got=make, expected="a function of the optimizer that gives a scheduler, or of the epoch number",
                fix="Write lambda opt: StepLR(opt, 30): each fit makes its own.",
            )  # fmt: skip
        if every not in ("epoch", "batch"):
            raise UsageError("every", got=every, expected="'epoch' or 'batch'")
        self.make: Callable[..., Any] = partial(LambdaLR, lr_lambda=make) if _gives_factors(make) else make
        self.every = every
        self.monitor = Monitor(monitor)
        self._scheduler: LRScheduler | None = None
        self._optimizer: Optimizer | None = None
        self._own_keys: list[set[str]] = []  # of each group, before the scheduler added to them
        self._steps_seen = 0
        self._is_due = False
        self._is_resumed = False
        self._last_step = 0  # of the optimizer, as far as this has seen it

    def before_fit(self, state: TrainState) -> None:
        self._optimizer = optimizer = state.optimizer
        for group in optimizer.param_groups:
            group.pop("initial_lr", None)  # from a file, say: torch would start from it instead of this fit's rate
        self._own_keys = [set(group) for group in optimizer.param_groups]
        set_learning_rates(optimizer, state.rates)
        scheduler = self.make(optimizer)
        if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
            raise UsageError(
                "make", got=scheduler, expected="a torch scheduler of the optimizer it is called with, or a number",
                fix="Write lambda opt: StepLR(opt, 30).",
            )  # fmt: skip
        if isinstance(scheduler, ReduceLROnPlateau):
            self._check_plateau(scheduler, state)
        self._scheduler = scheduler
        self._is_due, self._is_resumed = False, False
        self._steps_seen = self._last_step = state.step

    def _check_plateau(self, scheduler: ReduceLROnPlateau, state: TrainState) -> None:
        self.monitor.start(state)
        if self.every != "epoch":
            raise UsageError("every", got=self.every, expected="'epoch' for ReduceLROnPlateau, which reads its results")
        higher = {metric.name: metric.higher_is_better for metric in state.metrics}.get(self.monitor.name, False)
        if higher is not None and scheduler.mode != (mode := "max" if higher else "min"):
            raise UsageError(
                "ReduceLROnPlateau: mode", got=scheduler.mode, expected=f"{mode!r} for {self.monitor.name}"
            )

    def before_epoch(self, state: TrainState) -> None:
        if self.every == "epoch":
            self._step_if_due()

    def before_batch(self, state: TrainState) -> None:
        if self.every == "batch":
            self._look(state)  # at a step whose batch was then skipped
            self._step_if_due()
        rates = [group["lr"] for group in self._groups]
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise UsageError("the scheduler's learning rate", got=rates, expected="finite rates of 0 or more")

    def after_batch(self, state: TrainState) -> None:
        self._last_step = state.step
        if self.every == "batch":
            self._look(state)

    def after_epoch(self, state: TrainState) -> None:
        self._look(state)
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._step_if_due(state.row[self.monitor.name])

    def _look(self, state: TrainState) -> None:
        self._is_due = self._is_due or state.step != self._steps_seen
        self._steps_seen = self._last_step = state.step

    def _step_if_due(self, *monitored: float) -> None:
        """Step the scheduler if the optimizer has stepped; when a rate is needed, so never past the end of the fit."""
        if not self._is_due or self._scheduler is None:
            return
        self._is_due = False
        with warnings.catch_warnings() if self._is_resumed else nullcontext():
            if self._is_resumed:  # torch cannot know that the optimizer has stepped, in the fit that was left
                warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before", UserWarning)
            self._scheduler.step(*monitored)  # type: ignore[arg-type]  # only ReduceLROnPlateau takes a result
        self._is_resumed = False

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [] if self._optimizer is None else self._optimizer.param_groups

    def after_fit(self, state: TrainState) -> None:
        for group, own in zip(self._groups, self._own_keys, strict=False):
            for added in set(group) - own:
                del group[added]
        self._scheduler, self._optimizer, self._own_keys = None, None, []

    def state_dict(self) -> dict[str, Any]:
        """The running scheduler, and what it has set in the optimizer; nothing outside a fit."""
        if self._scheduler is None:
            return {}
        groups = [
            {key: value for key, value in group.items() if key in MOVED or key not in own}
            for group, own in zip(self._groups, self._own_keys, strict=True)
        ]
        unseen = self._last_step - self._steps_seen
        kept = {"scheduler": self._scheduler.state_dict(), "groups": groups, "is_due": self._is_due, "unseen": unseen}
        return copy.deepcopy(kept)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        if self._scheduler is None:
            return
        saved = copy.deepcopy(saved)
        self._scheduler.load_state_dict(saved["scheduler"])
        for group, settings in zip(self._groups, saved["groups"], strict=True):
            group.update(settings)
        self._is_due, self._steps_seen = saved["is_due"], self._last_step - saved["unseen"]
        self._is_resumed = True


def _gives_factors(make: MakeScheduler) -> TypeGuard[Callable[[int], float]]:
    """Whether this is a function of the epoch number; what makes schedulers cannot work on a 0."""
    if isinstance(make, type):
        return False
    try:
        return isinstance(make(0), int | float)  # type: ignore[arg-type]
    except (TypeError, AttributeError):
        return False
