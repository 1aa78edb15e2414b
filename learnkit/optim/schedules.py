"""Schedules: pure functions of progress in [0, 1]; they do not depend on an optimizer, epoch or step."""

import math
from collections.abc import Callable
from typing import TypeAlias

from learnkit.checks import check_int, check_number, is_number
from learnkit.errors import UsageError

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "flat_cos",
    "linear",
    "one_cycle",
    "one_cycle_momentum",
    "polynomial",
    "sequence",
    "sgdr",
]

Schedule: TypeAlias = Callable[[float], float]

ROUNDING = 1e-9  # progress this little before the start of a part belongs to it: sums of shares are rounded


def constant(value: float) -> Schedule:
    """The same value throughout."""
    return lambda progress: value


def linear(start: float, end: float) -> Schedule:
    """A straight line from `start` to `end`.

    >>> linear(0.0, 2.0)(0.25)
    0.5
    """
    return lambda progress: start + progress * (end - start)


def cosine(start: float, end: float) -> Schedule:
    """Half a cosine from `start` to `end`: slow at both (Loshchilov, Hutter: SGDR, 2017).

    >>> [round(cosine(0.0, 2.0)(p), 6) for p in (0, 0.25, 0.5, 0.75, 1)]
    [0.0, 0.292893, 1.0, 1.707107, 2.0]
    """
    return lambda progress: end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def exponential(start: float, end: float) -> Schedule:
    """From `start` to `end` in even ratios between equal steps.

    Raises:
        UsageError: an end that is not positive.

    >>> [round(exponential(1.0, 100.0)(p), 6) for p in (0, 0.25, 0.5, 1)]
    [1.0, 3.162278, 10.0, 100.0]
    """
    if start <= 0 or end <= 0:
        raise UsageError("exponential", got=(start, end), expected="two positive ends")
    return lambda progress: float(start * (end / start) ** progress)


def polynomial(start: float, end: float, power: float = 1.0) -> Schedule:
    """From start to end as a power of progress; 1 is a straight line, above 1 it begins slowly.

    Raises:
        UsageError: a power that is not above 0.

    >>> [polynomial(0.0, 2.0, 2)(p) for p in (0, 0.25, 0.5, 0.75, 1)]
    [0.0, 0.125, 0.5, 1.125, 2.0]
    """
    check_number("polynomial: power", power, "(0, inf)", expected="a number above 0")
    return lambda progress: float(start + (end - start) * progress**power)


def sequence(*parts: tuple[float, Schedule]) -> Schedule:
    """Schedules one after the other; each of `parts` is (its share of the whole, its schedule).

    Raises:
        UsageError: shares that are negative or do not sum to 1.

    >>> warm = sequence((0.3, cosine(0.3, 0.6)), (0.7, cosine(0.6, 0.2)))
    >>> [round(warm(p), 6) for p in (0, 0.15, 0.3, 0.65, 1)]
    [0.3, 0.45, 0.6, 0.4, 0.2]
    """
    shares = [share for share, _ in parts]
    if not all(map(is_number, shares)) or not math.isclose(sum(shares), 1.0, abs_tol=1e-9) or min(shares) < 0:
        raise UsageError("sequence", got=shares, expected="shares from 0 to 1 that sum to 1")

    last = [schedule for share, schedule in parts if share > 0][-1]

    def scheduled(progress: float) -> float:
        start = 0.0
        for share, schedule in parts:
            if progress + ROUNDING < start + share:
                return schedule(max(progress - start, 0.0) / share)
            start += share
        return last(1.0)

    return scheduled


def flat_cos(peak: float, *, flat: float = 0.75, div_final: float = 1e5) -> Schedule:
    """`peak` for the share `flat` of training, then half a cosine down to `peak / div_final`.

    >>> [round(flat_cos(1e-2)(k / 8), 8) for k in range(8)]
    [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.00500005]
    """
    check_number("flat_cos: flat", flat, "[0, 1]")
    check_number("flat_cos: div_final", div_final, "(0, inf)")
    return sequence((flat, constant(peak)), (1 - flat, cosine(peak, peak / div_final)))


def sgdr(peak: float, n_cycles: int, *, cycle_mult: float = 2.0, floor: float = 0.0) -> Schedule:
    """Half a cosine from `peak` to `floor`, `n_cycles` times, each `cycle_mult` times as long as the previous one.

    Loshchilov, Hutter: SGDR, 2017.

    Raises:
        UsageError: no cycles, or a `cycle_mult` that is not above 0.

    >>> [round(sgdr(1e-2, 2)(k / 12), 8) for k in range(6)]
    [0.01, 0.00853553, 0.005, 0.00146447, 0.01, 0.0096194]
    """
    check_int("sgdr: n_cycles", n_cycles, 1)
    check_number("sgdr: cycle_mult", cycle_mult, "(0, inf)", expected="a number above 0")
    lengths = [float(cycle_mult**cycle) for cycle in range(n_cycles)]
    return sequence(*((length / sum(lengths), cosine(peak, floor)) for length in lengths))


def one_cycle(peak: float, *, warm_up: float = 0.25, div: float = 25.0, div_final: float = 1e5) -> Schedule:
    """Rise from `peak / div` to `peak` over `warm_up`, a share of training, then fall to `peak / div_final`.

    Smith, Topin: Super-convergence, 2018.

    >>> [round(one_cycle(1e-2)(k / 8), 8) for k in range(4)]
    [0.0004, 0.0052, 0.01, 0.00933013]
    """
    check_number("one_cycle: warm_up", warm_up, "[0, 1]")
    check_number("one_cycle: div", div, "(0, inf)")
    check_number("one_cycle: div_final", div_final, "(0, inf)")
    return sequence((warm_up, cosine(peak / div, peak)), (1 - warm_up, cosine(peak, peak / div_final)))


def one_cycle_momentum(high: float, low: float, *, warm_up: float = 0.25) -> Schedule:
    """The mirror image of `one_cycle`: from `high` down to `low` while the rate rises, for `warm_up`, and back.

    >>> [round(one_cycle_momentum(0.95, 0.85)(k / 8), 6) for k in range(4)]
    [0.95, 0.9, 0.85, 0.856699]
    """
    return sequence((warm_up, cosine(high, low)), (1 - warm_up, cosine(low, high)))
