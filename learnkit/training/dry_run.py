"""Dry runs: training that leaves weights, modes, gradients and random generators unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from learnkit.modes import preserve_modes
from learnkit.seeds import preserve_all_rng
from learnkit.training.weights import WeightsBackup

__all__ = ["dry_run"]


@contextmanager
def dry_run(model: nn.Module, loader: Any) -> Iterator[None]:
    """Restore everything a training run changes, whatever happens inside.

    Restored are parameters and buffers, each module's train or eval mode, Python's, NumPy's and torch's global
    generators, and the loader's own; gradients are dropped.
    """
    weights = WeightsBackup(model)
    generators = [(generator, generator.get_state()) for generator in _generators(loader)]
    try:
        with preserve_all_rng(), preserve_modes(model):
            yield
    finally:
        weights.restore(model)
        for generator, state in generators:
            generator.set_state(state)


def _generators(loader: Any) -> list[torch.Generator]:
    parts = (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
    found = [getattr(part, "generator", None) for part in parts]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
