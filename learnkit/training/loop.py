"""The training loop: fit, train_epoch, train_batch, validate. It knows no learner and no concrete callback."""

import inspect
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from functools import partial
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from learnkit.device import to_device
from learnkit.errors import DataError, Interrupt, SkipBatch, SkipEpoch, StopFit, warn
from learnkit.seeds import Stream, derive
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.checkpointing import Checkpoints
from learnkit.training.micro_batches import count_items, learn_in_parts
from learnkit.training.nan_guard import LossWatch, as_loss
from learnkit.training.snapshot import StatefulLoader
from learnkit.training.state import TrainState

__all__ = ["batches_of_epoch", "fit", "learn", "split_batch", "take_step", "train_batch", "train_epoch", "validate"]


def fit(state: TrainState, callbacks: CallbackList, checkpoints: Checkpoints | None = None) -> None:
    """Train for `state.n_epochs`; `after_fit` runs whatever happens, and the caller's generators are put back."""
    watch = LossWatch()
    with state.compute.preserve_rng(), checkpoints or nullcontext():
        try:
            callbacks.notify(Callback.before_fit, state)
            if checkpoints is not None:
                checkpoints.begin(state, callbacks)
            for state.epoch in range(state.start_epoch, state.n_epochs):
                train_epoch(state, callbacks, watch, checkpoints)
                if state.valid_dl is not None:
                    validate(state, callbacks)
                callbacks.notify(Callback.after_epoch, state)
                if checkpoints is not None:
                    checkpoints.after_epoch(state, callbacks)
        except StopFit as stop:
            state.stop_reason = str(stop) or "stopped by a callback"
        except BaseException as error:
            state.failed = True
            callbacks.finish(state, during=error)
            raise
        callbacks.finish(state)
        if checkpoints is not None:
            checkpoints.after_fit(state, callbacks)


def train_epoch(
    state: TrainState, callbacks: CallbackList, watch: LossWatch, checkpoints: Checkpoints | None = None
) -> None:
    """Train on every batch of the training loader once, or on those that an interrupted fit had left."""
    state.model.train()
    start = state.start_batch if state.continues else 0
    state.batch = max(start - 1, 0)
    state.epochs_begun += 1
    state.epoch_seed = derive(state.seed, Stream.STEP, state.first_epoch + state.epoch)
    watch.start_epoch(state)
    callbacks.notify(Callback.before_epoch, state)
    if checkpoints is not None:
        checkpoints.begin_epoch(state, callbacks)
    batches = batches_of_epoch(state, start)
    if checkpoints is not None:
        checkpoints.begin_batches(state)
        batches = checkpoints.batches(batches, state, callbacks, watch)
    try:
        for state.batch, batch in enumerate(batches, start):
            try:
                train_batch(state, batch, callbacks, watch)
            except SkipBatch:
                if state.compute.accumulate is None:
                    state.compute.zero_grad(state.optimizer)
            if checkpoints is not None and not state.compute.n_gathered:
                checkpoints.after_batch(state, callbacks, watch)
        if state.compute.n_gathered:  # a last group of batches that is short of a whole one
            with suppress(SkipBatch):
                take_step(state, callbacks)
    except SkipEpoch:
        state.compute.zero_grad(state.optimizer)
    watch.read(state)


def train_batch(state: TrainState, batch: Any, callbacks: CallbackList, watch: LossWatch) -> None:
    """One forward and backward, and a step if one is due."""
    compute = state.compute
    state.inputs, state.targets = split_batch(to_device(batch, compute.device), "train")
    compute.reseed(state.epoch_seed + state.batch)
    callbacks.notify(Callback.before_batch, state)
    if compute.part is None:
        learn(state, callbacks, watch)
    else:
        learn_in_parts(state, partial(learn, state, callbacks, watch))
    if compute.accumulate is None or compute.is_due:
        take_step(state, callbacks)
    callbacks.notify(Callback.after_batch, state)


def learn(state: TrainState, callbacks: CallbackList, watch: LossWatch) -> None:
    """Forward and backward of `state.inputs`: gradients are added to those gathered."""
    compute = state.compute
    with compute.autocast():
        state.preds = state.model(*state.inputs)
    state.preds = compute.full(state.preds)
    callbacks.notify(Callback.after_pred, state)
    state.loss = as_loss(state.loss_func(state.preds, state.targets))
    callbacks.notify(Callback.after_loss, state)
    try:
        watch.see(state)
    except StopFit:
        with suppress(Interrupt):
            callbacks.notify(Callback.after_batch, state)  # so that the batch is recorded
        raise
    compute.backward(state.loss, 1 if compute.accumulate is None else count_items(state.inputs))
    callbacks.notify(Callback.after_backward, state)


def take_step(state: TrainState, callbacks: CallbackList) -> None:
    """One optimizer step with the gradients gathered."""
    if state.compute.step(state.optimizer, state.model):
        state.step += 1
    callbacks.notify(Callback.after_step, state)


@torch.no_grad()
def validate(state: TrainState, callbacks: CallbackList) -> None:
    """Loss and metrics over the whole validation loader, each item counting the same, into `state.valid`."""
    compute = state.compute
    state.model.eval()
    for metric in state.metrics:
        metric.reset()
    callbacks.notify(Callback.before_validate, state)
    losses: list[Tensor] = []
    sizes: list[int] = []
    for batch in state.valid_dl or ():
        state.inputs, state.targets = split_batch(to_device(batch, compute.device), "validation")
        with compute.autocast():
            state.preds = state.model(*state.inputs)
        state.preds = compute.full(state.preds)
        state.loss = as_loss(state.loss_func(state.preds, state.targets))
        losses.append(state.loss)
        sizes.append(count_items(state.inputs))
        for metric in state.metrics:
            metric.update(state.preds, state.targets)
        callbacks.notify(Callback.after_validate_batch, state)
    if not losses:
        raise DataError("valid_dl gave no batches", fix="Check the validation set; it must hold at least one item.")
    weights = torch.tensor(sizes, dtype=torch.float64)
    mean = (torch.stack(losses).cpu().double() * weights).sum() / weights.sum()
    if not mean.isfinite():
        warn(
            f"the validation loss of epoch {state.epoch} is {mean.item()}: look for inputs or outputs that are nan or "
            "infinite"
        )
    state.valid = {"valid_loss": mean.item(), **{metric.name: float(metric.compute()) for metric in state.metrics}}
    callbacks.notify(Callback.after_validate, state)


def split_batch(batch: Any, part: str) -> tuple[tuple[Any, ...], Any]:
    """The inputs and the target of a batch: the last entry is the target, those before it go to the model.

    Raises:
        DataError: a batch without a target, or not a tuple or list.
    """
    if isinstance(batch, tuple | list) and len(batch) > 1:
        return tuple(batch[:-1]), batch[-1]
    kind = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
    raise DataError(
        f"a batch of the {part} loader is a {kind}", expected="a tuple (inputs..., targets)",
        fix="This part of the data needs labels.",
    )  # fmt: skip


@runtime_checkable
class _Seeded(Protocol):
    def seed_epoch(self, seed: int, epoch: int) -> None: ...


def batches_of_epoch(state: TrainState, start: int = 0) -> Iterator[Any]:
    """The training batches, their order fixed by (seed, epoch); a lone last item is left out before batch norm.

    Args:
        state: of the fit.
        start: leave out this many batches. learnkit's loaders do not read them, one that was told its state has done so
            already, and what others give is passed over.
    """
    epoch, loader = state.first_epoch + state.epoch, state.train_dl
    n_read = 0 if isinstance(loader, StatefulLoader) else start
    if isinstance(loader, _Seeded):
        if start and "start" in inspect.signature(loader.seed_epoch).parameters:
            loader.seed_epoch(state.seed, epoch, start)  # type: ignore[call-arg]
            n_read = 0
        else:
            loader.seed_epoch(state.seed, epoch)
    elif set_epoch := getattr(getattr(loader, "sampler", None), "set_epoch", None):
        set_epoch(epoch)  # torch's DistributedSampler and its kin
    state.compute.reseed(derive(state.seed, Stream.ORDER, epoch))  # for a loader that draws its order globally
    batches = iter(loader)
    for _ in islice(batches, n_read):
        pass
    return _trainable(state, batches, start)


def _trainable(state: TrainState, batches: Iterator[Any], start: int) -> Iterator[Any]:
    normalises = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in state.model.modules())
    size = (getattr(state.train_dl, "batch_size", None) or 2) if start else 0  # of the batch before
    is_empty = not start
    for batch in batches:
        is_empty = False
        before, size = size, count_items(batch) if normalises else 0
        if size == 1 and before > 1:
            if state.epoch == 0:
                warn("a last batch of one item is left out: batch norm cannot train on it")  # fmt: skip
            continue
        yield batch
    if is_empty:
        raise DataError("train_dl gave no batches", fix="Check the training set, and drop_last against its size.")
