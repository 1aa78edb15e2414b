"""What a learner refuses before it trains: arguments that cannot work, and a model that does not fit its data."""

import warnings
from typing import Any

import torch
from torch import nn

from learnkit.errors import LearnkitWarning, UsageError
from learnkit.modes import evaluating

__all__ = ["check_epochs", "check_outputs", "check_start"]


def check_epochs(epochs: Any) -> int:
    """The number of epochs.

    Raises:
        UsageError: not a whole number of 0 or more.
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
        raise UsageError("epochs", got=epochs, expected="a whole number, 1 or more")
    if epochs == 0:
        warnings.warn("fit of 0 epochs: nothing to do", LearnkitWarning, stacklevel=3)
    return epochs


def check_start(start_epoch: Any, epochs: int) -> None:
    """Refuse an epoch to begin with that is none of the fit's."""
    if isinstance(start_epoch, bool) or not isinstance(start_epoch, int) or not 0 <= start_epoch < epochs:
        raise UsageError("start_epoch", got=start_epoch, expected=f"one of the epochs, 0 to {epochs - 1}")


def check_outputs(model: nn.Module, input_shape: tuple[int, ...] | None, n_out: int | None, classes: list[str]) -> None:
    """Compare the number of outputs with the number of classes, by a forward pass without data or arithmetic.

    Runs on torch's meta device, so it costs neither memory nor time. A model that cannot run there is left alone: it
    speaks for itself at its first batch.

    Raises:
        UsageError: the model gives another number of outputs than the data has classes.
    """
    if input_shape is None or n_out is None:
        return
    given = _n_outputs(model, input_shape)
    if given is not None and given != n_out:
        what = f"{n_out} classes ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''})" if classes else n_out
        raise UsageError(
            f"the model gives {given} outputs an item, the data has {what}",
            fix=f"End the model in {n_out} outputs, or use cnn_learner, which does.",
        )


def _n_outputs(model: nn.Module, input_shape: tuple[int, ...]) -> int | None:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    on_meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    try:
        with evaluating(model):
            output = torch.func.functional_call(model, on_meta, torch.empty(1, *input_shape, device="meta"))
    except Exception:  # whatever a model of unknown make does on a device without data
        return None
    per_item_or_pixel = isinstance(output, torch.Tensor) and output.ndim in (2, 4)
    return output.shape[1] if per_item_or_pixel else None
