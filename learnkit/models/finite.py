"""Weights that are nan or infinite: whatever they come from, they are told of where a model gets them."""

from collections.abc import Mapping

from torch import Tensor, nn

from learnkit.errors import warn
from learnkit.text import shortened

__all__ = ["tell_of_weights"]


def tell_of_weights(what: str, model: nn.Module, values: Mapping[str, Tensor] | None = None) -> None:
    """Warn of parameters and buffers that are nan or infinite, as most of what the model computes will be.

    A buffer may hold minus infinity, as the masks of attention do.

    Args:
        what: that these are, as in "the weights of the model", to begin the warning with.
        model: tells which of them are buffers.
        values: by name; None for those that the model holds.

    Warns:
        LearnkitWarning: the names of such tensors.
    """
    buffers = dict(model.named_buffers())
    if values is None:
        values = {**dict(model.named_parameters()), **buffers}
    bad = [name for name, value in values.items() if not _is_fine(value.detach(), is_buffer=name in buffers)]
    if bad:
        warn(f"{what} are nan or infinite: {shortened(bad)}. Predictions with them mean nothing: train or load others.")


def _is_fine(value: Tensor, *, is_buffer: bool) -> bool:
    if not value.is_floating_point() or value.is_meta:
        return True
    is_finite = value.isfinite()
    return bool(is_finite.all()) or (is_buffer and bool((is_finite | value.isneginf()).all()))
