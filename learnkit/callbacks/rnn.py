"""Penalties on the hidden states of a recurrent model."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from learnkit.checks import check_number
from learnkit.errors import UsageError
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["RNNRegularizer", "activation_regularization", "temporal_activation_regularization"]


def activation_regularization(hidden: Tensor) -> Tensor:
    """AR: the mean square of hidden states of any shape, shape () (Merity et al., 2017, section 4.5).

    >>> activation_regularization(torch.tensor([[[1.0], [3.0]]])).item()
    5.0
    """
    return hidden.float().square().mean()


def temporal_activation_regularization(hidden: Tensor) -> Tensor:
    """TAR: the mean square of the changes of hidden states (N, T, H) between time steps, shape ().

    0 for a single time step.

    >>> temporal_activation_regularization(torch.tensor([[[1.0], [3.0], [2.0]]])).item()
    2.5
    """
    if hidden.shape[1] < 2:
        return hidden.new_zeros((), dtype=torch.float32)
    return hidden.float().diff(dim=1).square().mean()


class RNNRegularizer(Callback):
    """Keep hidden states small and slow (Merity et al.: Regularizing and optimizing LSTM language models, 2017).

    For models that return (output, raw hidden states, hidden states after dropout) in training; hidden states are a
    tensor (N, T, H), or a list with one per layer, of which the last counts. During a fit, loss and metrics get only
    the output; `alpha * activation_regularization(after dropout)` and
    `beta * temporal_activation_regularization(raw)` are added to the training loss. Outside a fit the tuple is not
    unpacked: let the model return only the output in eval mode.

    Args:
        alpha: the weight of `activation_regularization`.
        beta: the weight of `temporal_activation_regularization`.

    Raises:
        UsageError: in a fit, for a model that returns anything else in training.
    """

    in_lr_find = True

    def __init__(self, alpha: float = 2.0, beta: float = 1.0) -> None:
        self.alpha: float = float(check_number("alpha", alpha, "[0, inf)"))
        self.beta: float = float(check_number("beta", beta, "[0, inf)"))
        self._handle: RemovableHandle | None = None
        self._states: tuple[Tensor, Tensor] | None = None  # raw, after dropout

    def before_fit(self, state: TrainState) -> None:
        # A forward hook, since in validation no hook of the loop runs between the outputs and the loss.
        # A closure, not a method: copying the model (as EMA does) then does not copy the callback.
        self._handle = state.model.register_forward_hook(lambda *call: self._take_output(*call))

    def _take_output(self, model: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple | list) and len(output) == 3:
            if model.training:
                self._states = _last(output[1]), _last(output[2])
            return output[0]
        if model.training:
            got = f"{type(output).__name__} of {len(output)}" if isinstance(output, tuple | list) else type(output)
            raise UsageError(
                "RNNRegularizer: what the model returns in training", got=got,
                expected="(output, raw hidden states, hidden states after dropout)", fix="Return all three.",
            )  # fmt: skip
        return output

    def after_loss(self, state: TrainState) -> None:
        if self._states is None:
            return
        raw, dropped = self._states
        self._states = None
        if self.alpha:
            state.loss = state.loss + self.alpha * activation_regularization(dropped)
        if self.beta:
            state.loss = state.loss + self.beta * temporal_activation_regularization(raw)

    def after_fit(self, state: TrainState) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._states = None


def _last(states: Any) -> Tensor:
    states = states[-1] if isinstance(states, tuple | list) and states else states
    if not isinstance(states, Tensor) or states.dim() != 3:
        got = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
        raise UsageError("RNNRegularizer: hidden states", got=got, expected="(N, T, H), or a list of these")
    return states
