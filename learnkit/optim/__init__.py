"""Optimizers, layer groups and schedules."""

from learnkit.optim.groups import freeze_groups, parameter_groups, spread_rates
from learnkit.optim.optimizers import OPTIMIZERS, make_optimizer
from learnkit.optim.schedules import Schedule, constant, cosine, exponential, linear, one_cycle, sequence

__all__ = [
    "OPTIMIZERS",
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "freeze_groups",
    "linear",
    "make_optimizer",
    "one_cycle",
    "parameter_groups",
    "sequence",
    "spread_rates",
]
