"""The parts of a learner: each is checked when it is set, by the same code in the constructor and later."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from learnkit.callbacks.recorder import Recorder
from learnkit.checks import OTHER_NAMES, check_kind, check_number, check_partial
from learnkit.data.bunch import DataBunch
from learnkit.data.tasks import MultiLabel
from learnkit.errors import UsageError, WrongTypeError, warn
from learnkit.learner.checks import check_metrics, check_outputs, check_same_meaning
from learnkit.learner.defaults import chosen_activation, chosen_decay, chosen_loss, chosen_metrics, is_default
from learnkit.learner.lazy import give_sizes
from learnkit.learner.running import Running
from learnkit.metrics.metric import Metric
from learnkit.models.groups import group_numbers, regrouped
from learnkit.models.spec import BackboneSpec
from learnkit.optim.optimizers import OptimizerFactory
from learnkit.training.callback import Callback, CallbackList
from learnkit.types import Activation, Loss, PathLike

__all__ = ["LearnerParts"]


class LearnerParts:
    """What a learner is made of; `Learner` describes the arguments.

    An attribute that is set later is compared with the others as in the constructor; what does not fit is refused, and
    everything stays as it was. While a fit runs, nothing that it would not notice can be set.
    """

    spec: BackboneSpec | None = None
    opt: Optimizer | None = None
    groups: list[nn.Module]
    _dls: DataBunch
    _model: nn.Module
    _loss_func: Loss
    _activation: Activation | None = None
    _metrics: list[Metric]
    _group_numbers: dict[str, int]  # of each parameter, by name
    _wd: float | None = None
    _temperature = 1.0
    _given_threshold: float | tuple[float, ...] | None = None  # of the data, before fit_thresholds
    _lost: Sequence[str] = ()  # what an export names and does not hold, said once there is data

    def __init__(self) -> None:
        self.recorder = Recorder()
        self._running = Running()
        self._given: dict[str, Any] = {}
        self._frozen: list[nn.Parameter] = []  # by layer group, not by the user

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse the names of other libraries, which would be stored and never read.

        Raises:
            WrongTypeError: with our name.
        """
        ours = [other for other in OTHER_NAMES.get(name, ()) if hasattr(type(self), other)]
        if ours and not hasattr(type(self), name):
            raise WrongTypeError(f"a learner has no {name}", fix=f"Set learn.{ours[0]}.")
        super().__setattr__(name, value)

    def _take(self, **changed: Any) -> None:
        """Check the parts together, with these changed, and take them; after an error nothing has changed."""
        for name in changed:
            self._running.refuse(name)
        given = {**self._given, **changed}
        dls, model = given["dls"], given["model"]
        _check_bunch(dls)
        check_kind("model", model, nn.Module, "an nn.Module; cnn_learner accepts names of architectures")
        give_sizes(model.to(dls.device), dls)
        if "dls" in changed or "model" in changed:
            check_outputs(model, dls.input_shape, dls.task.n_out if dls.task else None, dls.classes)
        is_same_loss = not changed.keys() & {"dls", "loss_func", "class_weights"}
        loss = self._loss_func if is_same_loss else chosen_loss(dls, given["loss_func"], given["class_weights"])
        activation = chosen_activation(dls, loss, given["activation"], self._activation)
        metrics = [] if not self._given else self._metrics
        if "metrics" in changed or ("dls" in changed and is_default(given["metrics"])):
            metrics = chosen_metrics(dls, given["metrics"])
        check_metrics(metrics, dls, loss)
        self._given, self._dls, self._model = given, dls, model
        self._loss_func, self._activation, self._metrics = loss, activation, metrics

    @property
    def dls(self) -> DataBunch:
        """The data. Other data must have the same classes in the same order, as the outputs mean these.

        The loss of the task, balanced class weights and default metrics are then those of the new data; fitted
        thresholds and the temperature are kept.
        """
        return self._dls

    @dls.setter
    def dls(self, dls: DataBunch) -> None:
        _check_bunch(dls)
        check_same_meaning(self._dls.task, dls.task)
        has_moved = dls.device != self._dls.device
        task = self._dls.task
        self._take(dls=dls)
        self._keep_thresholds(task)
        if has_moved and self.opt is not None:
            self.opt.load_state_dict(self.opt.state_dict())  # moves it to the parameters
        if self._lost:
            warn(f"the exported learner also had {', '.join(self._lost)}, which its file cannot hold: set it again")
            self._lost = ()

    def _keep_thresholds(self, before: Any) -> None:
        """Thresholds of the model for new data that has the default one."""
        now = self._dls.task
        if not (isinstance(before, MultiLabel) and isinstance(now, MultiLabel)) or before.threshold == now.threshold:
            return
        if now.threshold == MultiLabel.threshold:
            self._dls.task = replace(now, threshold=before.threshold)
        elif before.threshold != MultiLabel.threshold:
            warn(f"the thresholds are those of the new data, {now.threshold}, no longer {before.threshold}")

    data = dls  # fastai's name

    @property
    def model(self) -> nn.Module:
        """The model. Layer groups are kept where names agree, the optimizer where the model is inside the new one."""
        return self._model

    @model.setter
    def model(self, model: nn.Module) -> None:
        own = [id(parameter) for group in self.groups for parameter in group.parameters()]
        self._take(model=model)
        if own and {id(parameter) for parameter in model.parameters()} >= set(own):
            return
        try:
            self.groups = regrouped(self.groups, model, self._group_numbers)
        except UsageError:  # not a parameter of the same name
            warn(f"the {len(self.groups)} layer groups were those of another model: this one has one, see learn.split")
            self.groups = [model]
        self.opt, self.spec = None, None
        self._group_numbers, self._frozen = group_numbers(self.groups, model), []
        if self._temperature != 1:
            warn(f"the temperature {self._temperature:g} was that of another model: it is 1 again")
            self._temperature = 1.0
        if self._given_threshold is not None and isinstance(self._dls.task, MultiLabel):
            warn("the thresholds were fitted to another model: they are those of the data again")
            self._dls.task = replace(self._dls.task, threshold=self._given_threshold)
            self._given_threshold = None

    @property
    def loss_func(self) -> Loss:
        """The loss; None sets that of the data's task. The activation follows it unless `activation=` was passed."""
        return self._loss_func

    @loss_func.setter
    def loss_func(self, loss_func: Loss | None) -> None:
        if loss_func is None or self._given["class_weights"] is None:
            self._take(loss_func=loss_func)
            return
        self._take(loss_func=loss_func, class_weights=None)
        warn("class_weights= were those of the task's loss, they are not used with the new one")

    @property
    def activation(self) -> Activation:
        """From raw outputs to predictions; None sets that of the loss."""
        assert self._activation is not None  # set with the loss
        return self._activation

    @activation.setter
    def activation(self, activation: Activation | None) -> None:
        self._take(activation=activation)

    @property
    def metrics(self) -> list[Metric]:
        """What is measured in validation; names, functions and objects can be set as in the constructor."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Any) -> None:
        self._take(metrics=metrics)

    @property
    def callbacks(self) -> list[Callback]:
        """Run in every fit."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: Callback | Sequence[Callback]) -> None:
        chosen = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
        CallbackList([self.recorder, *chosen])  # refuses callbacks that cannot run together
        self._callbacks = chosen

    @property
    def opt_func(self) -> str | OptimizerFactory:
        """The optimizer's name or factory; another one starts without state."""
        return self._opt_func

    @opt_func.setter
    def opt_func(self, opt_func: str | OptimizerFactory) -> None:
        self._running.refuse("opt_func")
        if not callable(opt_func):
            check_kind("opt_func", opt_func, str, "a name like 'adamw', or a factory of torch optimizers")
        check_partial("opt_func", opt_func)
        self._opt_func, self.opt = opt_func, None

    @property
    def wd(self) -> float | None:
        """The weight decay of a fit without its own; None for that of a custom `opt_func`."""
        return chosen_decay(self._opt_func, self._wd)

    @wd.setter
    def wd(self, wd: float | None) -> None:
        self._wd = None if wd is None else check_number("wd", wd, "[0, inf)", expected="a finite decay of 0 or more")

    @property
    def wd_bn_bias(self) -> bool:
        """Whether biases and norm layers decay too; another setting resets the optimizer."""
        return self._wd_bn_bias

    @wd_bn_bias.setter
    def wd_bn_bias(self, decays: bool) -> None:
        self._running.refuse("wd_bn_bias")
        self._wd_bn_bias, self.opt = _flag("wd_bn_bias", decays), None

    @property
    def train_bn(self) -> bool:
        """Whether norm layers of frozen groups train; the next freeze, freeze_to or unfreeze asks."""
        return self._train_bn

    @train_bn.setter
    def train_bn(self, trains: bool) -> None:
        self._train_bn = _flag("train_bn", trains)

    @property
    def path(self) -> Path:
        """The parent of `model_dir`."""
        return self._path

    @path.setter
    def path(self, path: PathLike) -> None:
        self._path = _folder("path", path)

    @property
    def model_dir(self) -> Path:
        """The folder for weights, relative to `path`."""
        return self._model_dir

    @model_dir.setter
    def model_dir(self, folder: PathLike) -> None:
        self._model_dir = _folder("model_dir", folder)

    @property
    def temperature(self) -> float:
        """Divides raw outputs before the activation: above 1 for less confident predictions. Losses ignore it.

        Guo et al., On calibration of modern neural networks, 2017.
        """
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._temperature = check_number("temperature", value, "(0, inf)", expected="a finite number above 0")


def _check_bunch(dls: DataBunch) -> None:
    check_kind("dls", dls, DataBunch, "a DataBunch, such as DataBunch.from_loaders(train_dl, valid_dl)")


def _flag(what: str, value: bool) -> bool:
    check_kind(what, value, bool, "True or False")
    return value


def _folder(what: str, path: PathLike) -> Path:
    check_kind(what, path, str | os.PathLike, "the path of a folder")
    return Path(path)
