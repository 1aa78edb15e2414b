"""What a learner uses when nothing is passed: the loss, the activation, the metrics and the weight decay."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from learnkit.arguments import check_partial, check_takes
from learnkit.checks import check_kind
from learnkit.data.bunch import DataBunch
from learnkit.data.loading.loaders import ImageLoader, TensorLoader
from learnkit.data.loading.stream_loader import StreamLoader
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification
from learnkit.errors import UsageError, WrongTypeError, warn
from learnkit.learner.class_weights import ClassWeights, weighted_loss
from learnkit.losses.activations import activation_of, is_of_torch
from learnkit.losses.reduction import has_setting, setting
from learnkit.losses.settings import check_settings
from learnkit.metrics.metric import Metric, MetricSpec, make_metrics
from learnkit.optim.optimizers import OptimizerFactory, factory_of
from learnkit.text import name_of
from learnkit.types import Activation, Loss

__all__ = ["LeftOut", "chosen_activation", "chosen_decay", "chosen_loss", "chosen_metrics", "is_default", "left_out"]

TORCH_IGNORES = -100  # the `ignore_index` of torch's losses that nobody chose


def chosen_loss(dls: DataBunch, loss_func: Loss | None, class_weights: ClassWeights | None) -> Loss:
    """The loss passed, or that of the data's task.

    Raises:
        UsageError: not a loss, or one with settings that cannot work; no loss for data without a task, or class weights
            with a loss passed.

    Warns:
        LearnkitWarning: a loss that trains the targets that the data ignores.
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
    check_takes("loss_func", loss_func, "(outputs, targets)")
    check_settings(loss_func)
    weight, n_out = getattr(loss_func, "weight", None), dls.task.n_out if dls.task else None
    is_per_class = isinstance(loss_func, nn.CrossEntropyLoss | nn.NLLLoss) and isinstance(
        dls.task, Classification | Segmentation
    )
    if is_per_class and weight is not None and len(weight) != n_out:
        raise UsageError("loss_func: number of weights", got=len(weight), expected=f"{n_out}, one per class")
    _tell_of_ignored(dls, loss_func)
    return loss_func.to(dls.device) if isinstance(loss_func, nn.Module) else loss_func


def _tell_of_ignored(dls: DataBunch, loss_func: Loss) -> None:
    """Warn of a loss that trains the targets that the data ignores; what a loss of the user's does is not known."""
    ignored = getattr(dls.task, "ignored", None)
    known = has_setting(loss_func, "ignore_index") or is_of_torch(loss_func)
    if ignored is None or not known or setting(loss_func, "ignore_index") == ignored:
        return
    name = name_of(loss_func)
    fix = f"Pass it ignore_index={ignored}"
    if not has_setting(loss_func, "ignore_index"):
        fix = f"Use one with ignore_index={ignored}, of learnkit.losses"
    warn(f"loss_func: the data ignores the target {ignored}, and {name} is trained on it all the same. {fix}.")


def chosen_activation(
    dls: DataBunch, loss_func: Loss, activation: Activation | None, before: Activation | None = None
) -> Activation:
    """The activation passed, or that of the loss; of a loss that has none, the one before, or that of the data's task.

    Without any of these, the identity.

    Raises:
        WrongTypeError: an activation that is not a function.
    """
    if isinstance(activation, type):
        raise WrongTypeError("activation", got=activation, expected=f"an object, such as {activation.__name__}(...)")
    check_kind("activation", activation, Callable | None, "a function of the outputs, or None")
    check_partial("activation", activation)
    if activation is not None:
        check_takes("activation", activation, "(outputs)")
    of_task = dls.task.activation if dls.task else None
    return activation or activation_of(loss_func) or before or of_task or nn.Identity()


def is_default(metrics: Any) -> bool:
    """Whether the metrics of the data's task are asked for."""
    return isinstance(metrics, str) and metrics == "default"


class LeftOut(NamedTuple):
    """Which targets metrics leave out, and whether they look for others that are no class."""

    ignore_index: int | None
    may_be_strange: bool


def left_out(dls: DataBunch, loss_func: Loss, loader: Iterable[Any] | None = None) -> LeftOut:
    """What the data's task ignores, or else the loss.

    Targets that learnkit has made or checked are of a class: for them, what torch's losses ignore by default costs
    metrics nothing.

    Args:
        dls: the data.
        loss_func: the loss.
        loader: what is measured, if it is not of the data.
    """
    may_be_strange = not _are_classes(dls, loader)
    index = getattr(dls.task, "ignored", None)
    if index is None:
        index = setting(loss_func, "ignore_index")
    if not isinstance(index, int) or (index == TORCH_IGNORES and not may_be_strange):
        index = None
    return LeftOut(index, may_be_strange and index is None)


def _are_classes(dls: DataBunch, loader: Iterable[Any] | None) -> bool:
    """Whether learnkit has made, or checked, all the targets."""
    own = (TensorLoader, ImageLoader) if dls.preprocess is None else (TensorLoader, ImageLoader, StreamLoader)
    loaders = [one for one in (dls.train_dl, dls.valid_dl, dls.test_dl, loader) if one is not None]
    return isinstance(dls.task, Classification | Segmentation) and all(isinstance(one, own) for one in loaders)


def chosen_metrics(
    dls: DataBunch, metrics: MetricSpec, loss_func: Loss, loader: Iterable[Any] | None = None
) -> list[Metric]:
    """The metrics passed, or those of the data's task for "default", with the data's classes.

    They leave out the targets that the data ignores, or else the loss, see `left_out`, which has the other arguments.

    Raises:
        UsageError, WrongTypeError: as `make_metrics`.
    """
    spec = dls.task.metrics if is_default(metrics) and dls.task else metrics
    index, may_be_strange = left_out(dls, loss_func, loader)
    return make_metrics(spec, classes=dls.classes, ignore_index=index, check_targets=may_be_strange)


def chosen_decay(opt_func: str | OptimizerFactory, wd: float | None) -> float | None:
    """A weight decay fixed in `opt_func`, otherwise the one passed, otherwise that of `opt_func`; None if unknown."""
    factory = factory_of(opt_func)
    fixed = factory.keywords.get("weight_decay") if isinstance(factory, partial) else None
    if fixed is not None and (wd is None or factory is opt_func):
        return float(fixed)
    if wd is not None:
        return wd
    default = inspect.signature(factory).parameters.get("weight_decay")
    return None if default is None or default.default is default.empty else float(default.default)
