"""Training: data, model, loss, optimizer, metrics and callbacks brought together for a fit."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn
from torch.optim import Optimizer

from learnkit.callbacks.lr_finder import LRFinder, Suggestions
from learnkit.callbacks.precision import MixedPrecision
from learnkit.callbacks.progress import Progress
from learnkit.callbacks.recorder import Recorder
from learnkit.checks import check_int, check_kind
from learnkit.data.bunch import DataBunch
from learnkit.device import BF16, FP16, Compute
from learnkit.errors import UsageError
from learnkit.learner.checks import check_epochs, check_metrics, check_outputs, check_start, check_trainable
from learnkit.learner.class_weights import ClassWeights, chosen_loss
from learnkit.learner.failures import explained, interrupts_noted
from learnkit.learner.resume import CheckpointEvery, Resume, prepare
from learnkit.losses.activations import activation_of
from learnkit.metrics.metric import make_metrics
from learnkit.optim.groups import check_groups, freeze_groups, parameter_groups, spread_decay, spread_rates
from learnkit.optim.optimizers import OptimizerFactory, Settings, make_optimizer, set_decay, set_learning_rates
from learnkit.seeds import Stream, derive, seed_from_global_rng
from learnkit.training import loop
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.dry_run import dry_run
from learnkit.training.state import TrainState
from learnkit.types import Activation, LearningRate, Loss, PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEFAULT_LR", "Trainer"]

DEFAULT_LR = slice(None, 3e-3)


class Trainer:
    """Trains a model on a DataBunch.

    Args:
        dls: the data.
        model: any module; it is moved to the data's device.
        loss_func: (preds, targets) -> mean loss, shape (); None for the one that goes with the data's task.
        opt_func: "adamw", "adam", "sgd", "rmsprop", or a factory called with groups (and `lr=` if it has one).
        metrics: a name ("accuracy"), a function (preds, targets), a torchmetrics object, or a list of these; "default"
            for those of the data's task.
        callbacks: run in every fit, before those of the fit itself.
        wd: weight decay of the parameters with two dimensions or more. A `weight_decay` fixed in `opt_func` by
            functools.partial wins over it.
        wd_bn_bias: decay biases and norm layers too.
        train_bn: norm layers of frozen groups go on training.
        path: where `model_dir` is; None for the data's path.
        model_dir: the folder for weights.
        seed: order, augmentation and dropout of every fit are a function of it; None draws one, kept as `learn.seed`.
        groups: layer groups from the input to the head, holding each parameter once; None for a single group.
        activation: what turns raw outputs into what a user reads; None for the one that goes with the loss.
        class_weights: "balanced", or one number a class, for the loss of the task; see `weighted_loss`.

    Raises:
        UsageError: arguments that cannot work together, such as a model whose outputs are not the data's classes, or
            a metric of another task than the data's.
    """

    def __init__(
        self,
        dls: DataBunch,
        model: nn.Module,
        *,
        loss_func: Loss | None = None,
        opt_func: str | OptimizerFactory = "adamw",
        metrics: Any = (),
        callbacks: Callback | Sequence[Callback] = (),
        wd: float = 0.01,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        path: PathLike | None = None,
        model_dir: PathLike = "models",
        seed: int | None = None,
        groups: Sequence[nn.Module] | None = None,
        activation: Activation | None = None,
        class_weights: ClassWeights | None = None,
    ) -> None:
        check_kind("dls", dls, DataBunch, "a DataBunch, such as DataBunch.from_loaders(train_dl, valid_dl)")
        check_kind("model", model, nn.Module, "an nn.Module; cnn_learner takes names of architectures")
        self.dls = dls
        check_outputs(model, dls.input_shape, dls.task.n_out if dls.task else None, dls.classes)
        self.model = model.to(dls.device)
        self.loss_func: Loss = chosen_loss(dls, loss_func, class_weights)
        if isinstance(self.loss_func, nn.Module):
            self.loss_func.to(dls.device)
        check_kind("activation", activation, Callable | None, "a function of the outputs, or None")
        of_task = dls.task.activation if dls.task else None
        self.activation: Activation = activation or activation_of(self.loss_func) or of_task or nn.Identity()
        self.opt_func = opt_func
        self.opt: Optimizer | None = None
        self.metrics = make_metrics(dls.task.metrics if metrics == "default" and dls.task else metrics)
        check_metrics(self.metrics, dls, self.loss_func)
        self.recorder = Recorder()
        self.callbacks: list[Callback] = []
        self.add_cb(*as_list(callbacks))
        factory_wd = opt_func.keywords.get("weight_decay") if isinstance(opt_func, partial) else None
        self.wd = wd if factory_wd is None else factory_wd
        self.wd_bn_bias = wd_bn_bias
        self.train_bn = train_bn
        self.path = Path(path) if path is not None else dls.path
        self.model_dir = Path(model_dir)
        self.seed_is_drawn = seed is None
        self.seed = seed_from_global_rng() if seed is None else check_int("seed", seed)
        self.epoch = 0  # epochs begun in all fits so far: no two of them see the same order or dropout
        self.n_fits = 0  # that came to their end
        self.split(groups or [self.model])

    def fit(
        self,
        epochs: int,
        lr: LearningRate = DEFAULT_LR,
        wd: float | Sequence[float] | None = None,
        callbacks: Callback | Sequence[Callback] = (),
        *,
        start_epoch: int = 0,
        checkpoint_every: CheckpointEvery = None,
        resume: Resume = None,
    ) -> None:
        """Train for `epochs`, each followed by a validation.

        Args:
            epochs: how many times the training set is gone through.
            lr: a number, `slice(a, b)` spread over the layer groups in even ratios, `slice(b)` (a tenth of b for all
                groups but the last), or one number a group.
            wd: weight decay, None for the learner's.
            callbacks: for this fit alone.
            start_epoch: leave out the epochs before this one, and the part of a schedule that belongs to them.
            checkpoint_every: write down the state of the fit after so many optimizer steps (50) or so often ("5min"),
                and at the end of each epoch.
            resume: "auto" to go on from the checkpoint of this fit if there is one, or the path of a checkpoint. On the
                CPU the result is, to the last bit, that of a fit without a break; one that is done is not run again.

        Raises:
            UsageError: arguments that cannot work, before anything is trained; a checkpoint of another fit.
            NonFiniteLossError: the loss became nan or infinite; the weights are those at the start of that epoch.
        """
        chosen = as_list(callbacks)
        if not check_epochs(epochs):
            return
        check_start(start_epoch, epochs)
        check_trainable(self.model)
        state = self._state(self._ready_optimizer(), epochs, lr, wd)
        state.start_epoch, state.epoch_offset = start_epoch, self.epoch - start_epoch
        running = CallbackList([*self._own_callbacks(chosen), *chosen])
        given = {"epochs": epochs, "lr": state.rates, "wd": self.wd if wd is None else wd, "start_epoch": start_epoch}
        checkpoints = prepare(self, state, running, given, checkpoint_every, resume)
        try:
            with interrupts_noted(state, self.recorder), explained(state):
                if not state.is_done:
                    loop.fit(state, running, checkpoints)
        finally:
            self.epoch += state.epochs_begun
        self.n_fits += 1

    def lr_find(
        self, start_lr: float = 1e-7, end_lr: float = 10, num_it: int = 100, stop_div: bool = True
    ) -> Suggestions:
        """Try growing learning rates on `num_it` batches; `recorder.plot()` draws what it saw.

        Leaves no trace but the curve: weights, optimizer, random generators and history are as before. Returns four
        readings of the curve: (valley, steep, minimum, slide).
        """
        finder = LRFinder(start_lr, end_lr, num_it, stop_div)
        running = CallbackList([finder, *(callback for callback in self.callbacks if callback.in_lr_find)])
        check_trainable(self.model)
        with dry_run(self.model, self.dls.train_dl):
            state = self._state(self._new_optimizer(), 1, end_lr, None)
            state.valid_dl, state.seed = None, derive(self.seed, Stream.LR_FIND)
            state.n_epochs = -(-finder.num_it // state.n_batches) if state.n_batches else finder.num_it
            with explained(state):
                loop.fit(state, running)
        self.recorder.lr_curve = finder.curve()
        return self.recorder.lr_curve.suggestions

    def split(self, groups: Sequence[nn.Module]) -> Self:
        """Set the layer groups, from the input to the head; the optimizer starts anew."""
        self.groups = check_groups(self.model, groups)
        self.opt = None
        return self

    def freeze_to(self, n: int) -> None:
        """Train groups[n:] alone (norm layers of the others too, with `train_bn`); the optimizer starts anew."""
        if len(self.groups) < 2 and n:
            raise UsageError(
                f"freeze: this model has {len(self.groups)} layer group, so nothing would be left to train",
                fix="Pass groups= with two or more, or use learn.split([...]).",
            )
        freeze_groups(self.groups, n, train_bn=self.train_bn)
        self.opt = None

    def freeze(self) -> None:
        """Train the last layer group alone."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train every layer group."""
        self.freeze_to(0)

    def lr_range(self, lr: LearningRate) -> list[float]:
        """One rate per layer group, as `fit` reads `lr`."""
        return spread_rates(lr, len(self.groups))

    @property
    def history(self) -> "pd.DataFrame":
        """One row for every epoch of every fit: epoch, train_loss, valid_loss, metrics, time in seconds."""
        return self.recorder.history

    # Callbacks

    def add_cb(self, *callbacks: Callback) -> Self:
        """Run these callbacks in every fit from now on."""
        CallbackList([self.recorder, *self.callbacks, *callbacks])  # refuses what could not run together
        self.callbacks += callbacks
        return self

    def remove_cb(self, callback: Callback | type[Callback]) -> Self:
        """Take a callback, or all of a class, out again."""
        kind = callback if isinstance(callback, type) else ()
        self.callbacks = [own for own in self.callbacks if own is not callback and not isinstance(own, kind)]
        return self

    def to_channels_last(self) -> Self:
        """Keep the model's weights with the channels last: what convolutions like best."""
        self.model.to(memory_format=torch.channels_last)
        return self

    def compile(self, **options: Any) -> Self:
        """Compile the model in place with torch.compile's `options`; names in its state dict stay as they are.

        The compilation runs with the first batch. Freezing and unfreezing compile anew by themselves.
        """
        self.model.compile(**options)
        return self

    def to_fp16(self) -> Self:
        """Train in float16 with gradient scaling from now on."""
        return self.remove_cb(MixedPrecision).add_cb(MixedPrecision(FP16))

    def to_bf16(self) -> Self:
        """Train in bfloat16 from now on."""
        return self.remove_cb(MixedPrecision).add_cb(MixedPrecision(BF16))

    # Parts of the above

    def _compute(self) -> Compute:
        return Compute(self.dls.device)

    def _own_callbacks(self, chosen: Sequence[Callback]) -> list[Callback]:
        shows = any(isinstance(callback, Progress) for callback in (*self.callbacks, *chosen))
        return [self.recorder, *([] if shows else [Progress()]), *self.callbacks]

    def _new_optimizer(self) -> Optimizer:
        groups = parameter_groups(self.groups, decay_norm_and_bias=self.wd_bn_bias)
        return make_optimizer(self.opt_func, groups, lr=DEFAULT_LR.stop)

    def _ready_optimizer(self) -> Optimizer:
        """The learner's optimizer with the settings it was made with: no schedule leaks into the next fit."""
        if self.opt is None:
            self.opt = self._new_optimizer()
            self._settings = Settings(self.opt)
        self._settings.restore(self.opt)
        return self.opt

    def _state(
        self, optimizer: Optimizer, epochs: int, lr: LearningRate, wd: float | Sequence[float] | None
    ) -> TrainState:
        rates = self.lr_range(lr)
        set_learning_rates(optimizer, rates)
        set_decay(optimizer, spread_decay(self.wd if wd is None else wd, len(self.groups)))
        return TrainState(
            model=self.model,
            optimizer=optimizer,
            loss_func=self.loss_func,
            train_dl=self.dls.train_dl,
            valid_dl=self.dls.valid_dl,
            metrics=self.metrics,
            compute=self._compute(),
            n_epochs=epochs,
            rates=rates,
            seed=self.seed,
            epoch_offset=self.epoch,
            folder=self.path / self.model_dir,
        )


def as_list(callbacks: Callback | Sequence[Callback]) -> list[Callback]:
    """One callback or several, as a list."""
    return list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
