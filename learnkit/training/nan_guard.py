"""Guards a fit against a nan or infinite loss: it stops, and the last good weights are restored."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.distributed.world import world
from learnkit.errors import NonFiniteLossError, StopFit, UsageError, WrongTypeError
from learnkit.losses.reduction import can_ignore, divisor, empty_as_zero
from learnkit.training.state import TrainState
from learnkit.training.weights import WeightsBackup, are_finite
from learnkit.tree import leaves

__all__ = ["LossWatch", "as_loss", "zero_if_empty"]

FLUSH_EVERY = 50  # batches between two reads, on a device where reading waits for queued work


def as_loss(loss: Any, by: str = "loss_func") -> Tensor:
    """What a loss function returned.

    Args:
        loss: the loss of a batch.
        by: what it is of, for errors.

    Raises:
        WrongTypeError: it is not a tensor.
        UsageError: it is not one number.
    """
    if not isinstance(loss, Tensor):
        fix = "Leave .item() out." if hasattr(loss, "__float__") else "Return the loss alone."
        raise WrongTypeError(by, got=loss, expected="a loss that is a tensor", fix=fix)
    if loss.dim():
        raise UsageError(
            by, got=tuple(loss.shape), expected="a tensor of shape (), the mean over the batch",
            fix="Average it, for example with reduction='mean'.",
        )  # fmt: skip
    return loss


class LossWatch:
    """Checks each training loss; a nan or infinite one ends the fit with NonFiniteLossError, or StopFit.

    The loss of a batch in which no target counts, which torch makes nan, is 0 and has no gradients.

    On the CPU every loss is read before its backward pass; elsewhere fifty at a time, so that nothing waits for the
    device, and before each checkpoint. The weights are read at the end of each epoch, after its last step, and before a
    validation within it. Restored are the weights that the model held when the epoch began, or those of the checkpoint
    when the fit was resumed within this epoch; callbacks that keep weights see it by `state.restored`.
    """

    def __init__(self) -> None:
        self._unread: list[Tensor] = []
        self._batches: list[int] = []  # of these losses
        self._last_finite = math.nan
        self._good: list[tuple[nn.Module, WeightsBackup]] = []
        self._good_since = ""
        self._sync_is_free = False
        self._guards_empty = False
        self.is_new: bool = True  # until the first loss

    def start_epoch(self, state: TrainState) -> None:
        """Copy the weights this epoch starts from."""
        modules = (state.model, state.loss_func)
        self._good = [(module, WeightsBackup(module)) for module in modules if isinstance(module, nn.Module)]
        self._good_since = "of the checkpoint" if state.continues else "at the start of the epoch"
        self._sync_is_free = state.compute.sync_is_free
        self._guards_empty = not self._sync_is_free and can_ignore(state.loss_func)

    def check(self, state: TrainState) -> None:
        """Check `state.loss` now if reading it is free, otherwise with the next flush."""
        self.is_new = False
        as_loss(state.loss, "state.loss, as a callback set it")
        if self._sync_is_free:
            value = state.loss.item()
            if not math.isfinite(value) and state.share is None:  # with others it is so already, the same in all
                zero_if_empty(state)
                value = state.loss.item()
            state.loss_value = value
            if not math.isfinite(value):
                self._stop(state, value, state.batch)
            self._last_finite = value
            return
        if state.share is None and (self._guards_empty or state.compute.adds_up):
            zero_if_empty(state)
        self._unread.append(state.loss.detach())
        self._batches.append(state.batch)
        if len(self._unread) >= FLUSH_EVERY:
            self.flush(state)

    def flush(self, state: TrainState) -> None:
        """Check the losses not yet read."""
        if not self._unread:
            return
        values, batches = torch.stack(self._unread).tolist(), self._batches
        self._unread, self._batches = [], []
        for value, batch in zip(values, batches, strict=True):
            if not math.isfinite(value):
                self._stop(state, value, batch)
            self._last_finite = value

    def check_weights(self, state: TrainState) -> None:
        """Check the losses not yet read, and the weights after the last step."""
        self.flush(state)
        is_bad = not are_finite(state.model)
        if is_bad if state.whole is None else world.highest(is_bad):
            self._restore(state, f"weights nan or infinite after epoch {state.epoch} batch {state.batch}")

    def _stop(self, state: TrainState, value: float, batch: int) -> None:
        finite = "unknown" if batch != state.batch else "yes" if _is_finite(state.inputs) else "no"
        self._restore(state, f"loss {value} at epoch {state.epoch} batch {batch}", f"; input finite? {finite}")

    def _restore(self, state: TrainState, what: str, about: str = "") -> None:
        rates = sorted({group["lr"] for group in state.optimizer.param_groups})
        for module, weights in self._good:
            weights.restore(module)
        state.as_made.reset(state.optimizer)
        state.restored = True
        self._unread, self._batches = [], []
        message = (
            f"{what} (lr {', '.join(f'{rate:.3g}' for rate in rates)}){about}; "
            f"last finite loss {self._last_finite:.4g}; weights restored to those {self._good_since}"
        )
        if state.stops_on_nan:
            raise StopFit(message)
        raise NonFiniteLossError(
            message, fix="Lower lr (learn.lr_find() suggests one), clip gradients, or look at this batch's data."
        )


def zero_if_empty(state: TrainState) -> Tensor | int | None:
    """Make the loss 0, without gradients, if no target counts; returns its divisor."""
    weight = divisor(state.loss_func, state.targets, state.inputs)
    if isinstance(weight, Tensor):
        state.loss = empty_as_zero(state.loss, state.preds, weight)
    return weight


def _is_finite(inputs: Any) -> bool:
    tensors = [leaf for leaf in leaves(inputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
