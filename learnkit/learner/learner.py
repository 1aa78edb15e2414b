"""The Learner: trains a model, predicts with it, explains it, and saves it to disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import torch
from torch import nn
from torch.optim import Optimizer

from learnkit.arguments import checks_methods
from learnkit.atomic_files import named_file
from learnkit.callbacks.general_scheduler import GeneralScheduler
from learnkit.callbacks.lr_finder import LRFinder, Suggestions
from learnkit.callbacks.one_cycle import OneCycle
from learnkit.callbacks.precision import MixedPrecision
from learnkit.callbacks.progress import announce
from learnkit.checks import check_int, check_kind
from learnkit.data.bunch import DataBunch
from learnkit.device import BF16, FP16
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.interpretation.items import Interpretation
from learnkit.learner import fitting
from learnkit.learner.batch_size import SMALL_LR, settle_batch_size
from learnkit.learner.checks import check_epochs, check_head, check_start, check_trainable
from learnkit.learner.class_weights import ClassWeights
from learnkit.learner.defaults import chosen_metrics, is_default
from learnkit.learner.describe import fit_outline, learner_facts
from learnkit.learner.feature_views import views_of
from learnkit.learner.fine_tuning import KeptStatistics, fine_tune_starts, second_peak, trains_head
from learnkit.learner.fitting import DEFAULT_LR, Callbacks, Decay, FitOptions, OneCall, saving_of, with_schedule
from learnkit.learner.head_features import HeadFeatures, head_features, identity_of, training_only
from learnkit.learner.lazy import give_sizes
from learnkit.learner.options import as_list
from learnkit.learner.parts import Groups
from learnkit.learner.preds import Part
from learnkit.learner.resume import CheckpointEvery, Resume, RunCounter, is_noted, plan_fit, stored_batch_size
from learnkit.learner.sharded_fit import Around, Strategy, in_strategy
from learnkit.learner.similarity import Similarity
from learnkit.learner.understanding import Understanding
from learnkit.losses.outputs import OutputKey
from learnkit.metrics.metric import Metric
from learnkit.models.groups import group_numbers, regrouped
from learnkit.models.layout import use_channels_last
from learnkit.modes import together
from learnkit.optim.adapters import held_by_adapters
from learnkit.optim.build import build_optimizer, holds_trained
from learnkit.optim.groups import freeze_groups, head_rate, spread_rates
from learnkit.optim.kept import carry_over
from learnkit.optim.optimizers import OptimizerFactory
from learnkit.optim.schedules import flat_cos, sgdr
from learnkit.optim.settings import Settings
from learnkit.persistence.deploy.int8 import quantization_line
from learnkit.persistence.deploy.network import Preprocessing
from learnkit.persistence.deploy.onnx import Quantize
from learnkit.persistence.deploy.real_data import RealData
from learnkit.persistence.export import ExportFormat, export
from learnkit.persistence.merging import whole
from learnkit.persistence.setup import TrainingSetup
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import load_weights, plain_model, save_weights, saved_path, weights_path
from learnkit.seeds import Stream, derive, seed_from_global_rng
from learnkit.text import facts
from learnkit.training.callback import Callback
from learnkit.training.dry_run import dry_run
from learnkit.training.outline import Outline
from learnkit.training.processes import spread_weights
from learnkit.training.state import TrainState
from learnkit.types import Activation, DatasetType, LearningRate, Loss, PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Learner"]


@checks_methods
class Learner(Understanding, Similarity):
    """Trains a model on a DataBunch, predicts with it, explains it, and saves it to disk.

    Predictions have no side effects: modes, gradients and random generators are restored.

    Args:
        dls: the data.
        model: any module; it is moved to the data's device.
        loss_func: (preds, targets) -> mean loss, shape (); None for the default of the data's task.
        opt_func: "adamw", "adam", "sgd", "rmsprop", or a factory called with groups (and `lr=` if it has one). A rate
            that it fixes is the default of every fit; of groups that it makes itself, fits keep the ratios of rates.
        metrics: a name ("accuracy"), a function (preds, targets) of a batch, averaged over the items, an object with
            update, compute and reset, such as torchmetrics', or a list of these; "default" for those of the task.
        callbacks: run in every fit, before the callbacks of the fit.
        wd: weight decay of parameters with two dimensions or more, except those that the model exempts (timm's
            `no_weight_decay`); None for that of `opt_func`: 0.01 for "adamw", 0 for the other names. One that a factory
            fixes is kept.
        wd_bn_bias: decay biases and norm layers too.
        train_bn: keep training the norm layers of frozen groups.
        path: the parent of `model_dir`; None for the working directory.
        model_dir: the folder for weights.
        seed: order, augmentation and dropout of every fit are a function of it; None draws one, see `learn.seed`.
        groups: layer groups from the input to the head, each parameter in exactly one, or a function as in `split`;
            None for a single group.
        activation: maps raw outputs to predictions; None for the one of the loss.
        class_weights: "balanced", one number per class or {class: number}, for the task's loss; see `weighted_loss`.
        output: of a model that returns several: the name, the index, or a function, of the one that is the prediction.
            Metrics, activation and the losses of torch and learnkit see only this one; a loss of your own sees all.

    Attributes:
        spec: how a factory built the model, so that `load_learner` can build it again; None for a custom model.
        fit_callbacks: only those of the last fit.
        counter: the seed, and the epochs and fits so far.

    Raises:
        UsageError: arguments that cannot work together, such as a model whose outputs are not the data's classes, or
            a metric that does not fit the data's task.
    """

    # Made of

    def __init__(
        self,
        dls: DataBunch,
        model: nn.Module,
        *,
        loss_func: Loss | None = None,
        opt_func: str | OptimizerFactory = "adamw",
        metrics: Any = (),
        callbacks: Callback | Sequence[Callback] = (),
        wd: float | None = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        path: PathLike | None = None,
        model_dir: PathLike = "models",
        seed: int | None = None,
        groups: Groups | None = None,
        activation: Activation | None = None,
        class_weights: ClassWeights | None = None,
        output: OutputKey | None = None,
    ) -> None:
        super().__init__()
        world.begin()
        self.output = output
        self._take(
            dls=dls, model=model, loss_func=loss_func, activation=activation, class_weights=class_weights,
            metrics=metrics,
        )  # fmt: skip
        self.fit_callbacks: list[Callback] = []
        self.callbacks = as_list(callbacks)
        self.wd, self.wd_bn_bias, self.train_bn = wd, wd_bn_bias, train_bn
        self.path, self.model_dir = path, model_dir
        seed_is_drawn, seed = seed is None, seed_from_global_rng() if seed is None else check_int("seed", seed)
        self.counter = RunCounter(world.agreed(seed), seed_is_drawn=seed_is_drawn)
        spread_weights(self.model, self.loss_func)
        self._call = OneCall()
        self.groups = [self.model] if groups is None else groups
        self.opt_func = opt_func

    def __repr__(self) -> str:
        return "\n".join([type(self).__name__, *(f"  {name}: {value}" for name, value in learner_facts(self).items())])

    def _repr_html_(self) -> str:
        return facts(type(self).__name__, learner_facts(self))

    @property
    def seed(self) -> int:
        """The seed of all randomness of every fit."""
        return self.counter.seed

    @seed.setter
    def seed(self, value: int) -> None:
        self.counter.seed = check_int("seed", value)

    @property
    def epoch(self) -> int:
        """Epochs started in all fits so far."""
        return self.counter.epoch

    @property
    def history(self) -> "pd.DataFrame":
        """One row per epoch of every fit: epoch, train_loss, valid_loss, metrics, time in seconds."""
        return self.recorder.history

    def add_cb(self, *callbacks: Callback) -> Self:
        """Run these callbacks in every fit from now on."""
        self.callbacks = [*self.callbacks, *callbacks]
        return self

    def remove_cb(self, callback: Callback | type[Callback]) -> Self:
        """Remove a callback, or all of a class."""
        expected = "a callback of the learner, or the class of some"
        is_class = isinstance(callback, type) and issubclass(callback, Callback)
        check_kind("callback", callback, type if is_class else Callback, expected)
        kind = callback if isinstance(callback, type) else ()
        self.callbacks = [own for own in self.callbacks if own is not callback and not isinstance(own, kind)]
        return self

    def to_channels_last(self) -> Self:
        """Store weights and inputs in channels-last memory format, usually fastest for convolutions on a GPU.

        Without it, batches are contiguous (N, C, H, W), as `x.view` needs. 3-D convolutions are a UsageError.
        """
        use_channels_last(self.model)
        return self

    def compile(self, **options: Any) -> Self:
        """Compile the model in place with torch.compile's `options`; the names in its state dict do not change.

        The compilation runs with the first batch. Freezing and unfreezing recompile automatically.
        """
        self.model.compile(**options)
        return self

    def to_fp16(self) -> Self:
        """Train (with gradient scaling), validate and predict in float16 from now on; weights stay in float32."""
        return self.remove_cb(MixedPrecision).add_cb(MixedPrecision(FP16))

    def to_bf16(self) -> Self:
        """Train, validate and predict in bfloat16 from now on; weights stay in float32."""
        return self.remove_cb(MixedPrecision).add_cb(MixedPrecision(BF16))

    def to_fp32(self) -> Self:
        """Train, validate and predict in float32 from now on, as at first."""
        return self.remove_cb(MixedPrecision)

    # Training

    def fit(
        self, epochs: int, lr: LearningRate = DEFAULT_LR, wd: Decay = None, callbacks: Callbacks = (), *,
        start_epoch: int = 0, checkpoint_every: CheckpointEvery = None, resume: Resume = None,
        max_steps: int | None = None, max_time: str | None = None, validate_every: int | str | None = None,
        limit_batches: int | None = None, train_metrics: bool = False,
        keep_fits: int | None = None, strategy: Strategy = None,
    ) -> None:  # fmt: skip
        """Train for `epochs`, each followed by a validation.

        Args:
            epochs: number of passes over the training set.
            lr: a number, `slice(a, b)` spread over the layer groups in even ratios, `slice(b)` (a tenth of b for all
                groups but the last), or one number per group.
            wd: weight decay, None for the learner's.
            callbacks: for this fit only.
            start_epoch: skip the epochs before this one, and their part of a schedule.
            checkpoint_every: save the state of the fit every N optimizer steps (50) or at an interval ("5min"), and at
                the end of each epoch.
            resume: "auto" to continue from the checkpoint of this fit if there is one, or the path of a checkpoint. On
                the CPU the result is bit-equal to an uninterrupted fit; a completed fit does not run again.
            max_steps: end after this many optimizer steps, if that is before the last epoch; schedules are as long.
            max_time: end after this time ("2h", "30min"), which schedules do not know; time before a resume counts.
            validate_every: optimizer steps (500) between two validations, besides those at the end of each epoch; or
                "2 epochs", and at the end of the fit. Monitors look at each validation.
            limit_batches: the most batches of an epoch, and of a validation, for a trial; schedules are as long.
            train_metrics: record the metrics of the training batches too, as columns train_NAME; see `TrainMetrics`.
            keep_fits: how many completed fits keep their checkpoint on disk, one file each; None for the last fit of
                every call. Of the others a note remains that they are done.
            strategy: of several processes: "ddp" (or None), each holds the whole model; "fsdp", they share out weights,
                gradients and optimizer state. The results are the same, checkpoints go on with the other, and one
                process trains alone with either. See docs/scaling.md.

        Raises:
            UsageError: before training: arguments that cannot work, a checkpoint of another fit, another thread's fit.
            NonFiniteLossError: the loss became nan or infinite; the weights are those at the start of that epoch.
        """
        options = FitOptions(
            wd=wd, callbacks=callbacks, start_epoch=start_epoch, checkpoint_every=checkpoint_every, resume=resume,
            max_steps=max_steps, max_time=max_time, validate_every=validate_every, limit_batches=limit_batches,
            train_metrics=train_metrics, keep_fits=keep_fits, strategy=strategy,
        )  # fmt: skip
        self._fit(epochs, lr, options)

    def _fit(self, epochs: int, lr: LearningRate, options: FitOptions, features: HeadFeatures | None = None) -> None:
        if not (epochs := check_epochs(epochs)):
            return
        start_epoch = check_start(options.get("start_epoch", 0), epochs)
        self._check_ready(options)
        limits, around = fitting.limits_of(options), self._in(options.get("strategy"), features)
        with self._running.only(), self._call.running():
            state = self._fit_state(epochs, lr, options.get("wd"), start_epoch, features)
            state.limit(limits)
            self.fit_callbacks = as_list(options.get("callbacks"))
            others, measures = [*self.callbacks, *self.fit_callbacks], options.get("train_metrics", False)
            running = fitting.running_callbacks(self.recorder, others, state.optimizer, measures)
            given = {"epochs": epochs, "lr": state.rates, "start_epoch": start_epoch, **limits.given}
            plan = plan_fit(self.dls, state, running, given | identity_of(features), self.counter, *saving_of(options))
            self.counter: RunCounter = plan.counter
            fitting.run_fit(state, self.dls, running, plan, self.recorder, self._call, around)

    def fit_head(
        self, epochs: int, lr: LearningRate = DEFAULT_LR, *, n_views: int = 1, **options: Unpack[FitOptions]
    ) -> None:
        """Train the last layer group alone, on the outputs of all before it, which are computed once and kept.

        An epoch then costs only the head. The other layers are in eval mode for this fit, whether frozen or not: batch
        norm normalizes by its running statistics, dropout is off. Images are not augmented, but prepared as for
        validation, unless there are several views. Everything else is as in `fit`.

        Args:
            epochs: number of passes over the training set.
            lr: as of `fit`; the last of several is that of the head. For one cycle pass `callbacks=OneCycle(lr)`.
            n_views: how many augmented views of each training image are computed and kept; each epoch trains on the
                next of them, as `fit` would augment them in as many epochs. 1 for the images as they are.
            **options: of `fit`; with any `strategy` each process holds the whole model and all features.

        Raises:
            UsageError: as `fit`; a single layer group, a group that is not the end of the model (a U-Net's), features
                that do not fit into memory, a callback that changes inputs (MixUp), a loader without a length, views of
                data without augmentation.
        """
        if not check_epochs(epochs):
            return
        check_head(self.groups, [*self.callbacks, *as_list(options.get("callbacks"))])
        fitting.limits_of(options)  # before the features
        self._check_ready(options)
        self._groups = regrouped(self._groups, self.model, self._group_numbers)
        with self._running.only(), training_only(self.groups[-1], self.model):
            check_trainable(self.model)
            where = self.path / self.model_dir, self.counter, options.get("resume")
            views, about = views_of(self.dls, n_views, epochs, *where), (self.model, self.groups[-1], self.dls)
            features = head_features(*about, self._compute(), views, is_done=is_noted(*where))
            try:
                self._fit(epochs, lr, options, features)
            finally:
                features.end(self.model)

    def fit_one_cycle(
        self, epochs: int, max_lr: LearningRate = DEFAULT_LR, moms: Sequence[float] = (0.95, 0.85),
        div_factor: float = 25.0, pct_start: float = 0.25, final_div: float = 1e5, **options: Unpack[FitOptions],
    ) -> None:  # fmt: skip
        """Train with one cycle of learning rates that peaks at `max_lr`; see `OneCycle`, and `fit` for the options."""
        cycle = OneCycle(None, moms, div_factor, pct_start, final_div)
        self.fit(epochs, max_lr, **with_schedule(cycle, options))

    def fit_flat_cos(
        self, epochs: int, lr: LearningRate = DEFAULT_LR, div_final: float = 1e5, pct_start: float = 0.75,
        **options: Unpack[FitOptions],
    ) -> None:  # fmt: skip
        """Train at `lr` for `pct_start` of the fit, then along a cosine to `lr / div_final`; `fit` has the options."""
        schedule = GeneralScheduler({"lr": flat_cos(head_rate(self.lr_range(lr)), flat=pct_start, div_final=div_final)})
        self.fit(epochs, lr, **with_schedule(schedule, options))

    def fit_sgdr(
        self, n_cycles: int, cycle_len: int, lr_max: LearningRate = DEFAULT_LR, cycle_mult: int = 2,
        **options: Unpack[FitOptions],
    ) -> None:  # fmt: skip
        """Train in `n_cycles`, each from `lr_max` along a cosine to 0, each `cycle_mult` times as long as the last one.

        The first lasts `cycle_len` epochs; `fit` has the options. Loshchilov, Hutter: SGDR, 2017.
        """
        for name, value in (("n_cycles", n_cycles), ("cycle_len", cycle_len), ("cycle_mult", cycle_mult)):
            check_int(name, value, 1)
        epochs = sum(cycle_len * cycle_mult**cycle for cycle in range(n_cycles))
        schedule = GeneralScheduler({"lr": sgdr(head_rate(self.lr_range(lr_max)), n_cycles, cycle_mult=cycle_mult)})
        self.fit(epochs, lr_max, **with_schedule(schedule, options))

    def fine_tune(
        self, epochs: int, base_lr: float | None = None, freeze_epochs: int | None = None, lr_mult: float = 100.0,
        pct_start: float = 0.3, div: float = 5.0, **options: Unpack[FitOptions],
    ) -> None:  # fmt: skip
        """Train the head with the body frozen, then everything, the first layers at much smaller rates.

        Args:
            epochs: with everything trained, in one cycle: the head to half of `base_lr` (after `fit_head` a quarter, or
                a twentieth on up to 2,000 items), the first group to that divided by `lr_mult`.
            base_lr: the rate of the head while the body is frozen; None for that of `opt_func`, or 2e-3.
            freeze_epochs: before that, of the head only. None for 30 of `fit_head`, in one cycle, after which the batch
                norm of the body keeps its statistics; for 1 where `fit_head` cannot be used. A number is as in fastai:
                epochs of augmented items through the whole model, in one cycle that ends at its peak.
            lr_mult: the rate of the head divided by that of the first group.
            pct_start: the share of the second stage in which the rate rises.
            div: the second stage starts at its peak / `div`.
            **options: of `fit`, for both stages; each stage is a separate fit with its own `max_steps` and `max_time`,
                but SaveModel keeps the best of both, and CSVLogger goes on in its file. `start_epoch` counts over
                `freeze_epochs + epochs`; `resume` is None or "auto", and a completed stage does not run again.

        Raises:
            UsageError: arguments that cannot work, before anything is trained.
        """
        base_lr = self._base_rate() if base_lr is None else base_lr
        starts = fine_tune_starts(epochs, base_lr, freeze_epochs, lr_mult, pct_start, div, options)
        with self._call.running():
            self.freeze()
            on_features = freeze_epochs is None and trains_head(self.fit_head, base_lr, options)
            freeze_epochs = int(not on_features) if freeze_epochs is None else freeze_epochs
            if starts[0] < freeze_epochs:
                options["start_epoch"] = starts[0]
                self.fit_one_cycle(freeze_epochs, slice(None, base_lr), pct_start=0.99, **options)
            self.unfreeze()
            options["start_epoch"], peak = starts[1], second_peak(base_lr, self.dls.train_dl, on_features=on_features)
            if on_features:
                options = with_schedule(KeptStatistics.of(self.model, self.groups[-1]), options)
            self.fit_one_cycle(epochs, slice(peak / lr_mult, peak), pct_start=pct_start, div_factor=div, **options)

    def lr_find(
        self, start_lr: float = 1e-7, end_lr: float = 10, num_it: int = 100, stop_div: bool = True
    ) -> Suggestions:
        """Try rates from `start_lr` to `end_lr` on `num_it` batches (Smith, 2017); `recorder.plot()` draws the curve.

        `stop_div`: end when the loss explodes. All else is restored. Four suggestions: (valley, steep, minimum, slide).
        """
        finder = LRFinder(start_lr, end_lr, num_it, stop_div)
        self._check_ready({})
        with self._running.only(), dry_run(together(self.model, self.loss_func), self.dls.train_dl):
            state = self._trial_state(lr=end_lr)
            running = fitting.lr_find_callbacks(finder, self.callbacks, state.optimizer)
            fitting.run_lr_find(state, self.dls, running, finder)
        self.recorder.lr_curve = finder.curve()
        return self.recorder.lr_curve.suggestions

    def show_training(self, epochs: int = 1, callbacks: Callbacks = ()) -> Outline:
        """The steps of `fit(epochs, callbacks=callbacks)` as text, with the callbacks of each hook in order."""
        optimizer = self._kept_optimizer()
        running = fitting.running_callbacks(self.recorder, [*self.callbacks, *as_list(callbacks)], optimizer)
        return fit_outline(self, epochs, running, optimizer)

    def _check_ready(self, options: FitOptions) -> None:
        give_sizes(self.model, self.dls)  # of lazy layers that came in later
        check_trainable(self.model)
        self._ready_metrics()  # once a fit is running, none can be set
        if self.dls.batch_size_is != "given":
            stored = stored_batch_size(self.path / self.model_dir, self.counter.n_fits, options.get("resume"))
            parts, own = together(self.model, self.loss_func), [*self.callbacks, *as_list(options.get("callbacks"))]
            with self._running.only():
                settle_batch_size(self.dls, parts, self._frozen, stored, self._trial_state, own)

    def _made_by(self, opt_func: str | OptimizerFactory, before: Optimizer | None = None) -> tuple[Optimizer, Settings]:
        """An optimizer of what the model and the loss consist of now; parameters also in `before` keep their state."""
        self._groups = regrouped(self._groups, self.model, self._group_numbers)
        rate = DEFAULT_LR.stop
        optimizer = build_optimizer(
            opt_func, self.model, self.groups, self.loss_func, lr=rate, decay_norm_and_bias=self.wd_bn_bias
        )
        if optimizer is self.opt:
            raise UsageError("opt_func returned the same optimizer again", fix="Make a new one in each call.")
        settings = Settings(optimizer, opt_func, passed=rate, n_groups=len(self.groups))
        carry_over(before, optimizer)
        return optimizer, settings

    def _ready_optimizer(self) -> Optimizer:
        """The learner's optimizer with its initial settings: no schedule leaks into the next fit."""
        if self._opt is None or not holds_trained(self._opt, self.model, self.loss_func):
            self._opt, self._settings = self._made_by(self.opt_func, self._opt)
        self._settings.restore(self._opt)
        return self._opt

    def _kept_optimizer(self) -> Optimizer:
        """The optimizer as it is, so that a running fit does not notice; made if there is none."""
        return self._ready_optimizer() if self.opt is None else self.opt

    def _fit_state(
        self, epochs: int, lr: LearningRate, wd: Decay, start_epoch: int, features: HeadFeatures | None = None
    ) -> TrainState:
        optimizer = self._ready_optimizer()
        tell = not self._call.n_fits  # once a call
        rates = fitting.chosen_rates(self._settings, lr, tell=tell)
        state = self._state(optimizer, rates, None if features is None else features.train_dl)
        if features is not None:
            state.model, state.valid_dl = features.model, features.valid_dl
        fitting.set_rates(optimizer, self._settings, state.rates, self._wd, wd)
        state.as_made = self._settings.as_made
        state.n_epochs, state.start_epoch, state.first_epoch = epochs, start_epoch, start_epoch
        state.epoch_offset = self.epoch - start_epoch
        state.continues_call = self._call.n_fits > 0
        return state

    def _trial_state(self, train_dl: list[Any] | None = None, lr: float = SMALL_LR) -> TrainState:
        """The state of a run that leaves no trace, with an optimizer of its own."""
        optimizer, settings = self._made_by(self.opt_func)
        state = self._state(optimizer, settings.spread(lr), train_dl)
        fitting.set_rates(optimizer, settings, state.rates, self._wd)
        state.as_made, state.seed = settings.as_made, derive(self.seed, Stream.LR_FIND)
        return state

    def _in(self, strategy: Strategy, features: HeadFeatures | None) -> Around:
        """What is around a fit: what the processes do with the model."""

        def made(copy: nn.Module) -> Optimizer:
            groups = regrouped(self._groups, copy, group_numbers(self._groups, self._model))
            return build_optimizer(
                self.opt_func, copy, groups, self.loss_func,
                lr=DEFAULT_LR.stop, decay_norm_and_bias=self.wd_bn_bias,
            )  # fmt: skip

        return in_strategy(strategy, self._running, made if features is None else None)

    # Groups

    def split(self, groups: Groups) -> Self:
        """Set the layer groups, from the input to the head, and reset the optimizer.

        Args:
            groups: modules that together hold each parameter once; or a function of the model that returns these, or
                the modules at which the second, third... group begins: `lambda m: (m[0][6], m[1])`.

        Raises:
            UsageError: a parameter in no group or in two, or a module that is not in the model.
        """
        self.groups = groups
        return self

    def freeze_to(self, n: int) -> Self:
        """Train only groups[n:] (and the norm layers of the others, with `train_bn`), and reset the optimizer."""
        if not any(True for _ in self.model.parameters()):
            check_trainable(self.model)
        if len(self.groups) < 2 and n:
            raise UsageError(
                f"freeze: this model has {len(self.groups)} layer group, so nothing would be left to train",
                fix="Pass groups= with two or more, or use learn.split([...]).",
            )
        give_sizes(self.model, self.dls)
        self._groups = regrouped(self._groups, self.model, self._group_numbers)
        held = held_by_adapters(self.model, self._frozen)
        self._frozen = freeze_groups(self.groups, n, train_bn=self.train_bn, held=held)
        self._opt = None
        return self

    def freeze(self) -> Self:
        """Train only the last layer group."""
        return self.freeze_to(-1)

    def unfreeze(self) -> Self:
        """Train every layer group; what an adapter (LoRA, PEFT) has frozen stays frozen."""
        return self.freeze_to(0)

    def lr_range(self, lr: LearningRate) -> list[float]:
        """One rate per layer group, as `fit` reads `lr`."""
        if isinstance(self.opt_func, str):
            return spread_rates(lr, len(self.groups))
        self._ready_optimizer()
        return fitting.chosen_rates(self._settings, lr, tell=False)

    def _base_rate(self) -> float:
        """The rate of the head that `opt_func` fixes, or that of `fine_tune`."""
        self._kept_optimizer()
        return 2e-3 if self._settings.rates is None else head_rate(self._settings.rates)

    # Understanding

    def report(self, path: PathLike, ds_type: Part = DatasetType.Valid, *, duplicates: bool = False) -> Path:
        """Write a self-contained HTML page with settings, curves, results and images; returns its path.

        It fits nothing. After `fit_conformal` it has the sets, and by one more pass over the part the unfamiliar items.

        Args:
            path: path of the file.
            ds_type: the part of the data that it is about.
            duplicates: also show near-duplicates and outliers among all items of the data, by a pass over all of them.
        """
        file = named_file("path", path)  # before predicting everything
        interp: Interpretation = self.interpret(ds_type)
        return interp.report(file, learn=self, duplicates=duplicates)

    # Files

    def export(
        self, file: PathLike, to: ExportFormat = "lk", *, card: str = "", preprocessing: Preprocessing = False,
        activation: bool = True, merge: bool | None = None, quantize: Quantize = None,
    ) -> Path:  # fmt: skip
        """Write one file that `load_learner` reads, or one for other programs; returns its path.

        Args:
            file: the path; the suffix of the format is appended unless the name ends so: "v1.2" becomes v1.2.lk.
            to: "lk" for `load_learner`: weights, classes, preprocessing, thresholds, temperature, sets, no code. "onnx"
                or "pt2" for other programs, with a description next to the file.
            card: for "lk", a description, in your words.
            preprocessing: for the others, True to take images (N, H, W, C) in uint8 at their size and normalize them
                inside, "full" to take them at any size and resize them inside too.
            activation: for the others, end in probabilities; otherwise in raw outputs.
            merge: of a model with adapters, for "lk": True multiplies them into the weights; False leaves out the
                weights beside them, which `load_learner` then needs. None for False, or True if these were random.
            quantize: for "onnx", "int8" for weights of 8 bits, calibrated on the training set; what that costs on the
                validation set is shown, and kept in the description.

        Raises:
            UsageError: an option of another format, no data to calibrate on, a custom task, more state than tensors.
            ExportError: a model that cannot be exported to other programs, or whose export returns different numbers.
        """
        data, spec = RealData(self.dls, self._task_metrics(), bool(self._given["metrics"])), self._export_spec(card)
        path = export(
            file, spec, to,
            preprocessing=preprocessing, activation=activation, merge=merge, quantize=quantize, data=data,
        )  # fmt: skip
        if quantize is not None and world.is_first:
            announce(quantization_line(path))
        return path

    def push_to_hub(self, folder: PathLike, repo_id: str | None = None, *, card: str = "") -> Path:
        """Write the export into a folder for the Hugging Face hub; upload it only if `repo_id` is given."""
        from learnkit.persistence.lk.hub import upload, write_folder

        if world.is_first:
            write_folder(Path(folder), whole(self._export_spec(card)))
            if repo_id is not None:
                upload(Path(folder), repo_id)
        return Path(folder)

    def _export_spec(self, card: str = "") -> ExportSpec:
        return ExportSpec.of(
            self.model, self.dls, activation=self.activation, temperature=self.temperature, backbone=self.spec,
            loss=self.loss_func, epochs=self.epoch, rows=self.recorder.rows, card=card, setup=self._setup(),
            output=self.output, certainty=self._exported_certainty(), base=self.base,
        )  # fmt: skip

    def _task_metrics(self) -> list[Metric]:
        given = self._given["metrics"]
        return chosen_metrics(self.dls, given if given or self.dls.task is None else "default", self.loss_func)

    def _setup(self) -> TrainingSetup:
        metrics = self._given["metrics"]
        if is_default(metrics):
            metrics = self.dls.task.metrics if self.dls.task else ()
        return TrainingSetup.of(
            plain_model(self.model), self.groups, metrics=metrics, optimizer=self.opt_func, wd=self.wd,
            wd_bn_bias=self.wd_bn_bias, train_bn=self.train_bn,
        )  # fmt: skip

    def save(self, file: PathLike, return_path: bool = False, with_opt: bool = True) -> Path:
        """Write the weights to `path/model_dir/file.pth`, with the optimizer's state if `with_opt`.

        The parameters of a loss are written too. The path is returned, whatever `return_path` is. A suffix .pt is kept.
        """
        path = weights_path(file, self.path / self.model_dir)
        give_sizes(self.model, self.dls)
        is_trained = with_opt and any(True for _ in self.model.parameters())
        optimizer = self._kept_optimizer() if is_trained else None
        if world.is_first:
            save_weights(path, self.model, optimizer, self.loss_func, classes=self.dls.classes)
        return path

    def load(
        self, file: PathLike, device: torch.device | str | None = None, strict: bool = True,
        with_opt: bool | None = None, *, skip_mismatched: bool = False,
    ) -> Self:  # fmt: skip
        """Read what `save` wrote, or any state dict; `load_weights` says what is refused. A misfit state resets `opt`.

        Args:
            file: a name in the model folder, an absolute path, or a Path of an existing file.
            device: accepted for fastai compatibility; ignored.
            strict: refuse missing or unexpected tensors.
            with_opt: True to require the optimizer's state, False to ignore it, None to use it if it is there and fits.
            skip_mismatched: keep the model's own tensors, with a warning, where the file has others of that name or
                none, such as a head of more classes; the optimizer's state is then not used.
        """
        world.wait()  # for the first process to have written it
        path = saved_path(file, self.path / self.model_dir)
        saved = load_weights(
            path, self.model, strict=strict, skip_mismatched=skip_mismatched, loss=self.loss_func,
            classes=self.dls.classes,
        )  # fmt: skip
        if with_opt or (with_opt is None and saved is not None and not skip_mismatched):
            fitting.load_optimizer(self._kept_optimizer(), self._settings, saved, path, required=bool(with_opt))
        return self
