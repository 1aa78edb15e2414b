"""The limits of a fit as arguments: what is accepted, and what is refused by name."""

from typing import Any

import pytest

from learnkit.training.interval import Interval
from learnkit.training.limits import FirstBatches, Limits
from tests.doubles import refused


def test_without_arguments_there_are_no_limits() -> None:
    limits = Limits.of()
    assert limits == Limits()
    assert not limits.act_within_epochs
    assert not limits.given


def test_arguments_are_parsed_and_remembered() -> None:
    limits = Limits.of(max_steps=7, max_time="2min", validate_every="3 steps", limit_batches=4)
    assert (limits.max_steps, limits.max_time, limits.max_batches) == (7, 120.0, 4)
    assert limits.validate_every == Interval(steps=3)
    assert limits.given == {"max_steps": 7, "max_time": "2min", "validate_every": "3 steps", "limit_batches": 4}


@pytest.mark.parametrize(
    ("given", "within"),
    [
        ({"max_steps": 1}, True),
        ({"max_time": "1s"}, True),
        ({"validate_every": 5}, True),
        ({"validate_every": "5 epochs"}, False),
        ({"limit_batches": 5}, False),
    ],
)
def test_only_some_limits_act_between_two_batches(given: dict[str, Any], within: bool) -> None:
    assert Limits.of(**given).act_within_epochs is within


BAD: dict[str, list[Any]] = {
    "max_steps": [0, -1, 1.5, True, "10"],
    "max_time": [60, "60", "soon", 0],
    "validate_every": [0, "5min", "never", 1.0],
    "limit_batches": [0, -1, 0.1, True],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_limit_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with refused(name, got=value):
        Limits.of(**{name: value})


def test_the_first_batches_of_a_loader_can_be_read_again() -> None:
    first = FirstBatches([1, 2, 3], 2)
    assert [list(first), list(first)] == [[1, 2], [1, 2]]
    assert list(FirstBatches([1], 2)) == [1]
