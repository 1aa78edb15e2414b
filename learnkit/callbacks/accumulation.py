"""Gradient accumulation and micro-batches: the step of a batch that does not fit in memory."""

import sys
from typing import Any

from torch import nn

from learnkit.checks import check_int
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["GradientAccumulation", "MicroBatches"]


class GradientAccumulation(Callback):
    """Step only when gradients of `n_items` items are gathered; at the end of an epoch, with those there are.

    The gradient is the mean over the items gathered, so a step equals that of one large batch, also for a short last
    group and batches of different sizes. It does not where items depend on each other or weigh differently in the
    mean: batch norm in training mode sees each batch by itself, and a loss with class weights or `ignore_index`
    divides by the batch's own sum of weights.

    Schedules advance and gradients are clipped once a step. `lr_find` measures single batches.

    Args:
        n_items: items (not batches) per step; a step takes whole batches, at least one.
    """

    def __init__(self, n_items: int = 32) -> None:
        self.n_items = check_int("n_items", n_items, 1)

    def before_fit(self, state: TrainState) -> None:
        state.compute.accumulate = self.n_items


class MicroBatches(Callback):
    """Learn from each batch in as many parts as memory needs, all of them one step.

    A batch for which memory runs out is begun again in halves, quarters and so on, and a warning says so; the batches
    after it are cut alike. The gradient, the recorded loss and the steps are those of the whole batches, to rounding;
    except, as with `GradientAccumulation`, for a loss with class weights or `ignore_index`. `after_pred`, `after_loss`
    and `after_backward` run once a part, the other hooks once a batch.

    Args:
        size: the most items at a time to begin with; None for whole batches.

    Raises:
        UsageError: in a fit with batch norm in training mode, which sees each part by itself, or with
            `GradientAccumulation`.
    """

    sets = frozenset({"the loss of a mixed batch"})  # MixUp mixes whole batches
    in_lr_find = True

    def __init__(self, size: int | None = None) -> None:
        self.size = None if size is None else check_int("size", size, 1, expected="an integer, 1 or more, or None")
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
            raise UsageError("MicroBatches beside GradientAccumulation", fix="Use one of them.")
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in state.model.modules()):
            raise UsageError(
                "MicroBatches: the model has batch norm in training mode, which would see each part by itself",
                fix="Use a smaller bs, a model with other norms, or the callback BnFreeze.",
            )

    def state_dict(self) -> dict[str, Any]:
        """How large the parts of the running fit are."""
        return {} if self._compute is None else {"part": self._compute.part}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on with parts as large as they were."""
        if self._compute is not None:
            self._compute.part = saved["part"]
