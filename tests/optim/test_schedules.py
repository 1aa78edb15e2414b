"""Schedules as numbers; their docstrings hold the worked examples."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from learnkit.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    flat_cos,
    linear,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    sequence,
    sgdr,
)
from tests.doubles import refused


def test_every_schedule_has_its_start_and_end() -> None:
    for make in (linear, cosine, exponential, polynomial):
        assert make(0.5, 4.0)(0.0) == pytest.approx(0.5)
        assert make(0.5, 4.0)(1.0) == pytest.approx(4.0)
    assert constant(3.0)(0.7) == 3.0


def test_a_sequence_may_have_many_equal_parts() -> None:
    steps = sequence(*[(0.1, constant(float(i))) for i in range(10)])  # the shares sum to 0.9999999999999999
    assert [steps(i / 10 + 0.05) for i in range(10)] == [float(i) for i in range(10)]
    assert steps(1.0) == 9.0


@pytest.mark.parametrize("shares", [(0.5, 0.6), (0.3,), (1.5, -0.5), ("1",), (None, 1.0), (0.5, math.nan)])
def test_shares_must_make_a_whole(shares: tuple[Any, ...]) -> None:
    with refused("sequence", got=list(shares), expected="shares from 0 to 1 that sum to 1"):
        sequence(*[(share, constant(1.0)) for share in shares])


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


def rates_of(make: type[lr_scheduler.LRScheduler], n: int, **settings: Any) -> list[float]:
    """The rates of a scheduler of torch from a rate of 1, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    scheduler = make(optimizer, **settings)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (linear(1.0, 0.1), rates_of(lr_scheduler.LinearLR, 20, start_factor=1.0, end_factor=0.1, total_iters=20)),
        (cosine(1.0, 0.1), rates_of(lr_scheduler.CosineAnnealingLR, 20, T_max=20, eta_min=0.1)),
        (exponential(1.0, 0.01), rates_of(lr_scheduler.ExponentialLR, 20, gamma=0.01 ** (1 / 20))),
        (sgdr(1.0, 4, cycle_mult=1), rates_of(lr_scheduler.CosineAnnealingWarmRestarts, 20, T_0=5)),
        (sgdr(1.0, 2, cycle_mult=3), rates_of(lr_scheduler.CosineAnnealingWarmRestarts, 20, T_0=5, T_mult=3)),
    ],
)
def test_the_schedules_torch_has_too(schedule: Schedule, expected: list[float]) -> None:
    assert [schedule(k / 20) for k in range(20)] == pytest.approx(expected)


def test_a_polynomial() -> None:
    progress = np.linspace(0, 1, 11)
    for power in (0.5, 1, 2, 3.5):
        expected = 3 + (1 - 3) * progress**power
        assert [polynomial(3.0, 1.0, power)(float(p)) for p in progress] == pytest.approx(expected)
    assert [polynomial(1.0, 0.0, 1)(p) for p in (0.2, 0.7)] == pytest.approx([0.8, 0.3])


@pytest.mark.parametrize("n_parts", [3, 6, 7, 10, 13, 49])
@pytest.mark.parametrize("per_part", [1, 3, 10, 97])
def test_a_part_begins_with_the_batch_its_share_says(n_parts: int, per_part: int) -> None:
    falling = sequence(*[(1 / n_parts, linear(i + 1.0, i)) for i in range(n_parts)])
    n = n_parts * per_part
    expected = [part + 1 - k / per_part for part in range(n_parts) for k in range(per_part)]
    assert [falling(k / n) for k in range(n)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n_parts", [3, 6, 7, 10, 13, 49])
def test_a_part_is_never_asked_for_progress_below_0(n_parts: int) -> None:
    """Sums of shares are rounded, and a root of what is below 0 is a complex number."""
    roots = sequence(*[(1 / n_parts, polynomial(0.0, 1.0, 0.5))] * n_parts)
    found = [roots(k / n_parts) for k in range(n_parts)]
    assert {type(value) for value in found} == {float}
    assert found == pytest.approx([0.0] * n_parts, abs=1e-6)


def test_flat_then_cosine() -> None:
    rate = flat_cos(2.0, flat=0.5, div_final=4.0)
    assert [rate(p) for p in (0.0, 0.3, 0.5)] == [2.0] * 3
    assert rate(0.75) == pytest.approx((2.0 + 0.5) / 2)
    assert rate(1.0) == pytest.approx(0.5)
    assert flat_cos(1.0, flat=1.0)(0.9) == 1.0


def test_restarts_grow_and_end_at_the_floor() -> None:
    rate = sgdr(1.0, 3, floor=0.2)  # cycles of 1/7, 2/7 and 4/7
    assert [rate(k / 7) for k in (0, 1, 3)] == pytest.approx([1.0] * 3)
    assert [rate(k / 7) for k in (0.5, 2, 5)] == pytest.approx([0.6] * 3)
    assert rate(1.0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("make", "what", "got"),
    [
        (lambda: polynomial(0.0, 1.0, 0), "polynomial: power", 0),
        (lambda: polynomial(0.0, 1.0, math.inf), "polynomial: power", math.inf),
        (lambda: sgdr(1.0, 0), "sgdr: n_cycles", 0),
        (lambda: sgdr(1.0, True), "sgdr: n_cycles", True),
        (lambda: sgdr(1.0, 2, cycle_mult=0), "sgdr: cycle_mult", 0),
        (lambda: sequence(), "sequence", []),
        (lambda: flat_cos(1.0, flat=1.5), "flat_cos: flat", 1.5),
        (lambda: flat_cos(1.0, div_final=0), "flat_cos: div_final", 0),
        (lambda: one_cycle(1.0, warm_up=-0.1), "one_cycle: warm_up", -0.1),
        (lambda: one_cycle(1.0, div=math.inf), "one_cycle: div", math.inf),
        (lambda: one_cycle(1.0, div_final=-1), "one_cycle: div_final", -1),
        (lambda: exponential(0.0, 1.0), "exponential", (0.0, 1.0)),
        (lambda: exponential(1.0, 0.0), "exponential", (1.0, 0.0)),
    ],
)
def test_schedules_that_cannot_be_are_refused(make: Callable[[], Schedule], what: str, got: object) -> None:
    with refused(what, got=got):
        make()
