"""Micro-batches: one step for a batch that does not fit in memory."""

import sys
from typing import Any

from torch import nn

from learnkit.checks import check_int
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["MicroBatches"]


class MicroBatches(Callback):
    """Train on each batch in as many parts as memory requires, with one step per batch.

    When memory runs out, the batch is run again in halves, quarters and so on, with a warning, and later batches are
    split the same way. The gradient, the recorded loss and the steps are those of the whole batches, up to rounding,
    with class weights, `ignore_index` and sums too (see `learnkit.losses.reduction`). `after_pred`, `after_loss` and
    `after_backward` run once per part, the other hooks once per batch.

    Args:
        size: the initial maximum of items per part; None for whole batches.

    Raises:
        UsageError: in a fit with batch norm in training mode, which would normalize each part separately, or with
            `GradientAccumulation`.
    """

    sets = frozenset({"the loss of a mixed batch"})  # MixUp mixes whole batches
    in_lr_find = True

    def __init__(self, size: int | None = None) -> None:
        self.size: int | None = (
            None if size is None else check_int("size", size, 1, expected="an integer, 1 or more, or None")
        )
        self._compute: Compute | None = None
        self._is_checked = False

    def before_fit(self, state: TrainState) -> None:
        state.compute.part = sys.maxsize if self.size is None else self.size
        self._compute = state.compute

    def before_epoch(self, state: TrainState) -> None:
        self._is_checked = False

    def before_batch(self, state: TrainState) -> None:
        if self._is_checked:
            return
        self._is_checked = True
        if state.compute.accumulate is not None:
            raise UsageError("MicroBatches together with GradientAccumulation", fix="Use one of them.")
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in state.model.modules()):
            raise UsageError(
                "MicroBatches: the model has batch norm in training mode, which would normalize each part separately",
                fix="Use a smaller bs, a model with other normalization layers, or the callback BnFreeze.",
            )

    def state_dict(self) -> dict[str, Any]:
        """The size of the parts in the running fit."""
        return {} if self._compute is None else {"part": self._compute.part}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue with parts of the saved size."""
        if self._compute is not None:
            self._compute.part = saved["part"]
