"""Fine-tuning: what its two stages begin with, the head on features that are kept, and what then stays of the body."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import nn

from learnkit.callbacks.one_cycle import OneCycle
from learnkit.checks import check_int
from learnkit.errors import UsageError
from learnkit.inference.predictions import count_rows
from learnkit.learner.checks import check_start
from learnkit.learner.fitting import FitOptions, with_schedule
from learnkit.learner.head_features import NoFeatures
from learnkit.optim.groups import is_positive
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["HEAD_EPOCHS", "KeptStatistics", "fine_tune_starts", "second_peak", "trains_head"]

HEAD_EPOCHS = 30  # more gain nothing: docs/performance.md has the accuracies
FEW = 2_000  # training items, of which the steps at higher rates undo some of these epochs and make up for none


def fine_tune_starts(
    epochs: int, base_lr: float, freeze_epochs: int | None, lr_mult: float, pct_start: float, div: float,
    options: FitOptions,
) -> tuple[int, int]:  # fmt: skip
    """The epochs that the two stages of `fine_tune` start with; from `freeze_epochs` on, the first is skipped.

    Raises:
        UsageError: arguments that cannot work, before anything is trained.
    """
    check_int("epochs", epochs, 0)
    if freeze_epochs is not None:
        check_int("freeze_epochs", freeze_epochs, 0)
    for name, value in (("base_lr", base_lr), ("lr_mult", lr_mult)):
        if not is_positive(value):
            raise UsageError(name, got=value, expected="a finite number above 0")
    OneCycle(None, div_factor=div, pct_start=pct_start)  # raises for what would only fail after the first stage
    resume, start = options.get("resume"), options.get("start_epoch", 0)
    if resume not in (None, "auto"):
        raise UsageError("resume", got=resume, expected="'auto' or None: each stage has its own checkpoint")
    if start == 0:
        return 0, 0
    if freeze_epochs is None:
        fix = "Pass freeze_epochs= too: it counts over freeze_epochs + epochs."
        raise UsageError("start_epoch", got=start, expected="0 without freeze_epochs=", fix=fix)
    check_start(start, freeze_epochs + epochs)
    return start, max(start - freeze_epochs, 0)


def second_peak(base_lr: float, train_dl: Any, *, on_features: bool) -> float:
    """The rate of the head at the peak of the second stage: fastai's half of `base_lr`, unless features trained it."""
    if not on_features:
        return base_lr / 2
    n_items = count_rows(train_dl)
    return base_lr / (4 if n_items is not None and n_items > FEW else 20)


def trains_head(fit_head: Callable[..., None], lr: float, options: FitOptions) -> bool:
    """Train the head in one cycle on features of the body, and return True; return False if there are none to keep.

    Args:
        fit_head: of the learner.
        lr: the peak of the cycle.
        options: of the fit.
    """
    try:
        fit_head(HEAD_EPOCHS, slice(None, lr), **with_schedule(OneCycle(None, pct_start=0.25), options))
    except NoFeatures:
        return False
    return True


class KeptStatistics(Callback):
    """Batch norm layers that normalize by their running statistics in training, too, and do not change these.

    The head was trained on what the body computes with them. A short fit would move them only part of the way to those
    of the new images, so that neither the old nor the new ones hold: accuracies in docs/performance.md.

    Args:
        layers: the names of the layers.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers: list[str] = list(layers)

    @classmethod
    def of(cls, model: nn.Module, head: nn.Module) -> Self:
        """Those outside of the head that have statistics of some data."""
        own = set(head.modules())
        return cls([name for name, layer in model.named_modules() if layer not in own and _has_statistics(layer)])

    def before_epoch(self, state: TrainState) -> None:
        for name in self.layers:
            state.model.get_submodule(name).eval()


def _has_statistics(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return False
    mean, var = layer.running_mean, layer.running_var
    if mean is None or var is None:
        return False
    return not (torch.equal(mean, torch.zeros_like(mean)) and torch.equal(var, torch.ones_like(var)))
