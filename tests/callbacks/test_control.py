"""Ending a fit early: what is trained, validated, recorded and restored."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, Learner
from learnkit.callbacks.control import StopAfterNBatches, TerminateOnNaN
from learnkit.device import Compute
from learnkit.errors import NonFiniteLossError, SkipBatch
from learnkit.training.callback import CallbackList
from learnkit.training.loop import fit
from learnkit.training.state import TrainState
from tests.doubles import acting, linear_learner, refused


class Breaks(Callback):
    """Multiplies the loss of one batch of the second epoch by this value."""

    def __init__(self, value: float, batch: int = 2) -> None:
        self.value, self.batch = value, batch

    def before_epoch(self, state: TrainState) -> None:
        self.weights = [parameter.detach().clone() for parameter in state.model.parameters()]

    def after_loss(self, state: TrainState) -> None:
        if (state.epoch, state.batch) == (1, self.batch):
            state.loss = state.loss * self.value

    def after_fit(self, state: TrainState) -> None:
        self.reason = state.stop_reason


class Counts(Callback):
    """How often each of these hooks ran, over all fits."""

    def __init__(self) -> None:
        self.batches = self.validations = self.valid_batches = self.ended = 0

    def after_batch(self, state: TrainState) -> None:
        self.batches += 1

    def after_validate_batch(self, state: TrainState) -> None:
        self.valid_batches += 1

    def after_validate(self, state: TrainState) -> None:
        self.validations += 1

    def after_fit(self, state: TrainState) -> None:
        self.ended += 1
        self.reason = state.stop_reason


def learner(blobs: tuple[Tensor, ...]) -> Learner:
    return linear_learner(blobs, bs=8)  # 8 batches per epoch


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_ends_the_fit_without_an_error(value: float, blobs: tuple[Tensor, ...]) -> None:
    learn, breaks, counts = learner(blobs), Breaks(value), Counts()
    learn.fit(3, 1e-2, callbacks=[TerminateOnNaN(), breaks, counts])
    assert (counts.batches, counts.validations, counts.ended) == (8 + 3, 1, 1)
    assert len(learn.history) == 1
    assert len(learn.recorder.losses) == 8 + 3
    assert not math.isfinite(learn.recorder.losses[-1])
    assert breaks.reason.startswith(f"loss {value} at epoch 1 batch 2")
    for now, then in zip(learn.model.parameters(), breaks.weights, strict=True):
        assert torch.equal(now, then)


def test_the_learner_stays_usable_and_without_the_callback_it_is_an_error(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(2, 1e-2, callbacks=[TerminateOnNaN(), Breaks(math.nan)])
    learn.fit(1, 1e-2)
    assert learn.history["train_loss"].notna().all()
    assert learn.history["valid_loss"].notna().all()
    with pytest.raises(NonFiniteLossError, match="epoch 1 batch 2"):
        learn.fit(2, 1e-2, callbacks=Breaks(math.nan))


def test_another_callback_cannot_continue_the_fit(blobs: tuple[Tensor, ...]) -> None:
    def skip(state: TrainState) -> None:
        raise SkipBatch

    learn, counts = learner(blobs), Counts()
    learn.fit(2, 1e-2, callbacks=[TerminateOnNaN(), Breaks(math.nan), acting(after_batch=skip), counts])
    assert (counts.batches, counts.validations) == (8 + 3, 1)


def test_weights_are_restored_even_if_losses_are_read_late(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda compute: False))
    learn, breaks, counts = learner(blobs), Breaks(math.nan), Counts()
    learn.fit(3, 1e-2, callbacks=[TerminateOnNaN(), breaks, counts])
    assert (counts.batches, counts.validations) == (16, 1)
    assert breaks.reason.startswith("loss nan at epoch 1 batch 2")
    for now, then in zip(learn.model.parameters(), breaks.weights, strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize(
    ("n_batches", "n_trained", "n_rows"), [(1, 1, 1), (2, 2, 1), (8, 8, 1), (11, 11, 2), (99, 24, 3)]
)
def test_the_fit_ends_after_n_batches_with_a_whole_record(
    n_batches: int, n_trained: int, n_rows: int, blobs: tuple[Tensor, ...]
) -> None:
    learn, counts = learner(blobs), Counts()
    learn.fit(3, 1e-2, callbacks=[StopAfterNBatches(n_batches), counts])
    assert counts.batches == len(learn.recorder.losses) == n_trained
    assert counts.validations == len(learn.history) == n_rows
    assert counts.reason == (f"{n_batches} batches seen" if n_trained < 24 else "")
    learn.fit(1, 1e-2)
    assert len(learn.recorder.losses) == n_trained + 8


def run(n_valid: int, stop: StopAfterNBatches) -> Counts:
    model, counts = nn.Linear(2, 2), Counts()
    batch = (torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))
    state = TrainState(
        model=model,
        optimizer=torch.optim.SGD([{"params": list(model.parameters()), "layer_group": 0}], 0.1),
        loss_func=nn.CrossEntropyLoss(),
        train_dl=[batch] * 7,
        valid_dl=[batch] * n_valid if n_valid else None,
    )
    fit(state, CallbackList([stop, counts]))
    return counts


@pytest.mark.parametrize(
    ("n_valid", "options", "n_seen"), [(9, {}, 2), (9, {"short_valid": False}, 9), (1, {}, 1), (0, {}, 0)]
)
def test_short_valid_limits_the_validation_too(n_valid: int, options: dict[str, bool], n_seen: int) -> None:
    counts = run(n_valid, StopAfterNBatches(2, **options))
    assert (counts.batches, counts.valid_batches) == (2, n_seen)


def test_the_learners_loader_is_not_changed(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    before = learn.dls.valid_dl
    learn.fit(1, 1e-2, callbacks=StopAfterNBatches(1))
    assert learn.dls.valid_dl is before


@pytest.mark.parametrize("n_batches", [0, -1, 1.5, True, "many"])
def test_an_invalid_number_of_batches_is_refused(n_batches: Any) -> None:
    with refused("n_batches", got=n_batches):
        StopAfterNBatches(n_batches)
