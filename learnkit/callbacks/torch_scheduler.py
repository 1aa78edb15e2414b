"""Torch's learning-rate schedulers, and functions of the epoch, in a fit."""

import copy
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal, TypeAlias, TypeGuard

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from learnkit.callbacks.monitor import Monitor, direction
from learnkit.checks import check_choice
from learnkit.errors import UsageError
from learnkit.optim.optimizers import set_learning_rates
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["MakeScheduler", "TorchScheduler"]

MakeScheduler: TypeAlias = Callable[[Optimizer], LRScheduler] | Callable[[int], float]

SCHEDULED = ("lr", "momentum", "betas")  # what torch's schedulers change in a group, apart from keys they add


class TorchScheduler(Callback):
    """Run one of `torch.optim.lr_scheduler` in every fit, created again for each.

    It starts from the rates of the fit, group by group. The optimizer has up to two parameter groups per layer group,
    with and without weight decay: a scheduler that takes a list of values needs one for each of them.

    It steps once per optimizer step, or once per epoch, as in a loop written by hand. A step skipped because of
    overflow in float16, a batch that only accumulates gradients, and an epoch without a step do not step it.

    Combine several schedulers in one fit with torch's ChainedScheduler or SequentialLR.

    Args:
        make: returns the scheduler when called with the optimizer: a lambda, a `functools.partial`, a class; or a
            function of only the epoch that returns a factor for every rate. Epochs count from 0 in each fit; with
            `every="batch"` optimizer steps are counted instead.
        every: "epoch", after its validation, or "batch".
        monitor: the column of the record that torch's ReduceLROnPlateau is stepped with; unused by the others.

    Raises:
        UsageError: invalid arguments; in a fit: a scheduler of another optimizer, an unknown monitor, or a rate that is
            negative or not finite.

    Example::

        TorchScheduler(lambda opt: CosineAnnealingLR(opt, T_max=10))
        TorchScheduler(partial(OneCycleLR, max_lr=0.1, total_steps=3 * 782), every="batch")
        TorchScheduler(lambda epoch: 0.1 ** (epoch // 30))
    """

    order = Order.RECORD + 5  # after the row is recorded, and before anything is saved
    sets = frozenset({"lr"})

    def __init__(
        self, make: MakeScheduler, every: Literal["epoch", "batch"] = "epoch", monitor: str = "valid_loss"
    ) -> None:
        if not callable(make):
            raise UsageError(
                "make", got=make, expected="a function of the optimizer that returns a scheduler, or of the epoch",
                fix="Write lambda opt: StepLR(opt, 30), so that each fit creates its own.",
            )  # fmt: skip
        self.make: Callable[..., Any] = partial(LambdaLR, lr_lambda=make) if _returns_factors(make) else make
        self.every = check_choice("every", every, ("epoch", "batch"))
        self.monitor: Monitor = Monitor(monitor)
        self._scheduler: LRScheduler | None = None
        self._optimizer: Optimizer | None = None
        self._own_keys: list[set[str]] = []  # keys of each group before the scheduler added some
        self._steps_seen = 0
        self._is_due = False
        self._is_resumed = False
        self._last_step = 0  # of the optimizer, at the last hook

    def before_fit(self, state: TrainState) -> None:
        self._optimizer = optimizer = state.optimizer
        for group in optimizer.param_groups:
            group.pop("initial_lr", None)  # for example from a loaded file: torch would start from it
        self._own_keys = [set(group) for group in optimizer.param_groups]
        set_learning_rates(optimizer, state.rates)
        scheduler = self.make(optimizer)
        if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
            raise UsageError(
                "make", got=scheduler, expected="a torch scheduler of the given optimizer, or a number",
                fix="Write lambda opt: StepLR(opt, 30).",
            )  # fmt: skip
        if isinstance(scheduler, ReduceLROnPlateau):
            self._check_plateau(scheduler, state)
        self._scheduler = scheduler
        self._is_due, self._is_resumed = False, False
        self._steps_seen = self._last_step = state.step

    def _check_plateau(self, scheduler: ReduceLROnPlateau, state: TrainState) -> None:
        self.monitor.start(state, mode="max" if scheduler.mode == "max" else "min")
        if self.every != "epoch":
            raise UsageError("every", got=self.every, expected="'epoch' for ReduceLROnPlateau, which needs the results")
        higher = direction(self.monitor.name, state)
        if higher is not None and scheduler.mode != (mode := "max" if higher else "min"):
            raise UsageError(
                "ReduceLROnPlateau: mode", got=scheduler.mode, expected=f"{mode!r} for {self.monitor.name}"
            )

    def before_epoch(self, state: TrainState) -> None:
        if self.every == "epoch":
            self._step_if_due()

    def before_batch(self, state: TrainState) -> None:
        if self.every == "batch":
            self._update_due(state)  # a step whose batch was then skipped
            self._step_if_due()
        rates = [group["lr"] for group in self._groups]
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise UsageError("the scheduler's learning rate", got=rates, expected="finite rates of 0 or more")

    def after_batch(self, state: TrainState) -> None:
        self._last_step = state.step
        if self.every == "batch":
            self._update_due(state)

    def after_epoch(self, state: TrainState) -> None:
        self._update_due(state)
        if isinstance(self._scheduler, ReduceLROnPlateau):
            value = self.monitor.value(state)  # None in an epoch without validation
            if value is not None:
                self._step_if_due(value)

    def _update_due(self, state: TrainState) -> None:
        self._is_due = self._is_due or state.step != self._steps_seen
        self._steps_seen = self._last_step = state.step

    def _step_if_due(self, *monitored: float) -> None:
        """Step the scheduler if the optimizer has stepped; only when a rate is needed, never at the end of a fit."""
        if not self._is_due or self._scheduler is None:
            return
        self._is_due = False
        with warnings.catch_warnings() if self._is_resumed else nullcontext():
            if self._is_resumed:  # torch cannot know that the optimizer stepped in the interrupted fit
                warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before", UserWarning)
            self._scheduler.step(*monitored)  # type: ignore[arg-type]  # only ReduceLROnPlateau takes a value
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
        """The scheduler, and what it has set in the optimizer; empty outside a fit."""
        if self._scheduler is None:
            return {}
        groups = [
            {key: value for key, value in group.items() if key in SCHEDULED or key not in own}
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


def _returns_factors(make: MakeScheduler) -> TypeGuard[Callable[[int], float]]:
    """Whether this is a function of the epoch; functions that create schedulers fail on a 0."""
    if isinstance(make, type):
        return False
    try:
        return isinstance(make(0), int | float)  # type: ignore[arg-type]
    except (TypeError, AttributeError):
        return False
