"""Gradient accumulation: one step for several batches."""

from learnkit.checks import check_int
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["GradientAccumulation"]


class GradientAccumulation(Callback):
    """Step once the gradients of `n_items` items are accumulated, and at the end of an epoch.

    The gradient is the mean over these items, so a step equals that of one large batch, also for a short last group
    and batches of different sizes. The exceptions are items that depend on each other or have different weights in the
    mean: batch norm in training mode normalizes each batch separately, and a loss with class weights or `ignore_index`
    divides by the sum of weights of each batch.

    Schedules advance and gradients are clipped once per step. `lr_find` measures single batches.

    Args:
        n_items: items (not batches) per step; a step takes whole batches, at least one.
    """

    def __init__(self, n_items: int = 32) -> None:
        self.n_items = check_int("n_items", n_items, 1)

    def before_fit(self, state: TrainState) -> None:
        state.compute.accumulate = self.n_items
