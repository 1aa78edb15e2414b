"""A dry run restores weights, modes and generators, also after an error."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from learnkit.training.dry_run import dry_run


def own(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DATA = TensorDataset(torch.zeros(4, 2))


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(DATA, generator=own(1)),
        DataLoader(DATA, sampler=RandomSampler(DATA, generator=own(2))),
        DataLoader(DATA, batch_sampler=BatchSampler(RandomSampler(DATA, generator=own(3)), 2, drop_last=False)),
    ],
    ids=["loader", "sampler", "batch sampler"],
)
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_everything_is_restored(loader: Any, error: type[BaseException] | None) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    model[0].eval()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    upcoming = [random.random(), np.random.rand(), torch.rand(()).item()]
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    generators = [g for g in (loader.generator, getattr(loader.sampler, "generator", None)) if g is not None]
    states = [generator.get_state() for generator in generators]
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    try:
        with dry_run(model, loader):
            model.train()
            model(torch.randn(8, 2)).sum().backward()
            random.random(), np.random.rand()
            batches = list(loader)
            if error is not None:
                raise error
    except KeyboardInterrupt:
        pass
    assert batches
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [module.training for module in model] == [False, True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [random.random(), np.random.rand(), torch.rand(()).item()] == upcoming
    assert all(torch.equal(a, g.get_state()) for a, g in zip(states, generators, strict=True))


def test_the_generator_of_a_batch_sampler_is_restored() -> None:
    sampler = BatchSampler(RandomSampler(DATA, generator=own(3)), 2, drop_last=False)
    sampler.generator = own(4)  # type: ignore[attr-defined]
    before = sampler.generator.get_state()  # type: ignore[attr-defined]
    with dry_run(nn.Linear(2, 2), DataLoader(DATA, batch_sampler=sampler)):
        torch.rand(1, generator=sampler.generator)  # type: ignore[attr-defined]
    assert torch.equal(before, sampler.generator.get_state())  # type: ignore[attr-defined]
