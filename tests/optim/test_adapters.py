"""What an adapter froze stays frozen; everything else is frozen and trained by layer group."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from learnkit.optim.adapters import held_by_adapters
from learnkit.optim.groups import freeze_groups


class Wrapped(nn.Module):
    """LoRA as it is often written by hand: two trained matrices around a frozen layer."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(1, 2)), nn.Parameter(torch.zeros(2, 1))


class Named(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_A, self.lora_B = nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False)


class Peft(nn.Module):
    """A layer with the attribute that PEFT's layers have."""

    adapter_layer_names = ("down",)

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base.requires_grad_(False)
        self.down = nn.Linear(2, 2)


class Delta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(2, 2))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.a


def parametrized(base: nn.Linear) -> nn.Module:
    base.requires_grad_(False)
    parametrize.register_parametrization(base, "weight", Delta())
    return base


MAKERS: list[Callable[[nn.Linear], nn.Module]] = [Wrapped, Named, Peft, parametrized]


@pytest.mark.parametrize("make", MAKERS)
def test_freezing_and_unfreezing_leave_the_layer_of_an_adapter_frozen(make: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), make(nn.Linear(2, 2)), nn.Linear(2, 2))
    groups: list[nn.Module] = [nn.Sequential(model[0], model[1]), model[2]]
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    frozen: list[nn.Parameter] = []
    for n in (0, -1, -1, 0, 1, 0):
        frozen = freeze_groups(groups, n, held=held_by_adapters(model, frozen))
        now = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        assert now == (trains if n == 0 else {name: name.startswith("2.") for name in trains})


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_model_without_adapters_has_nothing_held(by_hand: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    if by_hand:
        model[0].requires_grad_(False)
    assert held_by_adapters(model, []) == set()


def test_a_class_token_beside_a_frozen_body_is_no_adapter() -> None:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 2))
            self.body = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).requires_grad_(False)

    assert held_by_adapters(Transformer(), []) == set()
