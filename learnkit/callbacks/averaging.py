"""Weights averaged over a fit: EMA and SWA, computed as torch.optim.swa_utils does."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.callbacks.batch_norm import update_batch_norm
from learnkit.checks import check_int, check_number
from learnkit.device import to_device
from learnkit.distributed.sharded import placed
from learnkit.distributed.world import world
from learnkit.gradients import local
from learnkit.models.finite import tell_of_weights
from learnkit.optim.groups import spread_rates
from learnkit.optim.optimizers import set_learning_rates
from learnkit.training.batches import batches_of_epoch, split_batch
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState
from learnkit.training.weights import set_tensors, tensors_of
from learnkit.tree import map_tensors
from learnkit.types import LearningRate

__all__ = ["EMA", "SWA"]


class _Averaging(Callback, ABC):
    """Keeps an average of the weights, which the model holds from each validation to the next epoch."""

    sets = frozenset({"the weights that are validated"})

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._reset()

    def _reset(self) -> None:
        self._average: dict[str, Tensor] = {}  # parameters and buffers by name; empty before the first update
        self._n_averaged = 0
        self._trained: dict[str, Tensor] = {}  # the same, while the model holds the average

    def before_fit(self, state: TrainState) -> None:
        self._reset()
        self._model = state.model

    def before_epoch(self, state: TrainState) -> None:
        self._restore(state)

    def before_batch(self, state: TrainState) -> None:
        self._restore(state)  # after a validation within the epoch

    def before_validate(self, state: TrainState) -> None:
        self._swap_in(state)

    def after_fit(self, state: TrainState) -> None:
        if not state.restored:  # otherwise the model holds the weights of before a nan
            if state.failed:
                self._restore(state)
            else:
                self._swap_in(state)
                tell_of_weights(f"the averaged weights of {self.label}", state.model, map_tensors(local, self._average))
        self._reset()
        self._model = None

    def state_dict(self) -> dict[str, Any]:
        """The average, and the trained weights while the model holds the average; otherwise empty dicts."""
        return {"average": self._average, "n_averaged": self._n_averaged, "own": self._trained}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._trained, self._n_averaged = saved["own"], saved["n_averaged"]
        own = {} if self._model is None else tensors_of(self._model)
        self._average = {
            name: placed(mean.to(own[name].device), own[name]) for name, mean in saved["average"].items() if name in own
        }

    @abstractmethod
    def _averaged(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors that are averaged, by name; the model's other parameters and buffers are copied."""

    @abstractmethod
    def _add(self, means: list[Tensor], weights: list[Tensor]) -> None:
        """Add weights to an average of `_n_averaged` updates, in place."""

    @torch.no_grad()
    def _update(self, state: TrainState) -> None:
        """Add the model's weights to the average; nothing waits for the device."""
        averaged = self._averaged(state.model)
        means: list[Tensor] = []
        weights: list[Tensor] = []
        for name, tensor in tensors_of(state.model).items():
            mean = self._average.get(name)
            if mean is None or mean.shape != tensor.shape:  # some buffers take their shape in the first forward pass
                self._average[name] = tensor.detach().clone()
            elif name in averaged and (tensor.is_floating_point() or tensor.is_complex()):
                means.append(local(mean))
                weights.append(local(tensor.detach()))
            else:
                mean.copy_(tensor)
        if means:
            self._add(means, weights)
        self._n_averaged += 1

    def _swap_in(self, state: TrainState) -> None:
        """Load the average, if there is one, into the model."""
        if not self._average or self._trained:
            return
        self._trained = {name: tensor.detach().clone() for name, tensor in tensors_of(state.model).items()}
        try:
            set_tensors(state.model, self._average)
            self._complete(state)
        except BaseException:
            self._restore(state)
            raise

    def _complete(self, state: TrainState) -> None:
        """Adapt what is not averaged to the averaged weights."""

    def _restore(self, state: TrainState) -> None:
        """Load the trained weights back into the model."""
        if self._trained:
            set_tensors(state.model, self._trained)
            self._trained = {}  # only now: an interrupt before this line leads here again


class EMA(_Averaging):
    """Validate and end with an exponential moving average of the weights (Polyak, Juditsky, 1992).

    The average starts as the weights after the first step; after each further step it is
    `decay * average + (1 - decay) * weights`, for both parameters and buffers (the statistics of batch norm). From each
    validation to the next epoch the model holds the average, so results, saved weights and final weights are those of
    the average. After an error or Ctrl-C the model holds its trained weights, after a nan those that were restored.
    Buffers of integers are those of the last step.

    Each fit starts a new average.

    Args:
        decay: the average covers about 1 / (1 - decay) updates; a fit should have several times as many.
        every_steps: optimizer steps between two updates.
        start_step: the first optimizer step whose weights count, from 1; before it nothing is averaged.
        warm_up: let the decay rise to its value, as min(decay, (1 + n) / (10 + n)) after n updates: early weights are
            forgotten sooner.
    """

    def __init__(
        self, decay: float = 0.999, every_steps: int = 1, *, start_step: int = 1, warm_up: bool = False
    ) -> None:
        super().__init__()
        self.decay: float = check_number("decay", decay, "[0, 1)")
        self.every_steps: int = check_int("every_steps", every_steps, 1)
        self.start_step: int = check_int("start_step", start_step, 1)
        self.warm_up = warm_up
        self._last_step = 0

    def before_epoch(self, state: TrainState) -> None:
        super().before_epoch(state)
        self._last_step = state.step

    def after_step(self, state: TrainState) -> None:
        taken = state.step != self._last_step  # float16 overflow skips the step
        self._last_step = state.step
        if taken and state.step >= self.start_step and state.step % self.every_steps == 0:
            self._update(state)

    def _averaged(self, model: nn.Module) -> dict[str, Tensor]:
        return tensors_of(model)

    def _add(self, means: list[Tensor], weights: list[Tensor]) -> None:
        n = self._n_averaged
        decay = min(self.decay, (1 + n) / (10 + n)) if self.warm_up else self.decay
        torch._foreach_lerp_(means, weights, 1 - decay)


class SWA(_Averaging):
    """Validate and end with the mean of the weights at the ends of the last epochs (Izmailov et al., 2018).

    Epochs that end after the fraction `start` of the fit are averaged, the last one always. From each of their
    validations to the next epoch the model holds the mean, so results, saved weights and final weights are those of the
    mean. A model with batch norm is then run over the training set once more, without gradients, to compute its
    statistics under the mean. After an error or Ctrl-C the model holds its trained weights.

    Each fit starts a new mean.

    Args:
        start: a fraction of the fit, in [0, 1).
        lr: a constant learning rate for the averaged epochs (a number, a slice or one per group, as for `fit`), which
            overrides the schedule; None keeps the schedule.
    """

    def __init__(self, start: float = 0.75, lr: LearningRate | None = None) -> None:
        check_number("start", start, "[0, 1)", expected="a fraction of the fit, in [0, 1)")
        if lr is not None and not isinstance(lr, list | tuple):
            spread_rates(lr, 1)  # raises early for nan and the like
        super().__init__()
        self.start = start
        self.lr = lr
        self._rates: list[float] = []
        self._kept: list[nn.Module] = []  # batch norm layers that another callback keeps in eval mode
        self._last_epoch = -1  # in the mean

    def before_fit(self, state: TrainState) -> None:
        super().before_fit(state)
        self._rates = [] if self.lr is None else spread_rates(self.lr, len(state.rates))
        self._last_epoch = -1

    def before_batch(self, state: TrainState) -> None:
        super().before_batch(state)
        if self._rates and self._counts(state):
            set_learning_rates(state.optimizer, self._rates)

    def after_batch(self, state: TrainState) -> None:
        if self._counts(state):
            self._kept = [
                module
                for module in state.model.modules()
                if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.training
            ]

    def before_validate(self, state: TrainState) -> None:
        if not state.is_mid_epoch:
            self._add_epoch(state)
        super().before_validate(state)

    def after_epoch(self, state: TrainState) -> None:
        self._add_epoch(state)  # in a fit without validation

    def after_fit(self, state: TrainState) -> None:
        super().after_fit(state)
        self._kept = []

    def state_dict(self) -> dict[str, Any]:
        modules = [] if self._model is None else list(self._model.modules())
        kept = [number for number, module in enumerate(modules) if module in self._kept]
        return {**super().state_dict(), "kept": kept}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        super().load_state_dict(saved)
        modules = [] if self._model is None else list(self._model.modules())
        self._kept = [modules[number] for number in saved["kept"]]

    def _add_epoch(self, state: TrainState) -> None:
        if self._counts(state) and self._last_epoch != state.epoch:
            self._last_epoch = state.epoch
            self._update(state)

    def _counts(self, state: TrainState) -> bool:
        return state.epoch + 1 > self.start * state.planned_epochs

    def _averaged(self, model: nn.Module) -> dict[str, Tensor]:
        return dict(model.named_parameters())

    def _add(self, means: list[Tensor], weights: list[Tensor]) -> None:
        steps = torch._foreach_sub(weights, means)
        torch._foreach_div_(steps, self._n_averaged + 1)
        torch._foreach_add_(means, steps)

    def _complete(self, state: TrainState) -> None:
        device = state.compute.device
        own = (batch if world.size == 1 else batch.batch for batch in batches_of_epoch(state))
        batches = (split_batch(to_device(batch, device), "training")[0] for batch in own)
        update_batch_norm(state.model, batches, state.compute.autocast, kept=self._kept)
        world.spread(*state.model.buffers())
