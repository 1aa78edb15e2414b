"""Fitting: what fit, lr_find and the policies of a learner need."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from torch.optim import Optimizer

from learnkit.callbacks.lr_finder import LRFinder
from learnkit.callbacks.one_cycle import OneCycle
from learnkit.callbacks.progress import Progress
from learnkit.callbacks.recorder import Recorder
from learnkit.checks import check_int, check_keywords
from learnkit.errors import UsageError, warn
from learnkit.learner.checks import check_start
from learnkit.learner.resume import CheckpointEvery, Resume, ResumePlan
from learnkit.optim.groups import is_positive, spread_decay
from learnkit.optim.optimizers import set_decay, set_learning_rates
from learnkit.training import loop
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.failures import explained, interrupts_noted
from learnkit.training.state import TrainState

__all__ = [
    "DEFAULT_LR",
    "Callbacks",
    "Decay",
    "FitOptions",
    "as_list",
    "fine_tune_starts",
    "load_optimizer",
    "run_fit",
    "run_lr_find",
    "running_callbacks",
    "set_rates",
    "with_schedule",
]

DEFAULT_LR = slice(None, 3e-3)

Decay = float | Sequence[float] | None
Callbacks = Callback | Sequence[Callback]


class FitOptions(TypedDict, total=False):
    """The keywords of `Learner.fit` that a policy passes on."""

    wd: Decay
    callbacks: Callbacks
    start_epoch: int
    checkpoint_every: CheckpointEvery
    resume: Resume


def as_list(callbacks: Callbacks) -> list[Callback]:
    """One callback or several, as a list."""
    return list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]


def running_callbacks(recorder: Recorder, own: Sequence[Callback], chosen: Callbacks) -> CallbackList:
    """The callbacks of a fit: the recorder, a progress bar unless there is one, the learner's own, the fit's."""
    others = [*own, *as_list(chosen)]
    shows = any(isinstance(callback, Progress) for callback in others)
    return CallbackList([recorder, *([] if shows else [Progress()]), *others])


def set_rates(optimizer: Optimizer, rates: list[float], wd: float | Sequence[float]) -> None:
    """Set the learning rate and the weight decay of each layer group."""
    set_learning_rates(optimizer, rates)
    set_decay(optimizer, spread_decay(wd, len(rates)))


def run_fit(state: TrainState, running: CallbackList, plan: ResumePlan, recorder: Recorder) -> None:
    """Train as planned; the plan's counter moves on by the epochs started and, at the end, by one fit."""
    try:
        with interrupts_noted(state, lambda: len(recorder.rows)), explained(state):
            if not state.is_done:
                loop.fit(state, running, plan.checkpoints)
    finally:
        plan.counter.epoch += state.epochs_begun
    plan.counter.n_fits += 1


def run_lr_find(state: TrainState, running: CallbackList, finder: LRFinder) -> None:
    """Train on as many batches as the finder needs, without validation."""
    state.valid_dl = None
    state.n_epochs = -(-finder.num_it // state.n_batches) if state.n_batches else finder.num_it
    with explained(state):
        loop.fit(state, running)


def load_optimizer(optimizer: Optimizer, saved: dict[str, Any] | None, path: Path, *, required: bool) -> None:
    """Load the optimizer's state from a file of weights; warn, or refuse if it is required, when it does not fit."""
    try:
        if saved is None:
            raise ValueError("the file holds only weights")
        optimizer.load_state_dict(saved)
    except (ValueError, KeyError, RuntimeError) as error:
        message = f"{path}: no optimizer state to load ({error})"
        if required:
            raise UsageError(message, fix="Load with with_opt=False.") from error
        warn(f"{message}; the optimizer is reset")


def with_schedule(policy: str, schedule: Callback, options: FitOptions) -> FitOptions:
    """The options of a fit, with a schedule before its callbacks.

    Raises:
        WrongTypeError: an argument that neither the policy nor `fit` has.
    """
    check_keywords(policy, options, FitOptions.__annotations__)
    return {**options, "callbacks": [schedule, *as_list(options.get("callbacks", ()))]}


def fine_tune_starts(
    epochs: int, base_lr: float, freeze_epochs: int, lr_mult: float, pct_start: float, div: float, options: FitOptions
) -> tuple[int, int]:
    """The epochs that the two stages of `fine_tune` start with; from `freeze_epochs` on, the first is skipped.

    Raises:
        UsageError: arguments that cannot work, before anything is trained.
    """
    check_keywords("fine_tune", options, FitOptions.__annotations__)
    check_int("epochs", epochs, 0)
    check_int("freeze_epochs", freeze_epochs, 0)
    for name, value in (("base_lr", base_lr), ("lr_mult", lr_mult)):
        if not is_positive(value):
            raise UsageError(name, got=value, expected="a finite number above 0")
    OneCycle(None, div_factor=div, pct_start=pct_start)  # raises for what would only fail after the first stage
    resume, start = options.get("resume"), options.get("start_epoch", 0)
    if resume not in (None, "auto"):
        raise UsageError("resume", got=resume, expected="'auto' or None: each stage has its own checkpoint")
    if start != 0:
        check_start(start, freeze_epochs + epochs)
    return start, max(start - freeze_epochs, 0)
