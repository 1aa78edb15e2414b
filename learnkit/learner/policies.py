"""Fits under a policy: one cycle, flat and cosine, restarts, and fine-tuning in two stages."""

from collections.abc import Sequence
from functools import partial

from learnkit.callbacks.general_scheduler import GeneralScheduler
from learnkit.callbacks.one_cycle import OneCycle
from learnkit.checks import check_int
from learnkit.errors import UsageError
from learnkit.learner.resume import CheckpointEvery, Resume
from learnkit.learner.trainer import DEFAULT_LR, Trainer, as_list
from learnkit.optim.groups import is_positive
from learnkit.optim.schedules import flat_cos, sgdr
from learnkit.training.callback import Callback
from learnkit.types import LearningRate

__all__ = ["PolicyTrainer"]

Decay = float | Sequence[float] | None
Callbacks = Callback | Sequence[Callback]


class PolicyTrainer(Trainer):
    """A trainer with the usual ways to move the learning rate."""

    def fit_one_cycle(
        self,
        epochs: int,
        max_lr: LearningRate = DEFAULT_LR,
        moms: Sequence[float] = (0.95, 0.85),
        div_factor: float = 25.0,
        pct_start: float = 0.25,
        final_div: float = 1e5,
        wd: Decay = None,
        callbacks: Callbacks = (),
        *,
        start_epoch: int = 0,
        checkpoint_every: CheckpointEvery = None,
        resume: Resume = None,
    ) -> None:
        """Train under one cycle of rates that peaks at `max_lr`; see `OneCycle`, and `fit` for the other arguments."""
        cycle = OneCycle(None, moms, div_factor, pct_start, final_div)
        self.fit(
            epochs,
            max_lr,
            wd,
            [cycle, *as_list(callbacks)],
            start_epoch=start_epoch,
            checkpoint_every=checkpoint_every,
            resume=resume,
        )

    def fit_flat_cos(
        self,
        epochs: int,
        lr: LearningRate = DEFAULT_LR,
        div_final: float = 1e5,
        pct_start: float = 0.75,
        wd: Decay = None,
        callbacks: Callbacks = (),
        *,
        checkpoint_every: CheckpointEvery = None,
        resume: Resume = None,
    ) -> None:
        """Train at `lr` for `pct_start` of the fit, then along a cosine down to `lr / div_final`."""
        peak = self.lr_range(lr)[-1]
        schedule = GeneralScheduler({"lr": flat_cos(peak, flat=pct_start, div_final=div_final)})
        chosen = [schedule, *as_list(callbacks)]
        self.fit(epochs, lr, wd, chosen, checkpoint_every=checkpoint_every, resume=resume)

    def fit_sgdr(
        self,
        n_cycles: int,
        cycle_len: int,
        lr_max: LearningRate = DEFAULT_LR,
        cycle_mult: int = 2,
        wd: Decay = None,
        callbacks: Callbacks = (),
        *,
        checkpoint_every: CheckpointEvery = None,
        resume: Resume = None,
    ) -> None:
        """Train in cycles, each from `lr_max` along a cosine to 0, each `cycle_mult` times as long as the one before.

        Loshchilov, Hutter: SGDR, 2017.

        Args:
            n_cycles: number of cycles.
            cycle_len: epochs of the first one.
            lr_max: the rate each begins with, as `fit` reads `lr`.
            cycle_mult: an integer, 1 or more.
            wd: weight decay, None for the learner's.
            callbacks: for this fit alone.
            checkpoint_every: as for `fit`.
            resume: as for `fit`.
        """
        for name, value in (("n_cycles", n_cycles), ("cycle_len", cycle_len), ("cycle_mult", cycle_mult)):
            check_int(name, value, 1)
        epochs = sum(cycle_len * cycle_mult**cycle for cycle in range(n_cycles))
        schedule = GeneralScheduler({"lr": sgdr(self.lr_range(lr_max)[-1], n_cycles, cycle_mult=cycle_mult)})
        chosen = [schedule, *as_list(callbacks)]
        self.fit(epochs, lr_max, wd, chosen, checkpoint_every=checkpoint_every, resume=resume)

    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        lr_mult: float = 100.0,
        pct_start: float = 0.3,
        div: float = 5.0,
        wd: Decay = None,
        callbacks: Callbacks = (),
        *,
        checkpoint_every: CheckpointEvery = None,
        resume: Resume = None,
    ) -> None:
        """Train the head with the body frozen, then everything, the first layers at much smaller rates.

        Args:
            epochs: with everything trained, under one cycle from half of `base_lr / lr_mult` (the first group) to half
                of `base_lr` (the head).
            base_lr: the rate of the head while the body is frozen.
            freeze_epochs: before that, of the head alone, under one cycle that ends at its peak.
            lr_mult: how much smaller the rate of the first group is than the head's.
            pct_start: the share of the second stage in which the rate rises.
            div: the second stage starts at its peak / `div`.
            wd: weight decay, None for the learner's.
            callbacks: for both stages.
            checkpoint_every: as for `fit`; each stage is a fit of its own.
            resume: None or "auto": a stage that is done is not run again.

        Raises:
            UsageError: arguments that cannot work, before anything is trained.
        """
        epochs, freeze_epochs = check_int("epochs", epochs), check_int("freeze_epochs", freeze_epochs)
        if epochs < 0 or freeze_epochs < 0:
            raise UsageError("epochs, freeze_epochs", got=(epochs, freeze_epochs), expected="integers, 0 or more")
        OneCycle(None, div_factor=div, pct_start=pct_start)  # the second stage's is refused before the first one trains
        if resume not in (None, "auto"):
            raise UsageError(
                "fine_tune: resume", got=resume, expected="'auto' or None: its two stages have a checkpoint each"
            )
        if not is_positive(base_lr) or not is_positive(lr_mult):
            raise UsageError("base_lr, lr_mult", got=(base_lr, lr_mult), expected="finite numbers above 0")
        self.freeze()
        stage = partial(
            self.fit_one_cycle, wd=wd, callbacks=callbacks, checkpoint_every=checkpoint_every, resume=resume
        )
        if freeze_epochs:
            stage(freeze_epochs, slice(None, base_lr), pct_start=0.99)
        self.unfreeze()
        half = base_lr / 2
        stage(epochs, slice(half / lr_mult, half), pct_start=pct_start, div_factor=div)
