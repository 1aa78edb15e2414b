"""Intervals: what an argument may say, and what is refused."""

from typing import Any

import pytest

from learnkit.training.interval import Interval, seconds_of
from tests.doubles import refused


@pytest.mark.parametrize(
    ("every", "interval"),
    [
        (50, Interval(steps=50)),
        ("50 steps", Interval(steps=50)),
        ("1 step", Interval(steps=1)),
        ("30s", Interval(seconds=30)),
        ("5min", Interval(seconds=300)),
        (" 1.5 h ", Interval(seconds=5400)),
    ],
)
def test_an_interval_is_a_number_of_steps_or_a_time(every: Any, interval: Interval) -> None:
    assert Interval.of(every) == interval


@pytest.mark.parametrize("every", [0, -1, True, 2.5, "0s", "0 steps", "often", "5", "5 min.", None, "2 epochs"])
def test_another_interval_is_refused(every: Any) -> None:
    with refused("checkpoint_every", got=every, expected="a number of steps, 1 or more, or a time such as '5min'"):
        Interval.of(every)


def test_epochs_are_an_interval_where_they_make_sense() -> None:
    for text in ("2 epochs", "2epochs", " 2 epoch "):
        assert Interval.of(text, "every", epochs=True) == Interval(epochs=2)
    for every in ("0 epochs", "5min", "x"):
        expected = "a number of steps, 1 or more, or epochs such as '2 epochs'"
        with refused("validate_every", got=every, expected=expected):
            Interval.of(every, "validate_every", times=False, epochs=True)


@pytest.mark.parametrize(("time", "seconds"), [("2h", 7200), ("90 min", 5400), ("0.5s", 0.5)])
def test_a_time_has_a_unit(time: str, seconds: float) -> None:
    assert seconds_of("max_time", time) == seconds


@pytest.mark.parametrize("time", [3600, 1.5, "3600", "2 hours", "-1h", "0s", None, True])
def test_a_time_without_a_unit_is_refused(time: Any) -> None:
    with refused("max_time", got=time, expected="a time such as '2h', '30min' or '90s'"):
        seconds_of("max_time", time)


@pytest.mark.parametrize(
    ("interval", "steps", "seconds", "is_due"),
    [
        (Interval(steps=3), 2, 1e9, False),
        (Interval(steps=3), 3, 0, True),
        (Interval(seconds=30), 10**9, 29.9, False),
        (Interval(seconds=30), 0, 30, True),
        (Interval(), 10**9, 1e9, False),
    ],
)
def test_it_is_due_after_as_many_steps_or_seconds(interval: Interval, steps: int, seconds: float, is_due: bool) -> None:
    assert interval.is_due(steps, seconds) is is_due
