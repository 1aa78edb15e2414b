"""The tensors of a model: copied, and set in place, for every kind of tensor that a model may hold."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from learnkit.training.weights import WeightsBackup, are_finite, copied, extra_state, set_tensors, tensors_of


def test_a_backup_holds_parameters_and_all_buffers_and_restores_in_place() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("hidden", torch.ones(1), persistent=False)
    assert tensors_of(model).keys() == {*model.state_dict(), "hidden"}
    kept = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
    places = [tensor.data_ptr() for tensor in tensors_of(model).values()]
    backup = WeightsBackup(model)
    model(torch.randn(4, 2)).sum().backward()
    with torch.no_grad():
        for tensor in tensors_of(model).values():
            tensor.add_(1)
    backup.restore(model)
    assert all(torch.equal(kept[name], tensor) for name, tensor in tensors_of(model).items())
    assert [tensor.data_ptr() for tensor in tensors_of(model).values()] == places
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_only_parameters_that_are_trained_have_to_be_finite(value: float) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.register_buffer("mask", torch.tensor([value]))
    assert are_finite(model)
    with torch.no_grad():
        model[1].bias[1] = value
    assert not are_finite(model)
    model[1].bias.requires_grad_(False)
    assert are_finite(model)
    assert are_finite(nn.ReLU())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_weights_whose_sum_overflows_are_finite(dtype: torch.dtype) -> None:
    model = nn.Linear(4, 1).to(dtype)
    with torch.no_grad():
        model.weight.fill_(torch.finfo(dtype).max)
        assert are_finite(model)
        model.weight[0, :2] = torch.tensor([float("inf"), -float("inf")])
    assert not are_finite(model)


class TakesShape(nn.Module):
    """Its buffer has the shape of the first input, as an observer of quantization's."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.tensor([]))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.detach().clone()
        return x


class Counts(nn.Module):
    """Keeps a number outside of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = {"calls": 0}

    def get_extra_state(self) -> Any:
        return self.kept

    def set_extra_state(self, state: Any) -> None:
        self.kept = state

    def forward(self, x: Tensor) -> Tensor:
        self.kept["calls"] += 1
        return x


class Expanded(nn.Module):
    """Its buffer is one row that is shown three times."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("position", torch.full((1, 2), value).expand(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.position[0]


def weight_norm() -> nn.Module:
    return nn.utils.weight_norm(nn.Linear(2, 2))


def spectral_norm() -> nn.Module:
    return nn.utils.spectral_norm(nn.Linear(2, 2))


def pruned() -> nn.Module:
    layer = nn.Linear(2, 2)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


class KeepsOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.layer(x)
        return self.last


pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
MAKERS = [
    lambda: nn.BatchNorm1d(2), TakesShape, Counts, Expanded, weight_norm, spectral_norm, pruned, KeepsOutput,
    lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_a_backup_restores_every_kind_of_layer(make: Callable[[], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), make())
    tensors = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
    extra = copy.deepcopy(extra_state(model))
    backup = WeightsBackup(model)
    for _ in range(2):
        model(torch.randn(4, 2)).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(1)
        backup.restore(model)
        assert tensors_of(model).keys() == tensors.keys()
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in tensors_of(model).items())
        assert extra_state(model) == extra


@pytest.mark.parametrize("make", MAKERS)
def test_a_model_is_copied_after_it_ran(make: Callable[[], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), make())
    x = torch.randn(4, 2)
    model(x).sum().backward()
    model.eval()
    other = copied(model)
    assert torch.equal(other(x), model(x))
    with torch.no_grad():
        other[0].weight.add_(1)
    assert not torch.equal(other[0].weight, model[0].weight)


def test_a_buffer_with_shared_memory_is_replaced_only_if_its_value_changes() -> None:
    layer = Expanded()
    before = layer.position
    set_tensors(layer, {"position": torch.ones(3, 2)})
    assert layer.position is before
    value = torch.arange(6.0).reshape(3, 2)
    set_tensors(layer, {"position": value})
    assert torch.equal(layer.position, value)
    assert layer.position is not value


def test_names_without_a_value_are_unchanged() -> None:
    layer = nn.Linear(2, 2)
    bias = layer.bias.detach().clone()
    set_tensors(layer, {"weight": torch.ones(2, 2), "other": torch.ones(1)})
    assert torch.equal(layer.weight, torch.ones(2, 2))
    assert torch.equal(layer.bias, bias)


def test_the_extra_state_has_its_name_in_the_state_dict() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Counts())
    assert extra_state(model) == {"1._extra_state": {"calls": 0}}
    assert extra_state(Counts()) == {"_extra_state": {"calls": 0}}
    assert model.state_dict()["1._extra_state"] == {"calls": 0}
