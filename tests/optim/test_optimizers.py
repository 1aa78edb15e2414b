"""Optimizers by name are torch's own; factories are called with the arguments they accept."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.errors import UsageError
from learnkit.optim.groups import parameter_groups
from learnkit.optim.optimizers import (
    OPTIMIZERS,
    Settings,
    make_optimizer,
    momentum_of,
    set_decay,
    set_learning_rates,
    set_momentum,
)
from tests.doubles import refused


def groups() -> list[dict[str, Any]]:
    return parameter_groups([nn.Linear(2, 2), nn.Linear(2, 2)])


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.99), "eps": 1e-5}),
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ("sgd", torch.optim.SGD, {"momentum": 0}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.99}),
    ],
)
def test_names_are_torchs_classes(name: str, kind: type, settings: dict[str, Any]) -> None:
    made = make_optimizer(name.upper(), groups(), 0.1)
    assert type(made) is kind
    assert {key: made.param_groups[0][key] for key in settings} == settings
    assert name in OPTIMIZERS


def test_a_factory_gets_the_rate_where_it_takes_one() -> None:
    def takes_no_rate(params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=7.0)

    assert make_optimizer(torch.optim.Adagrad, groups(), 0.5).param_groups[0]["lr"] == 0.5
    assert make_optimizer(partial(torch.optim.SGD, momentum=0.9), groups(), 0.5).param_groups[0]["lr"] == 0.5
    assert (
        make_optimizer(lambda params, **kw: torch.optim.SGD(params, **kw), groups(), 0.5).param_groups[0]["lr"] == 0.5
    )
    assert make_optimizer(takes_no_rate, groups(), 0.5).param_groups[0]["lr"] == 7.0


@pytest.mark.parametrize("bad", ["adamww", 3, None])
def test_what_is_not_an_optimizer_is_refused(bad: Any) -> None:
    with refused("opt_func", got=bad):
        make_optimizer(bad, groups(), 0.1)
    with refused("opt_func", got="sgd", expected="a factory that returns a torch.optim.Optimizer"):
        make_optimizer(lambda params: "sgd", groups(), 0.1)  # type: ignore[arg-type, return-value]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"opt_func: got 'adamww', expected one of adamw, adam, .*, or a factory"):
        make_optimizer("adamww", groups(), 0.1)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(UsageError, match="the model has no parameters"):
        make_optimizer("adamw", [], 0.1)


def test_rates_and_decay_go_to_their_groups() -> None:
    made = make_optimizer("sgd", groups(), 0.1)
    set_learning_rates(made, [1e-3, 1e-2])
    set_decay(made, [0.1, 0.2])
    assert [group["lr"] for group in made.param_groups] == [1e-3, 1e-3, 1e-2, 1e-2]
    assert [group["weight_decay"] for group in made.param_groups] == [0.1, 0.0, 0.2, 0.0]


def test_momentum_has_one_name_for_all() -> None:
    for name, start in (("adamw", 0.9), ("sgd", 0.0), ("rmsprop", 0.0)):
        made = make_optimizer(name, groups(), 0.1)
        assert momentum_of(made) == start
        set_momentum(made, 0.8)
        assert momentum_of(made) == 0.8
    assert [group["momentum"] for group in made.param_groups] == [0.8] * 4
    made = make_optimizer("adamw", groups(), 0.1)
    set_momentum(made, 0.8)
    assert [group["betas"] for group in made.param_groups] == [(0.8, 0.99)] * 4
    assert momentum_of(make_optimizer(torch.optim.Adagrad, groups(), 0.1)) is None


def test_settings_are_restored() -> None:
    made = make_optimizer("adamw", groups(), 0.1)
    settings = Settings(made)
    set_momentum(made, 0.5)
    set_learning_rates(made, [1.0, 2.0])
    settings.restore(made)
    assert momentum_of(made) == 0.9
    assert [group["lr"] for group in made.param_groups] == [0.1] * 4


def test_weight_decay_is_decoupled_in_the_default_optimizer() -> None:
    layer = nn.Linear(2, 2, bias=False)
    start = layer.weight.detach().clone()
    made = make_optimizer("adamw", parameter_groups([layer]), 0.1)
    set_decay(made, [0.5])
    layer.weight.grad = torch.zeros(2, 2)
    made.step()
    torch.testing.assert_close(layer.weight.detach(), start * (1 - 0.1 * 0.5))
