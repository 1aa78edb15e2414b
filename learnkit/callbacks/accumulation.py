"""Gradient accumulation: one step for several batches."""

from learnkit.checks import check_int
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["GradientAccumulation"]


class GradientAccumulation(Callback):
    """Step once the gradients of `n_items` items are accumulated, and at the end of an epoch.

    The gradient is that of one large batch, also for a short last group and batches of different sizes: the mean over
    all items, with class weights and `ignore_index` too, or their sum for a loss with `reduction="sum"` (see
    `learnkit.losses.reduction`). The exceptions are items that depend on each other: batch norm in training mode
    normalizes each batch separately, and `DiceLoss(per_batch=True)` takes the overlap of each.

    Schedules advance and gradients are clipped once per step. `lr_find` measures single batches.

    Args:
        n_items: items (not batches) per step; a step takes whole batches, at least one.
    """

    def __init__(self, n_items: int = 32) -> None:
        self.n_items: int = check_int("n_items", n_items, 1)

    def before_fit(self, state: TrainState) -> None:
        state.compute.accumulate = self.n_items
