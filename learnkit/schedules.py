"""Schedules for `GeneralScheduler`: pure functions of progress in [0, 1]."""

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
