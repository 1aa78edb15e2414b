"""Guards a fit against a nan or infinite loss: it stops, and the last good weights are restored."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.errors import NonFiniteLossError, StopFit, UsageError, WrongTypeError
from learnkit.losses.reduction import can_ignore, divisor, empty_as_zero
from learnkit.modes import together
from learnkit.training.state import TrainState
from learnkit.tree import leaves

__all__ = ["LossWatch", "WeightsBackup", "as_loss", "tensors_of"]

FLUSH_EVERY = 50  # batches between two reads, on a device where reading waits for queued work


class WeightsBackup:
    """A copy of a module's parameters and buffers, to restore them in place."""

    def __init__(self, model: nn.Module) -> None:
        self._copies = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Set the model's parameters and buffers to the copy, and drop the gradients."""
        for name, tensor in tensors_of(model).items():
            tensor.copy_(self._copies[name])
        model.zero_grad(set_to_none=True)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, also those missing from the state dict."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def as_loss(loss: Any) -> Tensor:
    """What a loss function returned.

    Raises:
        WrongTypeError: it is not a tensor.
        UsageError: it is not one number.
    """
    if not isinstance(loss, Tensor):
        raise WrongTypeError("loss_func", got=loss, expected="a loss that is a tensor", fix="Leave .item() out.")
    if loss.dim():
        raise UsageError(
            "loss_func", got=tuple(loss.shape), expected="a tensor of shape (), the mean over the batch",
            fix="Average it, for example with reduction='mean'.",
        )  # fmt: skip
    return loss


class LossWatch:
    """Checks each training loss; a nan or infinite one ends the fit with NonFiniteLossError, or StopFit.

    The loss of a batch in which no target counts, which torch makes nan, is 0 and has no gradients.

    On the CPU every loss is read before its backward pass; elsewhere fifty at a time, so that nothing waits for the
    device. Restored are the weights from the start of the epoch, or those of the checkpoint when the fit was resumed
    within this epoch.
    """

    def __init__(self) -> None:
        self._unread: list[Tensor] = []
        self._last_finite = math.nan
        self._good: WeightsBackup | None = None
        self._good_since = ""
        self._sync_is_free = False
        self._guards_empty = False
        self.is_new = True  # until the first loss

    def start_epoch(self, state: TrainState) -> None:
        """Copy the weights this epoch starts from."""
        self._good = WeightsBackup(together(state.model, state.loss_func))
        self._good_since = "of the checkpoint" if state.continues else "at the start of the epoch"
        self._sync_is_free = state.compute.sync_is_free
        self._guards_empty = not self._sync_is_free and can_ignore(state.loss_func)

    def check(self, state: TrainState) -> None:
        """Check `state.loss` now if reading it is free, otherwise with the next flush."""
        self.is_new = False
        as_loss(state.loss)  # a callback may have set it
        if self._sync_is_free:
            value = state.loss.item()
            if not math.isfinite(value):
                value = _set_empty_to_zero(state).item()
            state.loss_value = value
            if not math.isfinite(value):
                self._stop(state, value, state.batch)
            self._last_finite = value
            return
        if self._guards_empty or state.compute.adds_up:
            _set_empty_to_zero(state)
        self._unread.append(state.loss.detach())
        if len(self._unread) >= FLUSH_EVERY:
            self.flush(state)

    def flush(self, state: TrainState) -> None:
        """Check the losses not yet read."""
        if not self._unread:
            return
        values = torch.stack(self._unread).tolist()
        self._unread.clear()
        for back, value in enumerate(values):
            if not math.isfinite(value):
                self._stop(state, value, state.batch - len(values) + 1 + back)
            self._last_finite = value

    def _stop(self, state: TrainState, value: float, batch: int) -> None:
        finite = "unknown" if batch != state.batch else "yes" if _is_finite(state.inputs) else "no"
        rates = sorted({group["lr"] for group in state.optimizer.param_groups})
        if self._good is not None:
            self._good.restore(together(state.model, state.loss_func))
            state.optimizer.state.clear()
        self._unread.clear()
        message = (
            f"loss {value} at epoch {state.epoch} batch {batch} (lr {', '.join(f'{rate:.3g}' for rate in rates)}); "
            f"input finite? {finite}; last finite loss {self._last_finite:.4g}; "
            f"weights restored to those {self._good_since}"
        )
        if state.stops_on_nan:
            raise StopFit(message)
        raise NonFiniteLossError(
            message, fix="Lower lr (learn.lr_find() suggests one), clip gradients, or look at this batch's data."
        )


def _set_empty_to_zero(state: TrainState) -> Tensor:
    """Make the loss 0 if no target counts; returns the loss."""
    weight = divisor(state.loss_func, state.targets, state.inputs)
    if isinstance(weight, Tensor):
        state.loss = empty_as_zero(state.loss, state.preds, weight)
    return state.loss


def _is_finite(inputs: Any) -> bool:
    tensors = [leaf for leaf in leaves(inputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
