"""Gradient accumulation: the step of a batch that does not fit in memory."""

from learnkit.errors import check_count
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["GradientAccumulation"]


class GradientAccumulation(Callback):
    """Step only when gradients of `n_acc` items are gathered; at the end of an epoch, with those there are.

    The gradient is the mean over the items gathered, so a step equals that of one large batch, also for a short last
    group and batches of different sizes. It does not where items depend on each other or weigh differently in the
    mean: batch norm in training mode sees each batch by itself, and a loss with class weights or `ignore_index`
    divides by the batch's own sum of weights.

    Schedules advance and gradients are clipped once a step. `lr_find` measures single batches.

    Args:
        n_acc: items (not batches) a step is made of; at least one batch is.
    """

    def __init__(self, n_acc: int = 32) -> None:
        check_count("n_acc", n_acc, "a number of items, 1 or more")
        self.n_acc = n_acc

    def before_fit(self, state: TrainState) -> None:
        state.compute.accumulate = self.n_acc
