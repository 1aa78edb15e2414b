"""Early stopping: when a fit ends."""

import math
from typing import Any

import pytest

from learnkit.callbacks.early_stopping import EarlyStopping
from learnkit.errors import WrongTypeError
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


def epochs_run(values: list[float], **settings: Any) -> int:
    return run(Scripted(values), EarlyStopping("scripted", **settings)).epoch + 1


def test_it_stops_as_soon_as_the_threshold_is_reached() -> None:
    assert epochs_run([5, 4, 3, 2, 1], threshold=3) == 3
    assert epochs_run([5, 4, 3, 2, 1], threshold=2.5) == 4
    state = run(Scripted([1, 2, 3], higher_is_better=True), EarlyStopping("scripted", threshold=2))
    assert (state.epoch, state.stop_reason) == (1, "scripted has reached 2")


def test_it_stops_at_a_value_that_is_not_finite_if_asked() -> None:
    for value in (math.nan, math.inf):
        assert epochs_run([5, value, 4, 3], check_finite=True, patience=9) == 2
        assert epochs_run([5, value, 4, 3], patience=9) == 4


def test_epochs_before_the_start_are_not_looked_at() -> None:
    assert epochs_run([1, 2, 3, 3, 9]) == 2
    assert epochs_run([1, 2, 3, 3, 9], start_from_epoch=2) == 4
    assert epochs_run([1, 2, 3, 3, 9], start_from_epoch=5) == 5  # such as the short first stage of fine_tune


def test_it_never_stops_before_the_fewest_epochs() -> None:
    for fewest, expected in [(0, 2), (2, 2), (3, 3), (4, 4), (9, 5)]:
        assert epochs_run([1, 2, 3, 4, 5], min_epochs=fewest) == expected
    assert epochs_run([1, 2, 3, 0, 5, 6], min_epochs=4) == 5  # it has improved meanwhile


def test_the_value_must_beat_the_baseline() -> None:
    assert epochs_run([5, 4, 3, 2, 1], baseline=4.5, patience=2) == 5
    assert epochs_run([5, 4, 3, 2, 1], baseline=1.0, patience=2) == 2


INVALID: list[tuple[str, object]] = [
    ("threshold", math.nan), ("threshold", "1"), ("start_from_epoch", -1), ("min_epochs", 1.5), ("min_epochs", -1),
]  # fmt: skip


@pytest.mark.parametrize(("what", "value"), INVALID)
def test_invalid_settings_are_refused(what: str, value: Any) -> None:
    with refused(what, got=value):
        EarlyStopping(**{what: value})
    with refused("check_finite", WrongTypeError, got=1):
        EarlyStopping(check_finite=1)  # type: ignore[arg-type]
