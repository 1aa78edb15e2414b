"""Early stopping: when a fit ends."""

from typing import Any

import pytest

from learnkit.callbacks.early_stopping import EarlyStopping
from tests.callbacks.scripted import Scripted, run
from tests.doubles import refused


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "n_run"),
    [
        ([3, 2, 2.1, 0, 0], 1, 0.0, 3),
        ([3, 2, 2.1, 2.2, 0], 2, 0.0, 4),
        ([3, 2.7, 2, 1, 0], 1, 0.5, 2),
        ([3, 2, 2.1, 1.9, 1.8], 2, 0.0, 5),
        ([3, 3, 0, 0, 0], 1, 0.0, 2),
        ([3, float("nan"), 0, 0, 0], 1, 0.0, 2),
        ([5, 4, 3, 2, 1], 1, 0.0, 5),
    ],
)
def test_a_fit_stops_after_patience_epochs_without_improvement(
    values: list[float], patience: int, min_delta: float, n_run: int
) -> None:
    state = run(Scripted(values), EarlyStopping("scripted", min_delta, patience))
    assert state.epoch + 1 == n_run
    epochs = "1 epoch" if patience == 1 else f"{patience} epochs"
    assert state.stop_reason == (f"scripted has not improved for {epochs}" if n_run < len(values) else "")


def test_by_default_the_validation_loss_is_monitored() -> None:
    assert EarlyStopping().monitor.name == "valid_loss"


def test_waiting_starts_over_in_every_fit() -> None:
    stop = EarlyStopping("scripted", patience=2)
    assert run(Scripted([1, 2, 2, 2]), stop).epoch + 1 == 3
    assert run(Scripted([9, 8, 7, 6]), stop).epoch + 1 == 4
    assert run(Scripted([1, 2]), stop).epoch + 1 == 2  # one epoch without improvement
    assert run(Scripted([1, 2, 2, 2]), stop).epoch + 1 == 3


def test_its_state_continues_the_wait() -> None:
    stop = EarlyStopping("scripted", patience=3)
    run(Scripted([1, 2, 2]), stop)
    assert stop.state_dict() == {"best": 1, "waited": 2}
    again = EarlyStopping("scripted", patience=3)
    again.load_state_dict(stop.state_dict())
    assert (again.monitor.best, again.waited) == (1, 2)


@pytest.mark.parametrize("patience", [0, -1, 1.5, True])
def test_an_invalid_patience_is_refused(patience: Any) -> None:
    with refused("patience", got=patience):
        EarlyStopping(patience=patience)
