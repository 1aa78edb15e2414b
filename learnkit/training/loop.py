"""The training loop: fit, train_epoch, train_batch, validate. It does not depend on learners or concrete callbacks."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learnkit.device import to_device
from learnkit.distributed.parallel import spare
from learnkit.distributed.world import world
from learnkit.errors import DataError, Interrupt, SkipBatch, SkipEpoch, StopFit, UsageError, WrongTypeError, warn
from learnkit.losses.broadcasting import no_broadcasting
from learnkit.losses.reduction import divisor, divisor_of
from learnkit.metrics.shared import observe, results_of_all
from learnkit.models.calling import raise_explained
from learnkit.modes import undisturbed
from learnkit.optim.fused import match_gradients
from learnkit.seeds import Stream, derive
from learnkit.training.batches import batches_of_epoch, split_batch
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.checkpointing import Checkpoints
from learnkit.training.first_loss import first_loss
from learnkit.training.micro_batches import run_micro_batches
from learnkit.training.nan_guard import LossWatch, as_loss
from learnkit.training.processes import (
    finish_gradients,
    loss_of_set,
    own_batches,
    own_part,
    parallel,
    seen_whole,
    share_added,
    share_loss,
)
from learnkit.training.state import TrainState
from learnkit.training.stopping import stop_if_noted, validate_if_due, validates, watched
from learnkit.tree import count_items

__all__ = ["fit", "forward_backward", "take_step", "train_batch", "train_epoch", "validate"]


def fit(state: TrainState, callbacks: CallbackList, checkpoints: Checkpoints | None = None) -> None:
    """Train for `state.n_epochs`; `after_fit` always runs, and the caller's random generators are restored."""
    watch, checkpoints = LossWatch(), checkpoints or Checkpoints()
    with state.compute.preserve_rng(), checkpoints:
        try:
            callbacks.agree()
            callbacks.notify(Callback.before_fit, state)
            state.parallel = parallel(state)
            share_added(state)
            checkpoints.begin(state, callbacks)
            state.began += time.monotonic()
            for state.epoch in range(state.start_epoch, state.n_epochs):
                train_epoch(state, callbacks, watch, checkpoints)
                if validates(state):
                    validate(state, callbacks)
                callbacks.notify(Callback.after_epoch, state)
                stop_if_noted(state)
                checkpoints.after_epoch(state, callbacks)
        except StopFit as stop:
            state.stop_reason = str(stop) or "stopped by a callback"
        except BaseException as error:
            state.failed = True
            callbacks.finish(state, during=error)
            raise
        callbacks.finish(state)
        checkpoints.after_fit(state, callbacks)


def train_epoch(state: TrainState, callbacks: CallbackList, watch: LossWatch, checkpoints: Checkpoints) -> None:
    """Train on every batch of the training loader once, or on those that an interrupted fit did not reach."""
    state.model.train()  # a loss keeps its modes: a network within it may be in eval mode
    start = state.start_batch if state.continues else 0
    state.batch = max(start - 1, 0)
    state.epochs_begun += 1
    state.epoch_seed = derive(state.seed, Stream.STEP, state.epoch_offset + state.epoch)
    watch.start_epoch(state)
    is_skipped = False
    try:
        callbacks.notify(Callback.before_epoch, state)
    except SkipEpoch:
        is_skipped = True
    state.count_batches()
    checkpoints.begin_epoch(state, callbacks)
    batches = iter(()) if is_skipped else watched(batches_of_epoch(state, start), state)
    checkpoints.begin_batches(state)
    validate_now = partial(validate, state, callbacks) if state.limits.counts_steps else None
    try:
        for state.batch, batch in enumerate(checkpoints.batches(batches, state, callbacks, watch), start):
            try:
                train_batch(state, batch, callbacks, watch)
            except SkipBatch:
                if state.compute.accumulate is None:
                    state.compute.zero_grad(state.optimizer)
            if validate_now is not None:
                validate_if_due(state, watch.check_weights, validate_now)
            if not state.stop_reason:  # which no checkpoint holds
                checkpoints.after_batch(state, callbacks, watch)
        if state.compute.n_gathered:  # an incomplete last group of batches
            with suppress(SkipBatch):
                take_step(state, callbacks)
    except SkipEpoch:
        state.compute.zero_grad(state.optimizer)
    watch.check_weights(state)


def train_batch(state: TrainState, batch: Any, callbacks: CallbackList, watch: LossWatch) -> None:
    """One forward and backward pass, and a step if one is due."""
    compute = state.compute
    if state.parallel is not None:
        state.share, batch = batch, batch.batch
        state.parallel.refresh()
    state.inputs, state.targets = split_batch(to_device(batch, compute.device), "training")
    compute.reseed(state.epoch_seed + state.batch)
    callbacks.notify(Callback.before_batch, state)
    if not isinstance(state.inputs, tuple | list):
        given = f"a {type(state.inputs).__name__} of a callback's before_batch"
        expected = "a tuple, the arguments of the model"
        raise WrongTypeError("state.inputs", got=given, expected=expected, fix="Set state.inputs = (x,) for one input.")
    if state.share is not None and world.rank:  # other dropout for other items
        compute.reseed(derive(state.epoch_seed + state.batch, Stream.STEP, world.rank))
    if compute.part is None:
        forward_backward(state, callbacks, watch)
    else:
        run_micro_batches(state, partial(forward_backward, state, callbacks, watch))
        if state.share is not None:
            watch.check(state)
    if compute.accumulate is None or compute.is_due:
        take_step(state, callbacks)
    callbacks.notify(Callback.after_batch, state)


def forward_backward(state: TrainState, callbacks: CallbackList, watch: LossWatch) -> None:
    """Forward and backward pass of `state.inputs`; gradients are added to those gathered."""
    if state.parallel is None:
        _forward_backward(state, callbacks, watch)
    else:
        share_added(state)
        has_items = state.share is None or state.share.n
        with state.parallel.averaging(not state.compute.adds_up), nullcontext() if has_items else spare(state.model):
            _forward_backward(state, callbacks, watch)


def _forward_backward(state: TrainState, callbacks: CallbackList, watch: LossWatch) -> None:
    compute = state.compute
    state.preds = outputs_of(state, state.batch, "training", state.parallel)
    callbacks.notify(Callback.after_pred, state)
    loss_func = state.batch_loss or state.loss_func
    state.loss = first_loss(state) if watch.is_new else as_loss(loss_func(state.preds, state.targets))
    callbacks.notify(Callback.after_loss, state)
    loss = _checked_loss(state, callbacks, watch)
    if not loss.requires_grad:
        raise UsageError(
            "loss_func: its result does not depend on the parameters that are trained",
            fix="Leave out what has no gradient: argmax, comparisons, .detach(), .item(), torch.no_grad().",
        )
    if not compute.adds_up:
        compute.backward(loss)
        finish_gradients(state)
    elif state.share is None or compute.batch_weight is not None:
        n, weight = count_items(state.targets, state.inputs), divisor(state.loss_func, state.targets, state.inputs)
        compute.backward(loss, n, weight)
    else:
        compute.backward(loss, state.share.total, state.share_weight)
    if callbacks.act_in(Callback.after_backward):
        with compute.unscaled(state.optimizer):
            callbacks.notify(Callback.after_backward, state)
        match_gradients(state.optimizer)


def _checked_loss(state: TrainState, callbacks: CallbackList, watch: LossWatch) -> Tensor:
    """What to go backward from; in several processes `state.loss` becomes that of the whole batch."""
    loss: Tensor | None = None
    if state.share is not None:
        if state.compute.batch_weight is not None:  # a part: `state.loss` is checked when the batch is complete
            return own_part(state)
        loss = share_loss(state)
    try:
        watch.check(state)
    except StopFit:
        with suppress(Interrupt):
            callbacks.notify(Callback.after_batch, state)  # so that the batch is recorded
        raise
    return state.loss if loss is None else loss


def outputs_of(state: TrainState, number: int, loader: str, run: Callable[..., Any] | None = None) -> Any:
    """The model's outputs for `state.inputs`, in float32: all of them, or the one that the loss takes.

    Args:
        state: of the fit.
        number, loader: of the batch, for errors.
        run: runs the model in several processes.
    """
    with state.compute.autocast():
        try:
            outputs = (run or state.model)(*state.inputs)
        except Exception as error:
            raise_explained(error, state.model, state.inputs, (number, loader))
    outputs = state.compute.full(outputs)
    return state.output(outputs) if state.loss_takes_one and state.output is not None else outputs


def take_step(state: TrainState, callbacks: CallbackList) -> None:
    """One optimizer step with the gradients gathered."""
    finish_gradients(state)
    if state.compute.step(state.optimizer, state.model):
        state.step += 1
    callbacks.notify(Callback.after_step, state)


@torch.no_grad()
def validate(state: TrainState, callbacks: CallbackList) -> None:
    """Loss and metrics over the whole validation loader, whatever its batches, into `state.valid`.

    What the model or the loader draws is the same in each validation, and leaves the generators as they were.
    """
    compute = state.compute
    state.model.eval()
    for metric in state.metrics:
        metric.reset()
    callbacks.notify(Callback.before_validate, state)
    losses: list[Tensor] = []
    weigh = divisor_of(state.loss_func)
    weights: list[Tensor | int | None] = []
    with undisturbed(state.loss_func), compute.preserve_rng():
        compute.reseed(derive(state.seed, Stream.VALID, world.rank))
        for number, share in enumerate(() if state.valid_dl is None else own_batches(state.valid_dl)):
            state.inputs, state.targets = split_batch(to_device(share.batch, compute.device), state.valid_name)
            state.preds = outputs_of(state, number, state.valid_name)
            is_new = not state.has_validated
            with seen_whole(state, share) as counts:
                state.loss = first_loss(state) if is_new else as_loss(state.loss_func(state.preds, state.targets))
                if counts:
                    weights.append(weigh(state.targets, state.inputs))
                    losses.append(state.loss)
            _update_metrics(state, share.n, is_first=is_new)
            state.has_validated = True
            if share.n:
                callbacks.notify(Callback.after_validate_batch, state)
    mean = loss_of_set(losses, weights)
    if mean is None:
        raise DataError("valid_dl yielded no batches", fix="Check the validation set; it must hold at least one item.")
    if not math.isfinite(mean):
        warn(f"the validation loss of epoch {state.epoch} is {mean}: check for nan or infinite inputs and outputs")
    state.valid = {"valid_loss": mean}
    for metric in state.metrics:
        state.valid |= results_of_all(metric)
    state.validated_step = state.step
    callbacks.notify(Callback.after_validate, state)


def _update_metrics(state: TrainState, n: int, *, is_first: bool) -> None:
    preds = state.prediction
    for metric in state.metrics:
        with no_broadcasting(f"metric {metric.name}", preds, state.targets) if is_first else nullcontext():
            observe(metric, preds, state.targets, n)
