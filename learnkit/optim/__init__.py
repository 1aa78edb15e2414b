"""Optimizers, layer groups and schedules."""

from learnkit.optim.build import build_optimizer
from learnkit.optim.groups import freeze_groups, parameter_groups, spread_rates
from learnkit.optim.optimizers import OPTIMIZERS, make_optimizer
from learnkit.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    flat_cos,
    linear,
    one_cycle,
    polynomial,
    sequence,
    sgdr,
)

__all__ = [
    "OPTIMIZERS",
    "Schedule",
    "build_optimizer",
    "constant",
    "cosine",
    "exponential",
    "flat_cos",
    "freeze_groups",
    "linear",
    "make_optimizer",
    "one_cycle",
    "parameter_groups",
    "polynomial",
    "sequence",
    "sgdr",
    "spread_rates",
]
