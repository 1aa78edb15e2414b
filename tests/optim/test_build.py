"""The optimizer of a model and its loss: what it holds, what is refused, and what is kept when layers change."""

from typing import Any

import pytest
import torch
from torch import nn

from learnkit.errors import UsageError
from learnkit.optim.build import build_optimizer, holds_trained, own_parameters
from learnkit.optim.kept import carry_over


class Temperature(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.model = model


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))


def build(model: nn.Module, opt_func: Any = "adamw", loss: object = None, **options: Any) -> torch.optim.Optimizer:
    return build_optimizer(opt_func, model, list(model.children()), loss, lr=0.1, **options)


def held(optimizer: torch.optim.Optimizer) -> list[int]:
    return [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_the_parameters_of_a_loss_have_groups_of_their_own_and_the_rate_of_the_head() -> None:
    model, loss = network(), Temperature()
    made = build(model, loss=loss)
    assert [group["layer_group"] for group in made.param_groups] == [0, 0, 1, 1, 1]
    assert made.param_groups[-1]["params"] == [loss.scale]
    assert not made.param_groups[-1]["decays"]
    assert own_parameters(model, loss) == [loss.scale]
    assert own_parameters(model, Temperature(model))[0].shape == ()
    assert len(own_parameters(model, Temperature(model))) == 1, "the model within a loss is not the loss's"
    assert own_parameters(model, nn.functional.cross_entropy) == []


def test_a_loss_joins_the_groups_of_a_factory_too() -> None:
    model, loss = network(), Temperature()
    made = build(model, lambda groups, lr: torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5), loss)
    assert made.param_groups[1]["params"] == [loss.scale]
    assert {key: made.param_groups[1][key] for key in ("lr", "momentum", "layer_group")} == {
        "lr": 0.1,
        "momentum": 0.5,
        "layer_group": 0,
    }


def test_parameters_that_a_factory_leaves_out_are_refused_unless_they_are_frozen() -> None:
    model = network()

    def head_only(groups: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(model[1].parameters())

    with pytest.raises(UsageError, match=r"that want gradients are in none of its groups: 0\.weight, 0\.bias\. Add"):
        build(model, head_only)
    model[0].requires_grad_(False)
    assert held(build(model, head_only)) == [id(parameter) for parameter in model[1].parameters()]


def test_an_optimizer_of_another_model_is_refused() -> None:
    model, other = network(), network()
    with pytest.raises(UsageError, match="parameters of another model"):
        build(model, lambda groups: torch.optim.SGD([*model.parameters(), *other.parameters()]))


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to train"):
        build_optimizer("adamw", nn.ReLU(), [nn.ReLU()], Temperature(), lr=0.1)


def test_what_trains_is_compared_with_what_an_optimizer_holds() -> None:
    model, loss = network(), Temperature()
    made = build(model, loss=loss)
    assert holds_trained(made, model, loss)
    assert not holds_trained(made, model, None)
    assert not holds_trained(made, model, Temperature())
    model[0].requires_grad_(False)
    assert holds_trained(made, model, loss)
    model[1] = nn.Linear(3, 2)
    assert not holds_trained(made, model, loss)
    model[1] = nn.Identity()
    assert not holds_trained(made, model, loss)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", ["adamw", "adam", "rmsprop"])
def test_what_stays_keeps_its_state_in_the_order_of_the_model(place: int, name: str) -> None:
    model = network()
    made = build(model, name)
    step(model, made)
    stays = model[1 - place].weight
    moments = made.state[stays]
    model[place] = nn.Linear(*reversed(model[place].weight.shape))
    again = build(model, name)
    carry_over(made, again)
    assert again is not made
    assert again.state[stays] is moments
    assert set(map(id, again.state)) == {id(parameter) for parameter in model[1 - place].parameters()}
    assert held(again) == held(build(model, name)), "so that a saved state fits a learner made later"


def test_decay_is_exempt_by_the_conventions_of_models() -> None:
    class Encoder(nn.Sequential):
        def no_weight_decay(self) -> set[str]:
            return {"0.weight", "not there"}

    model = nn.Sequential(Encoder(nn.Linear(2, 3), nn.Linear(3, 3)), nn.Linear(3, 2))
    model[1].weight._no_weight_decay = True  # type: ignore[attr-defined]
    made = build(model)
    decaying = [id(p) for group in made.param_groups if group["decays"] for p in group["params"]]
    assert decaying == [id(model[0][1].weight)]
