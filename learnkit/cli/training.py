"""How a command trains: the options of fit and of the callbacks, and the fit they describe."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch.optim import Optimizer, lr_scheduler

from learnkit.callbacks import (
    EMA,
    Callback,
    CutMix,
    EarlyStopping,
    GradientAccumulation,
    GradientClipping,
    MixedPrecision,
    MixUp,
    Progress,
    TensorBoard,
    TorchScheduler,
)
from learnkit.checks import check_number, nearest
from learnkit.cli.options import Option, options_of
from learnkit.cli.values import RATES, SETTINGS
from learnkit.data.segmentation import Segmentation
from learnkit.device import Precision
from learnkit.errors import UsageError
from learnkit.learner.fitting import limits_of
from learnkit.learner.learner import Learner
from learnkit.metrics.metric import columns

__all__ = ["chosen_monitor", "fit", "make_callbacks", "settle", "training_options"]

OF_FIT = ("max_steps", "max_time", "validate_every", "limit_batches", "train_metrics", "checkpoint_every", "strategy")
KINDS: dict[str, Any] = {
    "checkpoint_every": int | str | None, "validate_every": int | str | None, "strategy": Literal["ddp", "fsdp"] | None,
}  # fmt: skip
LOSS = "valid_loss"
FINE_TUNE = "fine_tune"
EPOCHS = ((1_000, 1), (5_000, 3), (math.inf, 5))  # of fine-tuning, by the number of training images
EPOCHS_OF_MASKS, EPOCHS_FROM_SCRATCH = 10, 20
POLICIES = (FINE_TUNE, "one_cycle", "flat_cos", "constant")
OWN = (
    Option("epochs", int | None, None, "passes over the training set; of fine_tune, those with everything trained. "
           "none: of fine_tune 1 for up to 1,000 images, 3 for up to 5,000, else 5, and 10 for masks; otherwise 20"),
    Option("lr", RATES, None, "the learning rate, FIRST:LAST spread over the layer groups, or one per group. none: "
           "that of fine_tune, otherwise the valley of a test of rates"),
    Option("policy", Literal[POLICIES] | None, None, "fine_tune trains the head, then everything; one_cycle and "
           "flat_cos are schedules of one fit; constant keeps the rate, and is what --scheduler needs. none: fine_tune "
           "with weights, else one_cycle"),
    Option("freeze", bool, True, "with pretrained weights, the other policies than fine_tune train the head, and the "
           "norm layers; --no-freeze to train everything"),
    Option("scheduler", str | None, None, "a class of torch.optim.lr_scheduler, such as StepLR"),
    Option("scheduler_args", SETTINGS, None, "its arguments: step_size=2,gamma=0.5"),
    Option("scheduler_every", Literal["epoch", "batch"], "epoch", "when it steps"),
    Option("monitor", str | None, None, "the column of the history by which the best weights are kept. none: accuracy "
           "where it is measured, otherwise valid_loss"),
    Option("early_stopping", int | None, None, "end after this many epochs without a better result"),
    Option("precision", Precision | None, None, "of computations; auto for the best that the device has; none for "
           "single precision, in which weights stay"),
    Option("mixup", float | None, None, "mix pairs of images: the alpha of MixUp, such as 0.4"),
    Option("cutmix", float | None, None, "paste parts of other images: the alpha of CutMix, such as 1.0"),
    Option("ema", float | None, None, "average the weights of all steps: the decay, such as 0.999"),
    Option("clip", float | None, None, "the maximum norm of the gradient"),
    Option("accumulate", int | None, None, "gather gradients until this many items are in a step"),
    Option("channels_last", bool, False, "store images with channels last, usually fastest on a GPU"),
    Option("compile", bool, False, "compile the model with torch.compile"),
    Option("tensorboard", bool, False, "write a log for TensorBoard into the run folder"),
    Option("conformal", float | None, None, "at the end, fit the sets of learnkit predict --sets on the validation "
           "images: the share of sets that may miss the truth, such as 0.1"),
    Option("every", int | str | None, None, "without a terminal, steps (100) or time (30s) between two lines with the "
           "loss; none for one line per epoch"),
)  # fmt: skip
MADE_OF: dict[str, Any] = {
    "mixup": MixUp, "cutmix": CutMix, "ema": EMA, "clip": GradientClipping, "accumulate": GradientAccumulation,
}  # fmt: skip


def training_options() -> list[Option]:
    """The options of the fit."""
    of_fit = options_of(Learner.fit, OF_FIT, kinds=KINDS)
    return [*OWN, *(replace(one, default="5min") if one.name == "checkpoint_every" else one for one in of_fit)]


def make_callbacks(values: Mapping[str, Any], folder: Path) -> list[Callback]:
    """The callbacks that the options ask for; logs go to the folder of the run.

    Raises:
        UsageError: values that a callback refuses, or a scheduler that there is not.
    """
    if values["conformal"] is not None:
        check_number("conformal", values["conformal"], "(0, 1)")
    of_fit: Any = values
    limits_of(of_fit)  # refuses them
    callbacks: list[Callback] = [Progress(every=values["every"])]
    for name in ("mixup", "cutmix"):  # both call it alpha
        if values[name] is not None:
            check_number(name, values[name], "(0, inf)")
    callbacks += [made(values[name]) for name, made in MADE_OF.items() if values[name] is not None]
    if values["precision"] is not None:
        callbacks.append(MixedPrecision(values["precision"]))
    if values["early_stopping"] is not None:
        callbacks.append(EarlyStopping(values["monitor"] or LOSS, patience=values["early_stopping"]))
    if values["tensorboard"]:
        callbacks.append(TensorBoard(folder / "tensorboard"))
    if values["scheduler"] is not None:
        callbacks.append(_scheduler(values))
    elif values["scheduler_args"] is not None or values["scheduler_every"] != "epoch":
        raise UsageError("--scheduler-args and --scheduler-every need --scheduler")
    return callbacks


def chosen_monitor(learn: Learner, name: str | None) -> str:
    """The column to monitor: `name`, or for None accuracy where it is measured, otherwise the loss.

    Raises:
        UsageError: a column that a fit of this learner will not record, with those that it will.
    """
    metrics = [column for metric in learn.metrics for column in columns(metric)]
    known = ["train_loss", LOSS, *metrics, *(f"train_{metric}" for metric in metrics)]
    if name is None:
        return "accuracy" if "accuracy" in known else LOSS
    if name not in known:
        expected = f"a column of the history: {', '.join(known[: len(metrics) + 2])}"
        raise UsageError("monitor", got=name, expected=expected)
    return name


def _scheduler(values: Mapping[str, Any]) -> TorchScheduler:
    name = values["scheduler"]
    kind = getattr(lr_scheduler, name, None)
    base = lr_scheduler.LRScheduler
    if not (isinstance(kind, type) and issubclass(kind, base) and kind is not base):
        known = [one for one in dir(lr_scheduler) if one.endswith(("LR", "Restarts", "Plateau"))]
        raise UsageError(
            "--scheduler", got=name, expected=f"a class of torch.optim.lr_scheduler; nearest: {nearest(name, known)}"
        )
    if values["policy"] != "constant":
        raise UsageError(f"--scheduler {name} needs --policy constant", fix="The other policies schedule the rate.")
    arguments = SETTINGS.read(values["scheduler_args"]) if values["scheduler_args"] else {}
    return TorchScheduler(partial(_made, kind, arguments), values["scheduler_every"], values["monitor"] or LOSS)


def _made(kind: Any, arguments: Mapping[str, Any], optimizer: Any) -> Any:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(optimizer)  # asked whether it is a function of the epoch
    try:
        return kind(optimizer, **arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"--scheduler {kind.__name__}: {error}", fix="Pass its arguments by --scheduler-args."
        ) from error


def settle(values: dict[str, Any], learn: Learner) -> None:
    """Choose the policy and the epochs that the options leave open; docs/performance.md has what this is based on."""
    if values["policy"] is None:
        values["policy"] = FINE_TUNE if values["pretrained"] or values["weights"] is not None else "one_cycle"
    if values["epochs"] is None:
        n = len(learn.dls.train_ds)
        of_size = next(epochs for most, epochs in EPOCHS if n <= most)
        of_tuning = EPOCHS_OF_MASKS if isinstance(learn.dls.task, Segmentation) else of_size
        values["epochs"] = of_tuning if values["policy"] == FINE_TUNE else EPOCHS_FROM_SCRATCH
    if values["lr"] is None and values["policy"] != FINE_TUNE:
        values["lr"] = f"{learn.lr_find().valley:.3g}"


def fit(learn: Learner, values: Mapping[str, Any], callbacks: list[Callback], *, resume: bool) -> None:
    """Train by the policy that the options name.

    Raises:
        LearnkitError: as `Learner.fit`.
    """
    options: dict[str, Any] = {name: values[name] for name in OF_FIT}
    options |= {"callbacks": callbacks, "resume": "auto" if resume else None}
    epochs: int = values["epochs"]
    rates: Any = None if values["lr"] is None else RATES.read(values["lr"])
    if values["policy"] == FINE_TUNE:
        learn.fine_tune(epochs, rates, **options)
    elif values["policy"] == "one_cycle":
        learn.fit_one_cycle(epochs, rates, **options)
    elif values["policy"] == "flat_cos":
        learn.fit_flat_cos(epochs, rates, **options)
    else:
        learn.fit(epochs, rates, **options)
