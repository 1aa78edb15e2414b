"""When a fit stops before its last epoch, and when it validates: its limits, as the loop runs."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from learnkit.distributed.agreement import Agreement
from learnkit.distributed.world import world
from learnkit.errors import StopFit
from learnkit.metrics.metric import columns
from learnkit.modes import preserve_modes
from learnkit.training.state import TrainState

__all__ = ["stop_if_noted", "validate_if_due", "validates", "watched"]


def watched(batches: Iterable[Any], state: TrainState) -> Iterable[Any]:
    """The same batches, until a limit of the fit is reached.

    Why the fit stops is noted, so that the epoch is validated and recorded as usual.
    """
    return _watched(batches, state) if state.limits.act_within_epochs else batches


def _watched(batches: Iterable[Any], state: TrainState) -> Iterator[Any]:
    yet_to_come = iter(batches)
    clock = Agreement()
    while True:
        is_end = state.batch + 1 == state.n_batches
        if not is_end and not state.stop_reason:
            state.stop_reason = _reached(state, bool(clock.exchange(_is_late(state))[0]))
        if state.stop_reason:
            return
        try:
            batch = next(yet_to_come)
        except StopIteration:
            return
        yield batch


def validate_if_due(state: TrainState, validate: Callable[[], None]) -> None:
    """Validate between two batches of an epoch."""
    if state.limits.counts_steps and state.batch + 1 != state.n_batches and _is_validation_due(state):
        _validate_within(state, validate)


def _is_validation_due(state: TrainState) -> bool:
    if state.valid_dl is None or state.compute.n_gathered or state.step == state.validated_step:
        return False
    return not state.step % state.limits.validate_every.steps


def _validate_within(state: TrainState, validate: Callable[[], None]) -> None:
    state.is_mid_epoch = True
    try:
        with preserve_modes(state.model):
            validate()
    except StopFit as stop:
        state.stop_reason = str(stop) or "stopped by a callback"
    finally:
        state.is_mid_epoch = False


def _is_late(state: TrainState) -> bool:
    """Whether the time of the fit is over by the clock of the first process."""
    limit = state.limits.max_time
    return limit is not None and world.is_first and time.monotonic() - state.began >= limit


def _reached(state: TrainState, is_late: bool) -> str:
    """The limit of the fit that is reached, "" if none is."""
    limits = state.limits
    if limits.max_steps is not None and state.step >= limits.max_steps:
        return f"max_steps={limits.max_steps} reached"
    if is_late:
        return f"max_time={limits.given['max_time']!r} reached"
    return ""


def validates(state: TrainState) -> bool:
    """Whether the epoch that has been trained ends with a validation.

    If not, its results are nan in the record, or those of a validation at its last step.
    """
    is_last = state.epoch + 1 == state.n_epochs
    if not is_last and not state.stop_reason:
        state.stop_reason = _reached(state, bool(world.agreed(_is_late(state))))  # once, as time passes
    if state.valid_dl is None:
        return False
    if state.stop_reason and 0 < state.step == state.validated_step:
        state.model.eval()  # as a validation leaves it: the one within the epoch is of the same weights
        return False
    every = state.limits.validate_every.epochs
    if math.isinf(every) or (state.epoch + 1) % every == 0 or is_last or state.stop_reason:
        return True
    names = ["valid_loss", *(name for metric in state.metrics for name in columns(metric))]
    state.valid = dict.fromkeys(names, math.nan)
    return False


def stop_if_noted(state: TrainState) -> None:
    """End the fit, once its last epoch is recorded.

    Raises:
        StopFit: a limit is reached, or a callback asked for it within the epoch.
    """
    if state.stop_reason:
        raise StopFit(state.stop_reason)
