"""The parts of a learner: each is checked when it is set, by the same code in the constructor and later."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from learnkit.callbacks.recorder import Recorder
from learnkit.checks import check_kind
from learnkit.data.bunch import DataBunch
from learnkit.data.tasks import MultiLabel, Task
from learnkit.errors import LearnkitError, UsageError, warn
from learnkit.learner.checks import check_metrics, check_outputs, check_same_inputs, check_same_meaning
from learnkit.learner.class_weights import ClassWeights
from learnkit.learner.defaults import LeftOut, chosen_activation, chosen_loss, chosen_metrics, is_default, left_out
from learnkit.learner.lazy import give_sizes
from learnkit.learner.options import Options
from learnkit.learner.running import Running
from learnkit.metrics.metric import Metric
from learnkit.models.groups import group_numbers, regrouped, split_groups
from learnkit.models.spec import BackboneSpec
from learnkit.optim.groups import check_groups
from learnkit.persistence.base_weights import BaseWeights
from learnkit.types import Activation, Loss

__all__ = ["Groups", "LearnerParts"]

Groups = Iterable[nn.Module] | Callable[[nn.Module], Sequence[Any]]


class LearnerParts(Options):
    """What a learner is made of; `Learner` describes the arguments.

    An attribute that is set later is compared with the others as in the constructor; what does not fit is refused, and
    everything stays as it was. While a fit runs, nothing that it would not notice can be set.
    """

    spec: BackboneSpec | None = None
    base: BaseWeights | None = None  # the weights beside adapters, as they were before training
    _groups: list[nn.Module]
    _dls: DataBunch
    _model: nn.Module
    _loss_func: Loss
    _metrics: list[Metric]
    _checked_metrics: tuple[Metric, ...]
    _left_out: LeftOut | None = None  # of the targets, by the metrics
    _group_numbers: dict[str, int]  # of each parameter, by name
    _lost: Sequence[str] = ()  # what an export names and does not hold, said once there is data

    def __init__(self) -> None:
        self._running = Running()
        self.recorder = Recorder()
        self._callbacks = []
        self._given: dict[str, Any] = {}
        self._frozen: list[nn.Parameter] = []  # by layer group, not by the user

    def _take(self, **changed: Any) -> None:
        """Check the parts together, with these changed, and take them; after an error nothing has changed."""
        if self._given and "metrics" not in changed and tuple(self._metrics) != self._checked_metrics:
            changed["metrics"] = self._as_given(self._metrics)
        for name in changed:
            self._running.refuse(name)
        given = {**self._given, **changed}
        dls, model = given["dls"], given["model"]
        _check_bunch(dls)
        check_kind("model", model, nn.Module, "an nn.Module; cnn_learner accepts names of architectures")
        give_sizes(model.to(dls.device), dls)
        if "dls" in changed or "model" in changed:
            n_out = dls.task.n_out if dls.task else None
            check_outputs(model, dls.input_shape, n_out, dls.classes, self._output)
        is_same_loss = not changed.keys() & {"dls", "loss_func", "class_weights"}
        loss = self._loss_func if is_same_loss else chosen_loss(dls, given["loss_func"], given["class_weights"])
        activation = chosen_activation(dls, loss, given["activation"], self._activation)
        metrics, ignored = self._metrics if self._given else [], left_out(dls, loss)
        is_same = ignored == self._left_out and not ("dls" in changed and is_default(given["metrics"]))
        if "metrics" in changed or not is_same:
            metrics = chosen_metrics(dls, given["metrics"], loss)
        check_metrics(metrics, dls, loss)
        if "dls" in changed:
            self._dls = dls
        self._given, self._model = given, model
        self._loss_func, self._activation = loss, activation
        self._metrics, self._checked_metrics, self._left_out = metrics, tuple(metrics), ignored

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
        check_same_inputs(self._model, self._dls, dls)
        has_moved = dls.device != self._dls.device
        task = self._dls.task
        self._take(dls=dls)
        self._keep_thresholds(task)
        if has_moved and self._opt is not None:
            self._opt.load_state_dict(self._opt.state_dict())  # moves it to the parameters
        if self._lost:
            warn(f"the exported learner also had {', '.join(self._lost)}, which its file cannot hold: set it again")
            self._lost = ()

    def _keep_thresholds(self, before: Task | None) -> None:
        """Thresholds of the model for new data that has the default one."""
        now = self._dls.task
        if not (isinstance(before, MultiLabel) and isinstance(now, MultiLabel)) or before.threshold == now.threshold:
            return
        if now.threshold == MultiLabel.threshold:
            self._set_task(replace(now, threshold=before.threshold))
        elif before.threshold != MultiLabel.threshold:
            warn(f"the thresholds are those of the new data, {now.threshold}, no longer {before.threshold}")

    def _set_task(self, task: Task) -> None:
        """Change what the outputs mean to this learner; others with the same data keep their meaning."""
        self._dls = copy.copy(self._dls)
        self._dls.task = task

    data = dls  # fastai's name

    @property
    def model(self) -> nn.Module:
        """The model. Layer groups are kept where names agree, the optimizer where the model is inside the new one."""
        self._running.check_whole()
        return self._model

    @model.setter
    def model(self, model: nn.Module) -> None:
        own = [id(parameter) for group in self._groups for parameter in group.parameters()]
        self._take(model=model)
        if own and {id(parameter) for parameter in model.parameters()} >= set(own):
            return
        try:
            self._groups = regrouped(self._groups, model, self._group_numbers)
        except UsageError:  # not a parameter of the same name
            warn(f"the {len(self._groups)} layer groups were those of another model: this one has one, see learn.split")
            self._groups = [model]
        self._opt, self.spec, self.base = None, None, None
        self._group_numbers, self._frozen = group_numbers(self._groups, model), []
        if self._temperature != 1:
            warn(f"the temperature {self._temperature:g} was that of another model: it is 1 again")
            self._temperature = 1.0
        if self._dls is not self._given["dls"]:
            warn("the thresholds were fitted to another model: they are those of the data again")
            self._dls = self._given["dls"]

    @property
    def groups(self) -> list[nn.Module]:
        """The layer groups, from the input to the head; setting others resets the optimizer, see `split`."""
        return self._groups

    @groups.setter
    def groups(self, groups: Groups) -> None:
        if callable(groups) and not isinstance(groups, Iterable):
            self._groups = split_groups(self._model, groups)
        else:
            self._groups = check_groups(self._model, groups)
        self._group_numbers = group_numbers(self._groups, self._model)
        self._opt = None

    @property
    def loss_func(self) -> Loss:
        """The loss; None sets that of the data's task.

        The activation follows it unless `activation=` was passed, and metrics leave out the targets that it ignores.
        """
        return self._loss_func

    @loss_func.setter
    def loss_func(self, loss_func: Loss | None) -> None:
        if loss_func is None or self._given["class_weights"] is None:
            self._take(loss_func=loss_func)
            return
        self._take(loss_func=loss_func, class_weights=None)
        warn("class_weights= were those of the task's loss, they are not used with the new one")

    @property
    def class_weights(self) -> ClassWeights | None:
        """Weights of the classes in the loss of the task; None for none."""
        return self._given["class_weights"]  # type: ignore[no-any-return]

    @class_weights.setter
    def class_weights(self, weights: ClassWeights | None) -> None:
        self._take(class_weights=weights)

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
        try:
            self._take(metrics=self._as_given(metrics))
        except LearnkitError:
            if metrics is self._metrics:  # `learn.metrics += ...` has changed it
                self._metrics[:] = self._checked_metrics
            raise

    def _ready_metrics(self) -> list[Metric]:
        """The metrics of the data as it is now, and what was appended to the list of them since they were checked."""
        if tuple(self._metrics) != self._checked_metrics or left_out(self._dls, self._loss_func) != self._left_out:
            self._take()
        return self._metrics

    def _as_given(self, metrics: Any) -> Any:
        """Names instead of the metrics that were made of them, so that an export can hold them."""
        if not isinstance(metrics, list | tuple):
            return metrics
        before = self._given["metrics"]
        if is_default(before) and self._dls.task:
            before = self._dls.task.metrics
        before = before if isinstance(before, list | tuple) else [before]
        made = (
            {} if len(before) != len(self._checked_metrics) else dict(zip(self._checked_metrics, before, strict=True))
        )
        return [next((part for own, part in made.items() if own is metric), metric) for metric in metrics]


def _check_bunch(dls: DataBunch) -> None:
    check_kind("dls", dls, DataBunch, "a DataBunch, such as DataBunch.from_loaders(train_dl, valid_dl)")
