"""Two pairs of a model and its optimizer, brought up to date with each other; sharded ones are in the matrix."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Adam, Optimizer

from learnkit.errors import UsageError
from learnkit.training.whole import Whole


class Counts(nn.Linear):
    """Keeps a number besides its tensors."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.n = 0

    def get_extra_state(self) -> Any:
        return self.n

    def set_extra_state(self, state: Any) -> None:
        self.n = state


def pair() -> tuple[nn.Sequential, Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), Counts())
    groups = [{"params": list(model[:2].parameters())}, {"params": list(model[2].parameters()), "lr": 0.5}]
    return model, Adam(groups, lr=0.1, foreach=False)


def step(model: nn.Module, optimizer: Optimizer) -> None:
    model(torch.arange(12.0).view(4, 3).cos()).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def both() -> tuple[Whole, nn.Sequential, Optimizer]:
    (model, optimizer), (other, of_other) = pair(), pair()
    return Whole(model, optimizer, other, of_other), other, of_other


def test_what_is_gathered_continues_as_the_original() -> None:
    whole, model, optimizer = both()
    step(model, optimizer)
    model[2].n = 5
    model[0].requires_grad_(False)
    model[1].eval()
    optimizer.param_groups[1] |= {"lr": 0.25, "foreach": True}
    whole.gather()
    torch.testing.assert_close(whole.model.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert whole.model[2].n == 5
    assert [p.requires_grad for p in whole.model.parameters()] == [False, False, True, True, True, True]
    assert [module.training for module in whole.model] == [True, False, True]
    settings = whole.optimizer.param_groups[1]
    assert (settings["lr"], settings["foreach"]) == (0.25, False)  # how it is computed is its own
    step(whole.model, whole.optimizer)
    step(model, optimizer)
    torch.testing.assert_close(whole.model.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_state_of_fused_steps_gets_the_layout_of_its_parameter() -> None:
    """Such steps walk through both side by side."""
    model, other = (nn.Sequential(nn.Conv2d(3, 4, 2)) for _ in range(2))
    model.to(memory_format=torch.channels_last)
    optimizers = [Adam(part.parameters(), lr=0.1, fused=part is model) for part in (model, other)]
    other(torch.ones(2, 3, 4, 4)).square().mean().backward()
    optimizers[1].step()
    Whole(model, optimizers[0], other, optimizers[1]).gather()
    (moment, *_), weight = (optimizers[0].state[p]["exp_avg"] for p in model.parameters()), model[0].weight
    assert weight.stride() != other[0].weight.stride()
    assert moment.stride() == weight.stride()
    assert moment.equal(optimizers[1].state[other[0].weight]["exp_avg"])


def test_what_is_shared_out_continues_too_and_nothing_is_shared_in_memory() -> None:
    whole, model, optimizer = both()
    step(whole.model, whole.optimizer)
    whole.share_out()
    kept = copy.deepcopy((whole.model.state_dict(), whole.optimizer.state_dict()))
    step(model, optimizer)
    assert model[0].weight.ne(whole.model[0].weight).any()
    torch.testing.assert_close((whole.model.state_dict(), whole.optimizer.state_dict()), kept, rtol=0, atol=0)
    step(whole.model, whole.optimizer)
    torch.testing.assert_close(whole.model.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_the_weights_alone() -> None:
    whole, _, optimizer = both()
    step(whole.model, whole.optimizer)
    whole.share_out(with_optimizer=False)
    assert not optimizer.state


def test_an_optimizer_without_state_leaves_none() -> None:
    whole, _, _ = both()
    step(whole.model, whole.optimizer)
    whole.gather()
    assert not whole.optimizer.state


def test_parameters_are_found_by_name_in_any_order() -> None:
    model, optimizer = pair()
    other, _ = pair()
    turned = [{"params": list(other[:2].parameters())[::-1]}, {"params": list(other[2].parameters())[::-1]}]
    whole = Whole(model, optimizer, other, Adam(turned, lr=0.1))
    step(other, whole._of_sharded)
    whole.gather()
    names = {id(p): name for name, p in model.named_parameters()}
    moments = {names[id(p)]: state["exp_avg"].shape for p, state in whole.optimizer.state.items()}
    assert moments == {name: p.shape for name, p in model.named_parameters()}


def test_other_groups_are_refused() -> None:
    model, optimizer = pair()
    other, _ = pair()
    with pytest.raises(UsageError, match="opt_func makes other groups"):
        Whole(model, optimizer, other, Adam(other.parameters()))
