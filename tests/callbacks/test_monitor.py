"""Monitors: which column, which direction, and by how much."""

import math

import pytest

from learnkit.callbacks import Callback, EarlyStopping, ReduceLROnPlateau, SaveModel
from learnkit.callbacks.monitor import Monitor
from learnkit.training.state import TrainState
from tests.callbacks.scripted import Scripted, run
from tests.doubles import acting, refused


def improvements(
    values: list[float], name: str = "scripted", higher: bool | None = False, delta: float = 0
) -> list[bool]:
    """For each epoch, whether the monitor sees an improvement."""
    monitor, seen = Monitor(name, delta), list[bool]()
    watch = acting(before_fit=monitor.start, after_epoch=lambda state: seen.append(monitor.improves(state)), order=99)
    run(Scripted(values, higher, name), watch)
    return seen


@pytest.mark.parametrize(
    ("values", "delta", "expected"),
    [
        ([3, 2, 2.1, 2, 1], 0, [True, True, False, False, True]),
        ([3, 2.75, 2.5, 2.25], 0.5, [True, False, False, True]),  # 2.5 is not better by more than 0.5
        ([math.nan, 3, math.nan, 2], 0, [False, True, False, True]),
    ],
)
def test_an_improvement_beats_the_best_by_more_than_min_delta(
    values: list[float], delta: float, expected: list[bool]
) -> None:
    assert improvements(values, delta=delta) == expected
    assert improvements([-value for value in values], higher=True, delta=delta) == expected


@pytest.mark.parametrize(
    ("name", "higher_is_better", "rising_is_better"),
    [
        ("any", True, True),
        ("any", False, False),
        ("my_loss", None, False),
        ("my_error", None, False),
        ("score", None, True),
    ],
)
def test_the_metric_or_its_name_defines_the_direction(
    name: str, higher_is_better: bool | None, rising_is_better: bool
) -> None:
    assert improvements([1, 2, 3], name, higher_is_better) == [True, rising_is_better, rising_is_better]


def test_the_best_value_is_kept_until_the_next_fit() -> None:
    monitor, bests = Monitor("scripted"), list[float]()

    def look(state: TrainState) -> None:
        monitor.improves(state)
        bests.append(monitor.best)

    watch = acting(before_fit=monitor.start, after_epoch=look, order=99)
    run(Scripted([2, 1, 3]), watch)
    run(Scripted([5]), watch)
    assert bests == [2, 1, 1, 5]


@pytest.mark.parametrize("callback", [EarlyStopping("acuracy"), SaveModel("acuracy"), ReduceLROnPlateau("acuracy")])
def test_an_unknown_name_is_refused_before_anything_runs(callback: Callback) -> None:
    metric = Scripted([1], name="accuracy")
    with refused("monitor", got="acuracy", expected="one of accuracy, train_loss, valid_loss"):
        run(metric, callback)
    assert metric.n == -1


@pytest.mark.parametrize("min_delta", [-1, math.nan, "much"])
def test_an_invalid_min_delta_is_refused(min_delta: float) -> None:
    with refused("min_delta"):
        Monitor("valid_loss", min_delta)
