"""Fitting: what fit, lr_find and the policies of a learner need."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict
from zlib import crc32

from torch.optim import Optimizer

from learnkit.callbacks.lr_finder import LRFinder
from learnkit.callbacks.micro_batches import MicroBatches
from learnkit.callbacks.optimizer_modes import OptimizerModes, has_modes
from learnkit.callbacks.progress import Progress
from learnkit.callbacks.recorder import Recorder
from learnkit.callbacks.train_metrics import TrainMetrics
from learnkit.checks import check_kind
from learnkit.data.bunch import DataBunch
from learnkit.distributed.parallel import synchronized_batch_norm
from learnkit.distributed.world import world
from learnkit.errors import UsageError, warn
from learnkit.learner.fingerprint import check_data
from learnkit.learner.options import as_list
from learnkit.learner.resume import CheckpointEvery, Resume, ResumePlan
from learnkit.learner.sharded_fit import Around, Strategy
from learnkit.optim.groups import head_rate, spread_decay
from learnkit.optim.kept import load_kept
from learnkit.optim.optimizers import decay_of, set_decay, set_learning_rates
from learnkit.optim.settings import Settings
from learnkit.persistence.optimizer_state import check_optimizer_state
from learnkit.text import name_of
from learnkit.training import loop
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.failures import explained, interrupts_noted
from learnkit.training.limits import Limits
from learnkit.training.processes import spread_weights
from learnkit.training.state import TrainState, loader_length
from learnkit.types import LearningRate

__all__ = [
    "DEFAULT_LR",
    "Callbacks",
    "Decay",
    "FitOptions",
    "OneCall",
    "chosen_rates",
    "limits_of",
    "load_optimizer",
    "lr_find_callbacks",
    "run_fit",
    "run_lr_find",
    "run_trial",
    "running_callbacks",
    "saving_of",
    "set_rates",
    "with_schedule",
]

DEFAULT_LR = slice(None, 3e-3)

Decay = float | Sequence[float] | None
Callbacks = Callback | Sequence[Callback] | None


class FitOptions(TypedDict, total=False):
    """The keywords of `Learner.fit` that a policy passes on."""

    wd: Decay
    callbacks: Callbacks
    start_epoch: int
    checkpoint_every: CheckpointEvery
    resume: Resume
    max_steps: int | None
    max_time: str | None
    validate_every: int | str | None
    limit_batches: int | None
    train_metrics: bool
    keep_fits: int | None
    strategy: Strategy


def limits_of(options: FitOptions) -> Limits:
    """The limits among the options of a fit."""
    names = ("max_steps", "max_time", "validate_every", "limit_batches")
    return Limits.of(**{name: options.get(name) for name in names})


def saving_of(options: FitOptions) -> tuple[CheckpointEvery, Resume, int | None]:
    """How a fit saves its state, and goes on from one."""
    return options.get("checkpoint_every"), options.get("resume"), options.get("keep_fits")


class OneCall:
    """Counts the fits of one call of a learner: `fine_tune` is two.

    Attributes:
        n_fits: fits of the running call that are done.
    """

    def __init__(self) -> None:
        self.n_fits: int = 0
        self._depth = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """A call inside; one within another is a part of it."""
        if not self._depth:
            self.n_fits = 0
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1


def running_callbacks(
    recorder: Recorder, others: Sequence[Callback], optimizer: Optimizer, train_metrics: bool = False
) -> CallbackList:
    """The callbacks of a fit: the recorder, a progress bar unless there is one, and the others.

    With `train_metrics` those of the training set too, unless a callback measures them.
    """
    shows, measures = (any(isinstance(c, kind) for c in others) for kind in (Progress, TrainMetrics))
    check_kind("train_metrics", train_metrics, bool, "True or False")
    added = [*([] if shows else [Progress()]), *([TrainMetrics()] if train_metrics and not measures else [])]
    return CallbackList([recorder, *added, *others, *_modes(optimizer)])


def lr_find_callbacks(finder: LRFinder, own: Sequence[Callback], optimizer: Optimizer) -> CallbackList:
    """The callbacks of `lr_find`: the finder, and those of the learner that change how a batch is trained."""
    return CallbackList([finder, *(callback for callback in own if callback.in_lr_find), *_modes(optimizer)])


def run_trial(state: TrainState, own: Sequence[Callback], steps: int = 2) -> None:
    """Train for a few steps, without validation.

    Args:
        state: on enough batches.
        own: callbacks; those that change how a batch is trained take part, but for the one that splits it.
        steps: the second has beside it what the first one allocates for all that follow.
    """
    state.valid_dl, state.is_trial, state.stops_on_nan = None, True, True
    state.limit(Limits.of(max_steps=steps))
    used = [callback for callback in own if callback.in_lr_find and not isinstance(callback, MicroBatches)]
    with explained(state):
        loop.fit(state, CallbackList([*used, *_modes(state.optimizer)]))


def _modes(optimizer: Optimizer) -> list[Callback]:
    return [OptimizerModes()] if has_modes(optimizer) else []


def chosen_rates(settings: Settings, lr: LearningRate, *, tell: bool = True) -> list[float]:
    """One rate per group: those passed; the ones that the optimizer was made with, if it fixes them and none are.

    Warns:
        LearnkitWarning: another rate is passed than the optimizer was made with.
    """
    if settings.rates is not None and lr is DEFAULT_LR:
        return settings.rates
    rates = settings.spread(lr)
    if tell and settings.rates is not None and head_rate(rates) != head_rate(settings.rates):
        shown = ", ".join(f"{rate:.3g}" for rate in sorted(set(settings.rates)))
        warn(f"lr: this fit trains at {head_rate(rates):.3g}, not at the rate that opt_func fixes ({shown})")
    return rates


def set_rates(
    optimizer: Optimizer, settings: Settings, rates: list[float], own_wd: float | None, wd: Decay = None
) -> None:
    """Set the learning rate and the weight decay of each group.

    Args:
        optimizer: it has the settings it was made with.
        settings: those.
        rates: one per group.
        own_wd: the learner's decay; not used if the optimizer was made with a fixed one.
        wd: the fit's decay, before all others; None for none.

    Warns:
        LearnkitWarning: a decay is not used, as the optimizer was made with a fixed one, or has none.
    """
    set_learning_rates(optimizer, rates)
    if wd is None and own_wd is not None:
        if not settings.fixes_decay:
            wd = own_wd
        elif own_wd != decay_of(optimizer):
            warn(f"wd={own_wd} is not used: opt_func fixes a weight decay of {decay_of(optimizer)}")
    decays = None if wd is None else spread_decay(wd, len(rates))
    if decays is not None and any(decays) and not any("weight_decay" in group for group in optimizer.param_groups):
        warn(f"wd={wd} is not used: {name_of(optimizer)} has no weight decay")
    set_decay(optimizer, decays)


def run_fit(
    state: TrainState,
    dls: DataBunch,
    running: CallbackList,
    plan: ResumePlan,
    recorder: Recorder,
    call: OneCall,
    around: Around,
) -> None:
    """Train as planned, inside of `around`; the plan's counter moves on by the epochs started and by this fit."""
    try:
        with interrupts_noted(state, lambda: len(recorder.rows)), explained(state):
            _begin_together(state, dls)
            if not state.is_done:
                with around(state), synchronized_batch_norm(state.model):
                    loop.fit(state, running, plan.checkpoints)
    finally:
        plan.counter.epoch += state.epochs_begun
    plan.remove_done(call.n_fits)
    plan.counter.n_fits += 1
    call.n_fits += 1


def run_lr_find(state: TrainState, dls: DataBunch, running: CallbackList, finder: LRFinder) -> None:
    """Train on as many batches as the finder needs, without validation."""
    state.valid_dl, state.is_trial = None, True
    state.n_epochs = -(-finder.num_it // state.n_batches) if state.n_batches else finder.num_it
    with explained(state):
        _begin_together(state, dls)
        with synchronized_batch_norm(state.model):
            loop.fit(state, running)


def _begin_together(state: TrainState, dls: DataBunch) -> None:
    """Let several processes begin with the same weights, on the same data."""
    check_data(dls)
    world.check_reaches(state.compute.device)
    parameters = sum(parameter.numel() for parameter in state.model.parameters())
    n_batches = -1 if state.n_batches is None else state.n_batches
    n_validated = -1 if state.valid_dl is None else loader_length(state.valid_dl) or 0
    settings = {"learning rates": state.rates, "limits": sorted(state.limits.given.items()), "seed": state.seed}
    world.check_same({
        **{f"the {name} (as a hash)": crc32(repr(value).encode()) for name, value in settings.items()},
        "epochs": state.n_epochs, "training batches": n_batches, "validation batches": n_validated,
        "parameters": parameters, "metrics": len(state.metrics),
    })  # fmt: skip
    spread_weights(state.model, state.loss_func)


def load_optimizer(
    optimizer: Optimizer, settings: Settings, saved: dict[str, Any] | None, path: Path, *, required: bool
) -> None:
    """Load the optimizer's state from a file of weights.

    Args:
        optimizer: of the learner; it may have taken steps.
        settings: those it was made with.
        saved: the state in the file; None if it holds only weights.
        path: of the file, for the message.
        required: refuse a state that does not fit.

    Warns:
        LearnkitWarning: the state does not fit. The optimizer forgets its steps, as they are those of other weights,
            and keeps its settings: rates, decay and momentum.

    Raises:
        UsageError: the state is required, and does not fit or is missing; the optimizer is as before.
    """
    try:
        if saved is None:
            raise ValueError("the file holds only weights")
        check_optimizer_state(optimizer, saved)
        load_kept(optimizer, saved)
    except (ValueError, KeyError, RuntimeError) as error:
        message = f"{path}: no optimizer state to load ({error})"
        if required:
            raise UsageError(message, fix="Load with with_opt=False.") from error
        settings.as_made.reset(optimizer)
        warn(f"{message}; the optimizer keeps its settings and forgets its steps")


def with_schedule(schedule: Callback, options: FitOptions) -> FitOptions:
    """The options of a fit, with a schedule before its callbacks."""
    return {**options, "callbacks": [schedule, *as_list(options.get("callbacks", ()))]}
