"""The guard against losses that are not finite."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.device import Compute
from learnkit.errors import NonFiniteLossError, StopFit, WrongTypeError
from learnkit.training import nan_guard
from learnkit.training.nan_guard import LossWatch, as_loss
from learnkit.training.state import TrainState
from tests.doubles import refused


def state(**options: Any) -> TrainState:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters(), 0.125)
    return TrainState(
        model=model,
        optimizer=optimizer,
        loss_func=nn.CrossEntropyLoss(),
        train_dl=[],
        compute=Compute(torch.device("cpu")),
        **options,
    )


def checked(watch: LossWatch, running: TrainState, batch: int, loss: float) -> None:
    running.batch, running.loss = batch, torch.tensor(loss)
    watch.check(running)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device on which reading waits."""
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))


def test_a_loss_is_a_tensor() -> None:
    loss = torch.tensor(1.0)
    assert as_loss(loss) is loss
    with refused("loss_func", WrongTypeError, got=0.5, fix="Leave .item() out."):
        as_loss(0.5)


def test_a_loss_that_is_not_a_scalar_is_refused() -> None:
    running = state()
    running.loss = torch.zeros(3)
    with refused("loss_func", got=(3,)):
        as_loss(running.loss)
    with refused("state.loss, as a callback set it", got=(3,)):
        LossWatch().check(running)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_is_read_immediately_if_reading_is_free(value: float) -> None:
    running, watch = state(), LossWatch()
    watch.start_epoch(running)
    checked(watch, running, 0, 0.5)
    assert running.loss_value == 0.5
    with pytest.raises(NonFiniteLossError, match=rf"{value} at epoch 0 batch 1 \(lr 0\.125\).*finite loss 0\.5"):
        checked(watch, running, 1, value)


def test_weights_are_restored_and_the_optimizer_forgets_its_moments() -> None:
    running, watch = state(), LossWatch()
    running.model(torch.randn(4, 2)).sum().backward()
    running.optimizer.step()
    watch.start_epoch(running)
    good = [parameter.clone() for parameter in running.model.parameters()]
    with torch.no_grad():
        next(running.model.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="restored to those at the start of the epoch"):
        checked(watch, running, 0, math.nan)
    assert all(torch.equal(a, b) for a, b in zip(good, running.model.parameters(), strict=True))
    assert not running.optimizer.state


def test_the_error_names_the_checkpoint_of_a_fit_resumed_within_its_epoch() -> None:
    running, watch = state(start_epoch=1, start_batch=3), LossWatch()
    running.epoch = 1
    watch.start_epoch(running)
    with pytest.raises(NonFiniteLossError, match="restored to those of the checkpoint"):
        checked(watch, running, 3, math.nan)


@pytest.mark.parametrize(
    ("inputs", "finite"),
    [
        ((torch.ones(2), torch.tensor([1])), "yes"),
        ((torch.ones(2), torch.tensor([math.inf])), "no"),
        (("text",), "yes"),
    ],
)
def test_the_error_reports_whether_the_inputs_are_finite(inputs: Any, finite: str) -> None:
    running, watch = state(inputs=inputs), LossWatch()
    watch.start_epoch(running)
    with pytest.raises(NonFiniteLossError, match=rf"input finite\? {finite};"):
        checked(watch, running, 0, math.nan)


def test_a_fit_that_stops_on_nan_ends_quietly() -> None:
    running, watch = state(stops_on_nan=True), LossWatch()
    watch.start_epoch(running)
    with pytest.raises(StopFit, match="loss nan at epoch 0 batch 0"):
        checked(watch, running, 0, math.nan)


def test_elsewhere_losses_are_read_together(unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nan_guard, "FLUSH_EVERY", 3)
    running, watch = state(inputs=(torch.ones(1),)), LossWatch()
    watch.start_epoch(running)
    checked(watch, running, 0, 1.0)
    checked(watch, running, 1, math.nan)
    assert running.loss_value is None
    with pytest.raises(NonFiniteLossError, match=r"batch 1 .*input finite\? unknown; last finite loss 1;"):
        checked(watch, running, 2, 2.0)
    watch.flush(running)  # nothing is left unread


def test_the_batch_is_named_although_others_were_skipped(unread: None) -> None:
    running, watch = state(), LossWatch()
    watch.start_epoch(running)
    for batch, loss in ((0, 1.0), (3, math.nan), (4, 1.0), (4, 1.0)):  # the last one in two micro-batches
        checked(watch, running, batch, loss)
    with pytest.raises(NonFiniteLossError, match="loss nan at epoch 0 batch 3"):
        watch.flush(running)


def test_a_flush_reads_the_rest(unread: None) -> None:
    running, watch = state(), LossWatch()
    watch.start_epoch(running)
    checked(watch, running, 0, 1.0)
    watch.flush(running)
    checked(watch, running, 1, math.inf)
    with pytest.raises(NonFiniteLossError, match="loss inf at epoch 0 batch 1"):
        watch.flush(running)


@pytest.mark.parametrize("quiet", [False, True])
def test_weights_that_the_last_step_made_nan_are_restored_at_the_end_of_the_epoch(quiet: bool) -> None:
    running, watch = state(stops_on_nan=quiet), LossWatch()
    running.model[0].bias.requires_grad_(False)
    watch.start_epoch(running)
    kept = running.model[0].weight.detach().clone()
    checked(watch, running, 0, 1.5)
    watch.check_weights(running)
    with torch.no_grad():
        running.model[0].bias.fill_(math.inf)  # frozen, so no step made it
    watch.check_weights(running)
    with torch.no_grad():
        running.model[0].weight[0, 0] = math.nan
    expected = (
        "weights nan or infinite after epoch 0 batch 0 .*; last finite loss 1.5; weights restored to those at the"
    )
    with pytest.raises(StopFit if quiet else NonFiniteLossError, match=expected):
        watch.check_weights(running)
    assert torch.equal(running.model[0].weight, kept)
    assert running.restored


def test_the_parameters_of_the_loss_are_restored_too() -> None:
    running, watch = state(), LossWatch()
    running.loss_func = nn.Linear(1, 1)
    kept = running.loss_func.weight.detach().clone()
    watch.start_epoch(running)
    with torch.no_grad():
        running.loss_func.weight.add_(1)
    with pytest.raises(NonFiniteLossError):
        checked(watch, running, 0, math.nan)
    assert torch.equal(running.loss_func.weight, kept)
