"""Layer groups: rates, decay, freezing, counted on a real network."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from learnkit.optim.groups import (
    check_groups,
    freeze_groups,
    is_positive,
    parameter_groups,
    spread_decay,
    spread_rates,
    undecayed,
)
from tests.doubles import refused


def test_rates_of_three_groups() -> None:
    assert spread_rates(slice(1e-5, 1e-3), 3) == pytest.approx([1e-5, 1e-4, 1e-3], rel=1e-12)
    assert spread_rates(slice(1e-3), 3) == pytest.approx([1e-4, 1e-4, 1e-3])
    assert spread_rates(slice(0, 1e-3), 3) == pytest.approx([1e-4, 1e-4, 1e-3])
    assert spread_rates(3, 3) == [3.0, 3.0, 3.0]
    assert spread_rates([1, 2, 3], 3) == [1.0, 2.0, 3.0]
    assert spread_rates((0.1, 0.2), 2) == [0.1, 0.2]


def test_rates_of_one_group() -> None:
    assert spread_rates(slice(1e-5, 1e-3), 1) == [1e-3]
    assert spread_rates(slice(1e-3), 1) == [1e-3]


@pytest.mark.parametrize("lr", [0, -1, float("nan"), float("inf"), None, "x", True, slice(1e-3, -1), slice(-1e-3, 1)])
def test_rates_that_cannot_work_are_refused(lr: object) -> None:
    for given in (lr, [lr, lr]):
        with refused("lr", expected="finite rates above 0"):
            spread_rates(given, 2)  # type: ignore[arg-type]


def test_slices_and_lists_that_do_not_fit_the_groups_are_refused() -> None:
    for lr in (slice(None), slice(1e-3, None), slice(1, 2, 3)):
        with refused("lr", got=lr, expected="slice(stop) or slice(start, stop)"):
            spread_rates(lr, 2)
    with refused("lr", got=[1, 2], expected="3 rates, one per layer group, not 2"):
        spread_rates([1, 2], 3)


def test_rates_may_be_numbers_of_numpy() -> None:
    for kind in (np.float32, np.float64, np.int64):
        assert spread_rates([kind(2), kind(3)], 2) == [2.0, 3.0]
    assert type(spread_rates(np.float32(2), 1)[0]) is float  # type: ignore[arg-type]


def test_a_positive_number_is_finite_and_above_zero() -> None:
    assert all(is_positive(value) for value in (1, 1e-300, np.float32(2), np.int64(1)))
    assert not any(is_positive(value) for value in (0, -1, float("inf"), float("nan"), True, "1", None, [1]))


def test_decay_of_groups() -> None:
    assert spread_decay(0.1, 2) == [0.1, 0.1]
    assert spread_decay([0, 0.5], 2) == [0.0, 0.5]
    for bad in (-0.1, float("inf"), [0.1], [0.1, -1.0], [0.1, 0.2, 0.3], "x", "xy", None, True, False):
        with refused("wd", got=bad):
            spread_decay(bad, 2)  # type: ignore[arg-type]
    with refused("wd"):
        spread_decay(float("nan"), 2)


@pytest.fixture
def groups() -> list[nn.Module]:
    """resnet18 in three groups, with the head of cnn_learner for ten classes."""
    body = nn.Sequential(*list(torchvision.models.resnet18().children())[:-2])
    norm = nn.BatchNorm1d
    head = nn.Sequential(norm(1024), nn.Linear(1024, 512), norm(512), nn.Linear(512, 10))
    return [body[:6], body[6:], head]


def trainable(groups: list[nn.Module]) -> list[int]:
    return [sum(p.requires_grad for p in group.parameters()) for group in groups]


def test_each_group_has_a_part_that_decays_and_one_that_does_not(groups: list[nn.Module]) -> None:
    made = parameter_groups(groups)
    assert [len(group["params"]) for group in made] == [10, 20, 10, 20, 2, 6]
    assert [group["layer_group"] for group in made] == [0, 0, 1, 1, 2, 2]
    assert [group["decays"] for group in made] == [True, False] * 3
    assert all(p.ndim > 1 for group in made if group["decays"] for p in group["params"])
    everything = parameter_groups(groups, decay_norm_and_bias=True)
    assert [len(group["params"]) for group in everything] == [30, 30, 8]


def test_freezing_counts(groups: list[nn.Module]) -> None:
    freeze_groups(groups, -1)
    assert trainable(groups) == [20, 20, 8]
    freeze_groups(groups, 1)
    assert trainable(groups) == [20, 30, 8]
    freeze_groups(groups, -2)
    assert trainable(groups) == [20, 30, 8]
    freeze_groups(groups, -1, train_bn=False)
    assert trainable(groups) == [0, 0, 8]
    freeze_groups(groups, 0)
    assert trainable(groups) == [30, 30, 8]
    freeze_groups(groups, 3)
    assert trainable(groups) == [20, 20, 4]
    for n in (4, -4, 1.0, True):
        with refused("freeze_to", got=n, expected="an integer from -3 to 3, the number of layer groups"):
            freeze_groups(groups, n)  # type: ignore[arg-type]


def test_frozen_norm_layers_still_follow_the_data(groups: list[nn.Module]) -> None:
    freeze_groups(groups, -1, train_bn=False)
    norm = groups[0][1]  # type: ignore[index]
    before = norm.running_mean.clone()
    groups[0].train()(torch.rand(2, 3, 16, 16))
    assert not torch.equal(before, norm.running_mean)


def test_freezing_drops_old_gradients() -> None:
    parts = [nn.Linear(2, 2), nn.Linear(2, 2)]
    nn.Sequential(*parts)(torch.ones(1, 2)).sum().backward()
    freeze_groups(parts, 1)
    assert parts[0].weight.grad is None
    assert parts[1].weight.grad is not None


def test_groups_hold_each_parameter_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert check_groups(model, list(model)) == list(model)
    twice = "with a parameter in two groups, or of another model"
    for wrong, got in (
        ([model[0]], "without 1.bias, 1.weight"),
        ([model, model[0]], twice),
        ([model, nn.Linear(2, 2)], twice),
    ):
        with refused("layer groups", got=got):
            check_groups(model, wrong)


def test_a_model_may_exempt_nothing() -> None:
    model = nn.Linear(2, 2)
    model.no_weight_decay = lambda: None  # type: ignore[assignment]
    assert undecayed(model) == set()


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_arrays_and_tensors_are_rates_and_decays(kind: Any) -> None:
    assert spread_rates(kind([0.25, 0.5]), 2) == spread_decay(kind([0.25, 0.5]), 2) == [0.25, 0.5]
    assert spread_rates(kind(0.25), 2) == spread_decay(kind(0.25), 2) == [0.25, 0.25]
    with refused("lr", expected="3 rates, one per layer group, not 2"):
        spread_rates(kind([0.25, 0.5]), 3)
