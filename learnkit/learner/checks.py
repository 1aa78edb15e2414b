"""Checks before training: arguments that cannot work, and a model or metrics that do not fit the data."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from learnkit.checks import check_int
from learnkit.data.bunch import DataBunch
from learnkit.data.classes import check_same_classes
from learnkit.data.loading.peek import first_target
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import UsageError, warn
from learnkit.learner.head_features import FREEZE_INSTEAD, NoFeatures
from learnkit.losses.activations import activation_of
from learnkit.metrics.accumulated import AccumulatedMetric, Targets
from learnkit.metrics.metric import Metric, metrics_for, targets_of
from learnkit.modes import eval_mode
from learnkit.persistence.lk.schema import activation_to_json as kind_of
from learnkit.training.callback import Callback, Order
from learnkit.types import Loss

__all__ = [
    "check_epochs",
    "check_head",
    "check_metrics",
    "check_outputs",
    "check_same_inputs",
    "check_same_meaning",
    "check_start",
    "check_trainable",
    "rounded",
]

ALIKE = 0.05  # difference of two means or stds of the same kind of images
NEW_LEARNER = "For another task make another learner: Learner(dls, model)."


def check_epochs(epochs: Any) -> int:
    """The number of epochs; warns about 0.

    Raises:
        UsageError: not an integer, 0 or more.
    """
    check_int("epochs", epochs, 0, expected="an integer, 0 or more")
    if epochs == 0:
        warn("fit of 0 epochs: nothing to do")
    return int(epochs)


def check_start(start_epoch: Any, epochs: int) -> int:
    """The epoch to start with.

    Raises:
        UsageError: it is not one of the fit's epochs.
    """
    return check_int("start_epoch", start_epoch, 0, epochs - 1, expected=f"one of the epochs, 0 to {epochs - 1}")


def check_trainable(model: nn.Module) -> None:
    """Refuse a model without trainable parameters."""
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        fix = "Call learn.unfreeze()." if parameters else "A model without parameters can validate and predict."
        raise UsageError("the model has no trainable parameters", fix=fix)


def check_outputs(
    model: nn.Module,
    input_shape: tuple[int, ...] | None,
    n_out: int | None,
    classes: list[str],
    chosen: Callable[[Any], Any] | None = None,
) -> None:
    """Compare the number of outputs with the number of classes, by a forward pass without data or arithmetic.

    Runs on torch's meta device, so it costs neither memory nor time. A model that cannot run there is not checked: its
    first batch will show. Of several outputs, `chosen` picks the one that is compared.

    Raises:
        UsageError: the number of outputs is not the number of classes.
    """
    if input_shape is None or n_out is None:
        return
    given = _n_outputs(model, input_shape, chosen)
    if given is not None and given != n_out:
        named = f" ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})" if classes else ""
        what = f"{n_out} classes{named}" if n_out == len(classes) else f"{n_out} for its targets{named}"
        raise UsageError(
            f"the model returns {given} outputs per item, the data has {what}",
            fix=f"End the model with {n_out}, or use cnn_learner or unet_learner, which do. For outputs that are no "
            "classes, such as embeddings, pass DataBunch.from_loaders(dls.train_dl, dls.valid_dl) and a loss_func.",
        )


def check_same_meaning(before: Task | None, now: Task | None) -> None:
    """Refuse data whose targets mean something else than a model's outputs: another task, or other classes.

    Not compared is data whose meaning was not known before.

    Raises:
        UsageError: another task, or none.
        DataError: other classes or names of numbers, or the same in another order.
    """
    if before is None:
        return
    kinds = (Classification, MultiLabel, Regression, Segmentation)
    if now is None or not isinstance(now, next((kind for kind in kinds if isinstance(before, kind)), object)):
        raise UsageError(
            "dls: the task of the data", got=None if now is None else type(now).__name__,
            expected=f"{type(before).__name__}, that of the model's outputs",
            fix="Pass the bunch classes= or task=." if now is None else NEW_LEARNER,
        )  # fmt: skip
    fix = f"Pass the bunch classes={list(before.classes)!r} if it has these. {NEW_LEARNER}"
    check_same_classes(before.classes, now.classes, "the model's outputs", "the new data", fix)
    if isinstance(before, Regression) and isinstance(now, Regression) and before.n_out == now.n_out > 1:
        check_same_classes(before.names, now.names, "the model's outputs", "the new data", f"Name them. {NEW_LEARNER}")


def check_same_inputs(model: nn.Module, before: DataBunch, now: DataBunch) -> None:
    """Refuse images of another number of channels, and other inputs that the model does not run on.

    The size of images may change. Nothing is refused if the model does not run on torch's meta device.

    Raises:
        UsageError: such inputs.

    Warns:
        LearnkitWarning: images that are normalized differently.
    """
    if before.preprocess is None or now.preprocess is None:
        shape, known = now.input_shape, before.input_shape
        if shape is not None and known is not None and _fails(model, shape) and not _fails(model, known):
            raise UsageError("dls: the shape of an input", got=shape, expected=f"one that the model takes, as {known}")
        return
    if before.preprocess.channels != now.preprocess.channels:
        raise UsageError(
            "dls: channels of the images", got=now.preprocess.channels, expected=f"{before.preprocess.channels}, "
            "those that the model takes", fix=f"Make the data with channels={before.preprocess.channels}.",
        )  # fmt: skip
    trained, given = before.preprocess.mean_and_std, now.preprocess.mean_and_std
    pairs = zip([*trained[0], *trained[1]], [*given[0], *given[1]], strict=True)
    if any(abs(one - other) > ALIKE for one, other in pairs):
        warn(
            f"the model was trained on images normalized by mean {rounded(trained[0])} and std {rounded(trained[1])}, "
            f"the new data is normalized by mean {rounded(given[0])} and std {rounded(given[1])}. Make the data with "
            f"normalize=({rounded(trained[0])}, {rounded(trained[1])}), unless it is trained further."
        )


def check_metrics(metrics: Sequence[Metric], dls: DataBunch, loss_func: Loss) -> None:
    """Refuse learnkit's metrics that would fail after an epoch or mean nothing: of another task, or of more classes.

    Not checked are custom functions, metric objects and tasks, losses with an activation other than the task's, and
    targets of a shape other than the task's (a mask instead of a class index).

    Raises:
        UsageError: naming the metric, the task, and the metrics that fit it.
    """
    task = dls.task
    targets, n_axes = _targets_of(task)
    if task is None or targets is None:
        return
    unfit = [metric.name for metric in metrics if targets not in (targets_of(metric) or (targets,))]
    own, usual = activation_of(loss_func), activation_of(task.loss())
    if own is not usual and (own is None or kind_of(own, task.n_out) != kind_of(usual, task.n_out)):
        return
    if not unfit:
        if targets == "class":
            _check_settings(metrics, task.n_out)
        return
    if dls.preprocess is not None or _n_axes(first_target(dls.train_dl)) in n_axes:
        known = metrics_for(targets) or ["learnkit.metrics.point_distance(size)"]
        raise UsageError(
            "metrics",
            got=unfit[0],
            expected=f"a metric that fits the data's task, {type(task).__name__}: {', '.join(known)}",
            fix="A custom function (preds, targets) is accepted for any task.",
        )


def _check_settings(metrics: Sequence[Metric], n_classes: int) -> None:
    """Give learnkit's metrics one item: k of 5 with three classes, or weights for four, would fail after an epoch."""
    for metric in metrics:
        if isinstance(metric, AccumulatedMetric):
            metric.update(torch.zeros(1, n_classes), torch.zeros(1, dtype=torch.int64))
            metric.reset()


def rounded(values: Sequence[float]) -> tuple[float, ...]:
    """Statistics for a message."""
    return tuple(round(value, 3) for value in values)


def _targets_of(task: Task | None) -> tuple[Targets | None, tuple[int, ...]]:
    """The kind of an item's target, and how many axes it has; None for a custom task."""
    if type(task) is Classification:
        return "class", (0,)
    if type(task) is MultiLabel:
        return ("labels" if task.n_out > 1 else "label"), (1,)
    if type(task) is Regression:
        return "numbers", (0, 1)
    if type(task) is Points:
        return "points", (2,)
    return ("mask", (2, 3)) if type(task) is Segmentation else (None, ())


def _n_axes(target: Any) -> int | None:
    return getattr(target, "ndim", 0 if isinstance(target, int | float) else None)


def _n_outputs(model: nn.Module, input_shape: tuple[int, ...], chosen: Callable[[Any], Any] | None) -> int | None:
    try:
        output = _on_meta(model, input_shape)
        output = output if chosen is None else chosen(output)
    except Exception:  # arbitrary models may fail in arbitrary ways on the meta device
        return None
    per_item_or_pixel = isinstance(output, torch.Tensor) and output.ndim in (2, 4)
    return output.shape[1] if per_item_or_pixel else None


def _fails(model: nn.Module, input_shape: tuple[int, ...]) -> bool:
    try:
        _on_meta(model, input_shape)
    except Exception:
        return True
    return False


def _on_meta(model: nn.Module, input_shape: tuple[int, ...]) -> Any:
    """The outputs for one input, without data or arithmetic.

    Each layer is named once: torch would put back the tensors of one with two names in the wrong order.
    """
    on_meta = {
        f"{path}.{name}" if path else name: torch.empty_like(tensor, device="meta")
        for path, layer in model.named_modules()
        for own in (layer.named_parameters, layer.named_buffers)
        for name, tensor in own(recurse=False, remove_duplicate=False)
    }
    with eval_mode(model):
        return torch.func.functional_call(
            model, on_meta, torch.empty(1, *input_shape, device="meta"), tie_weights=False
        )


def check_head(groups: Sequence[nn.Module], callbacks: Iterable[Callback]) -> None:
    """Refuse a model without a head, and callbacks that change the inputs of a batch.

    Raises:
        NoFeatures: a single layer group, or such a callback, by name.
    """
    if len(groups) < 2:
        raise NoFeatures(
            f"fit_head: this model has {len(groups)} layer group, so there is no head",
            fix="Pass groups= with two or more, or use learn.split([...]).",
        )
    for callback in callbacks:
        if callback.order <= Order.BATCH:
            raise NoFeatures(
                "fit_head: callbacks", got=callback.label, expected="none that changes inputs: of these only the "
                "features of the body are left", fix=f"Remove it for this fit. {FREEZE_INSTEAD}",
            )  # fmt: skip
