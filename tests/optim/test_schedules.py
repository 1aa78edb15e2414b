"""Schedules as numbers; their docstrings hold the worked examples."""

import pytest

from learnkit.errors import UsageError
from learnkit.optim.schedules import constant, cosine, exponential, linear, one_cycle, one_cycle_momentum, sequence


def test_every_schedule_begins_and_ends_where_it_says() -> None:
    for make in (linear, cosine, exponential):
        assert make(0.5, 4.0)(0.0) == pytest.approx(0.5)
        assert make(0.5, 4.0)(1.0) == pytest.approx(4.0)
    assert constant(3.0)(0.7) == 3.0


def test_a_sequence_may_have_many_equal_parts() -> None:
    steps = sequence(*[(0.1, constant(float(i))) for i in range(10)])  # the shares sum to 0.9999999999999999
    assert [steps(i / 10 + 0.05) for i in range(10)] == [float(i) for i in range(10)]
    assert steps(1.0) == 9.0


@pytest.mark.parametrize("shares", [(0.5, 0.6), (0.3,), (1.5, -0.5)])
def test_shares_must_make_a_whole(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="shares from 0 to 1 that sum to 1"):
        sequence(*[(share, constant(1.0)) for share in shares])


def test_an_exponential_needs_positive_ends() -> None:
    with pytest.raises(UsageError, match="two positive ends"):
        exponential(0.0, 1.0)


def test_one_cycle_over_eight_batches() -> None:
    rates = [0.0004, 0.0052, 0.01, 0.00933013, 0.00750002, 0.00500005, 0.00250007, 0.000669966]
    assert [one_cycle(1e-2)(k / 8) for k in range(8)] == pytest.approx(rates, abs=1e-8)
    moms = [0.95, 0.9, 0.85, 0.856699, 0.875, 0.9, 0.925, 0.943301]
    assert [one_cycle_momentum(0.95, 0.85)(k / 8) for k in range(8)] == pytest.approx(moms, abs=5e-7)


@pytest.mark.parametrize("warm_up", [0.0, 1.0])
def test_a_cycle_may_have_one_half_only(warm_up: float) -> None:
    rate = one_cycle(1.0, warm_up=warm_up)
    assert rate(0.0) == pytest.approx(1.0 if warm_up == 0 else 1 / 25)
    assert rate(1.0) == pytest.approx(1e-5 if warm_up == 0 else 1.0)
