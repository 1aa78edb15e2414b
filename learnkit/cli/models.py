"""The model of a command: the options of cnn_learner, unet_learner and Learner that a command line has a form for."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from learnkit.cli.options import Option, options_of, python_name, value_of
from learnkit.cli.values import CLASS_WEIGHTS, LIST, NUMBERS, PAIR
from learnkit.data.bunch import DataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.errors import UsageError
from learnkit.learner.learner import Learner
from learnkit.learner.vision import cnn_learner, unet_learner
from learnkit.losses import DiceBCELoss, DiceLoss, FocalLoss, IoULoss, L1LossFlat, MSELossFlat

__all__ = ["make_learner", "model_options"]

# What a command line has no form for.
NOT_TYPED = ("dls", "cut", "custom_head", "split_on", "in_chans", "learner_kwargs")
NOT_OF_UNET = ("lin_ftrs", "ps", "bn_final", "init", "concat_pool", "y_range", "lora")
OF_LEARNER = ("opt_func", "wd", "wd_bn_bias", "train_bn", "seed", "class_weights")
KINDS: dict[str, Any] = {
    "base_arch": str, "weights": str | None, "lin_ftrs": NUMBERS, "ps": NUMBERS, "y_range": PAIR, "init": str | None,
    "opt_func": Literal["adamw", "adam", "sgd", "rmsprop"], "class_weights": CLASS_WEIGHTS,
}  # fmt: skip
LOSSES: dict[str, Any] = {
    "focal": FocalLoss, "dice": DiceLoss, "dice_bce": DiceBCELoss, "iou": IoULoss, "l1": L1LossFlat, "mse": MSELossFlat,
}  # fmt: skip
ARCH = Option("arch", str, "resnet18", 'an architecture of learnkit.models, or "timm/NAME" for a network of timm')
LOSS = Option("loss", str | None, None, f"the loss: {', '.join(LOSSES)}; none for that of the task")
METRICS = Option("metrics", LIST, "default", "names of metrics, such as accuracy,f1; default for those of the task")


def model_options() -> list[Option]:
    """The options of the model and of what trains it."""
    head = options_of(cnn_learner, without=(*NOT_TYPED, "base_arch"), kinds=KINDS)
    return [ARCH, *head, LOSS, METRICS, *options_of(Learner, OF_LEARNER, kinds=KINDS)]


def make_learner(dls: DataBunch, values: Mapping[str, Any], path: Path) -> Learner:
    """A learner for the data: a U-Net for masks, otherwise a backbone with a head.

    Raises:
        LearnkitError: as `cnn_learner` and `unet_learner`.
    """
    options = {option.name: option for option in model_options()}
    given = {python_name(name): value_of(option, values[name]) for name, option in options.items()}
    if given["metrics"] == ["default"]:
        given["metrics"] = "default"
    if isinstance(given["lin_ftrs"], int | float):
        given["lin_ftrs"] = [given["lin_ftrs"]]
    given["loss_func"] = _loss(given["loss_func"], getattr(dls.task, "ignored", None))
    given |= {"path": path, "model_dir": "."}
    if not isinstance(dls.task, Segmentation):
        return cnn_learner(dls, **given)
    for name in NOT_OF_UNET:
        if given.pop(name) != options[name].default:
            raise UsageError(
                f"{options[name].flag} is of a head, and masks are learned by a U-Net", fix="Leave it out."
            )
    return unet_learner(dls, **given)


def _loss(name: str | None, ignored: int | None) -> Any:
    """The loss of this name; of those that can, one that leaves out the targets that the data ignores."""
    if name is None:
        return None
    if name not in LOSSES:
        raise UsageError("--loss", got=name, expected=f"one of {', '.join(LOSSES)}")
    loss = LOSSES[name]
    return loss(ignore_index=ignored) if "ignore_index" in signature(loss).parameters else loss()
