"""Weights averaged over a fit: EMA and SWA, on torch's AveragedModel."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from learnkit.checks import check_int
from learnkit.device import to_device
from learnkit.errors import UsageError
from learnkit.modes import preserve_modes
from learnkit.optim.groups import spread_rates
from learnkit.optim.optimizers import set_learning_rates
from learnkit.training.batches import batches_of_epoch, split_batch
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState
from learnkit.types import LearningRate

__all__ = ["EMA", "SWA", "renew_batch_norm"]


@torch.no_grad()
def renew_batch_norm(
    model: nn.Module,
    inputs: Iterable[tuple[Any, ...]],
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    *,
    kept: Iterable[nn.Module] = (),
) -> None:
    """Set the statistics of batch norm layers to the plain mean over batches, run through the model in train mode.

    As `torch.optim.swa_utils.update_bn`, and with the same result, but for models with several inputs too, in any
    precision, and with the settings of the layers put back after an error as well.

    Args:
        model: its modes are left as they were.
        inputs: one tuple a batch, what the model is called with; not read for a model without batch norm.
        context: makes what each forward pass runs in, such as autocast.
        kept: layers that keep the statistics they have.
    """
    kept = set(kept)
    momenta = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and module not in kept
    }
    if not momenta:
        return
    try:
        with preserve_modes(model):
            model.train()
            for module in kept:
                module.eval()
            for module in momenta:
                module.reset_running_stats()
                module.momentum = None  # torch's word for the plain mean
            for batch in inputs:
                with context():
                    model(*batch)
    finally:
        for module, momentum in momenta.items():
            module.momentum = momentum


class _Averaging(Callback, ABC):
    """Keeps an average of the weights; puts it in the model's place from each validation to the next epoch."""

    sets = frozenset({"the weights that are validated"})

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._forget()

    def _forget(self) -> None:
        self._average: AveragedModel | None = None
        self._own: dict[str, Any] | None = None  # the trained weights, while the model holds the average

    def before_fit(self, state: TrainState) -> None:
        self._forget()
        self._model = state.model

    def before_epoch(self, state: TrainState) -> None:
        self._put_back(state)

    def before_validate(self, state: TrainState) -> None:
        self._put_in(state)

    def after_fit(self, state: TrainState) -> None:
        if state.failed:
            self._put_back(state)
        else:
            self._put_in(state)
        self._forget()
        self._model = None

    def state_dict(self) -> dict[str, Any]:
        """The average, and the trained weights while the model holds the average; empty dicts for what there is not."""
        average = {} if self._average is None else dict(self._average.state_dict())
        return {"average": average, "own": dict(self._own or {})}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._own = saved["own"] or None
        if saved["average"] and self._model is not None:
            self._average = self._new_average(self._model)
            self._average.load_state_dict(saved["average"])

    @abstractmethod
    def _new_average(self, model: nn.Module) -> AveragedModel:
        """An average that begins with these weights."""

    def _update(self, state: TrainState) -> None:
        """Take the model's weights into the average."""
        if self._average is None:
            self._average = self._new_average(state.model)
        self._average.update_parameters(state.model)

    def _put_in(self, state: TrainState) -> None:
        """Let the model hold the average, if there is one."""
        if self._average is None or self._own is not None:
            return
        self._own = copy.deepcopy(state.model.state_dict())
        try:
            state.model.load_state_dict(self._average.module.state_dict())
            self._complete(state)
        except BaseException:
            self._put_back(state)
            raise

    def _complete(self, state: TrainState) -> None:
        """What the model needs besides the averaged weights."""

    def _put_back(self, state: TrainState) -> None:
        """Let the model hold its trained weights."""
        if self._own is not None:
            state.model.load_state_dict(self._own)
            self._own = None  # only now: an interrupt in between leads here again


class EMA(_Averaging):
    """Validate and end with an exponential moving average of the weights (Polyak, Juditsky, 1992).

    The average begins as the weights after the first step; after each further one it is
    `decay * average + (1 - decay) * weights`, of parameters and buffers (batch norm's statistics) alike. From each
    validation to the next epoch the model holds the average, so results, saved weights and the weights at the end are
    those of the average. After an error or Ctrl-C it has its own trained weights.

    Each fit begins a new average.

    Args:
        decay: about 1 / (1 - decay) updates count; a fit should have several times as many.
        every: update after every so many optimizer steps.
    """

    def __init__(self, decay: float = 0.999, every: int = 1) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 <= decay < 1:
            raise UsageError("decay", got=decay, expected="a number in [0, 1)")
        check_int("every", every, 1, expected="a number of steps, 1 or more")
        super().__init__()
        self.decay = decay
        self.every = every
        self._seen = 0  # optimizer steps

    def before_epoch(self, state: TrainState) -> None:
        super().before_epoch(state)
        self._seen = state.step

    def after_step(self, state: TrainState) -> None:
        taken = state.step != self._seen  # an overflow in float16 leaves the step out
        self._seen = state.step
        if taken and state.step % self.every == 0:
            self._update(state)

    def _new_average(self, model: nn.Module) -> AveragedModel:
        mean = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]
        return AveragedModel(model, multi_avg_fn=mean, use_buffers=True)


class SWA(_Averaging):
    """Validate and end with the mean of the weights at the ends of the last epochs (Izmailov et al., 2018).

    The epochs that end after the share `start` of the fit count, the last one always. From each of their validations to
    the next epoch the model holds the mean, so results, saved weights and the weights at the end are those of the mean.
    A model with batch norm is then run over the training set once more, without gradients, for statistics that belong
    to the mean. After an error or Ctrl-C the model has its own trained weights.

    Each fit begins a new mean.

    Args:
        start: a share of the fit, in [0, 1).
        lr: the constant rate of the epochs that count (a number, a slice or one a group, as for `fit`), whatever the
            schedule says; None leaves the schedule as it is.
    """

    def __init__(self, start: float = 0.75, lr: LearningRate | None = None) -> None:
        if isinstance(start, bool) or not isinstance(start, int | float) or not 0 <= start < 1:
            raise UsageError("start", got=start, expected="a share of the fit, in [0, 1)")
        if lr is not None and not isinstance(lr, list | tuple):
            spread_rates(lr, 1)  # refuses nan and the like here, where it was written
        super().__init__()
        self.start = start
        self.lr = lr
        self._rates: list[float] = []
        self._kept: list[nn.Module] = []  # batch norm layers that some callback holds in eval mode
        self._last_epoch = -1  # that is in the mean

    def before_fit(self, state: TrainState) -> None:
        super().before_fit(state)
        self._rates = [] if self.lr is None else spread_rates(self.lr, len(state.rates))
        self._last_epoch = -1

    def before_batch(self, state: TrainState) -> None:
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
        self._take_epoch(state)
        super().before_validate(state)

    def after_epoch(self, state: TrainState) -> None:
        self._take_epoch(state)  # of a fit without validation

    def after_fit(self, state: TrainState) -> None:
        super().after_fit(state)
        self._kept = []

    def state_dict(self) -> dict[str, Any]:
        modules = [] if self._model is None else list(self._model.modules())
        kept = [number for number, module in enumerate(modules) if module in self._kept]
        return {**super().state_dict(), "last_epoch": self._last_epoch, "kept": kept}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        super().load_state_dict(saved)
        modules = [] if self._model is None else list(self._model.modules())
        self._kept = [modules[number] for number in saved["kept"]]
        self._last_epoch = saved["last_epoch"]

    def _take_epoch(self, state: TrainState) -> None:
        if self._counts(state) and self._last_epoch != state.epoch:
            self._last_epoch = state.epoch
            self._update(state)

    def _counts(self, state: TrainState) -> bool:
        return state.epoch + 1 > self.start * state.n_epochs

    def _new_average(self, model: nn.Module) -> AveragedModel:
        return AveragedModel(model)

    def _complete(self, state: TrainState) -> None:
        device = state.compute.device
        batches = (split_batch(to_device(batch, device), "train")[0] for batch in batches_of_epoch(state))
        renew_batch_norm(state.model, batches, state.compute.autocast, kept=self._kept)
