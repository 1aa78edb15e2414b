"""What a learner uses when nothing is passed: the loss, the activation, the metrics and the weight decay."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from learnkit.checks import check_kind, check_partial, check_takes
from learnkit.data.bunch import DataBunch
from learnkit.errors import UsageError
from learnkit.learner.class_weights import ClassWeights, weighted_loss
from learnkit.losses.activations import activation_of
from learnkit.metrics.metric import Metric, MetricSpec, make_metrics
from learnkit.optim.optimizers import OPTIMIZERS, OptimizerFactory
from learnkit.training.first_loss import name_of_loss
from learnkit.types import Activation, Loss

__all__ = ["chosen_activation", "chosen_decay", "chosen_loss", "chosen_metrics", "is_default"]


def chosen_loss(dls: DataBunch, loss_func: Loss | None, class_weights: ClassWeights | None) -> Loss:
    """The loss passed, or that of the data's task.

    Raises:
        UsageError: not a loss, no loss for data without a task, or class weights with a loss passed.
    """
    if loss_func is None:
        if dls.task is None:
            raise UsageError("the data has no task, so no default loss", fix="Pass loss_func=, or the bunch classes=.")
        return (dls.task.loss() if class_weights is None else weighted_loss(dls, class_weights)).to(dls.device)
    if class_weights is not None:
        raise UsageError("class_weights", got=class_weights, expected="None when loss_func= is passed")
    if isinstance(loss_func, type) or not callable(loss_func):
        expected = "a function or a module of (outputs, targets), such as nn.CrossEntropyLoss()"
        raise UsageError("loss_func", got=loss_func, expected=expected)
    check_partial("loss_func", loss_func)
    called = loss_func.forward if isinstance(loss_func, nn.Module) else loss_func
    check_takes("loss_func", name_of_loss(loss_func), called, ("preds", "targets"))
    return loss_func.to(dls.device) if isinstance(loss_func, nn.Module) else loss_func


def chosen_activation(
    dls: DataBunch, loss_func: Loss, activation: Activation | None, before: Activation | None = None
) -> Activation:
    """The activation passed, or that of the loss; of a loss that has none, the one before, or that of the data's task.

    Without any of these, the identity.

    Raises:
        WrongTypeError: an activation that is not a function.
    """
    check_kind("activation", activation, Callable | None, "a function of the outputs, or None")
    check_partial("activation", activation)
    of_task = dls.task.activation if dls.task else None
    return activation or activation_of(loss_func) or before or of_task or nn.Identity()


def is_default(metrics: Any) -> bool:
    """Whether the metrics of the data's task are asked for."""
    return isinstance(metrics, str) and metrics == "default"


def chosen_metrics(dls: DataBunch, metrics: MetricSpec) -> list[Metric]:
    """The metrics passed, or those of the data's task for "default", with the data's classes and its ignored targets.

    Raises:
        UsageError, WrongTypeError: as `make_metrics`.
    """
    spec = dls.task.metrics if is_default(metrics) and dls.task else metrics
    return make_metrics(spec, classes=dls.classes, ignore_index=getattr(dls.task, "ignored", None))


def chosen_decay(opt_func: str | OptimizerFactory, wd: float | None) -> float | None:
    """A weight decay fixed in `opt_func`, otherwise the one passed, otherwise that of `opt_func`; None if unknown."""
    factory = OPTIMIZERS.get(opt_func.lower(), opt_func) if isinstance(opt_func, str) else opt_func
    fixed = factory.keywords.get("weight_decay") if isinstance(factory, partial) else None
    if fixed is not None and (wd is None or factory is opt_func):
        return float(fixed)
    if wd is not None or not callable(factory):
        return wd
    default = inspect.signature(factory).parameters.get("weight_decay")
    return None if default is None or default.default is default.empty else float(default.default)
