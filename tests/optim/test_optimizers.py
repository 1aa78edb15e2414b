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
    decay_of,
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
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.99), "eps": 1e-5, "weight_decay": 0.01}),
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}),
        ("sgd", torch.optim.SGD, {"momentum": 0, "weight_decay": 0}),
        ("rmsprop", torch.optim.RMSprop, {"alpha": 0.99, "weight_decay": 0}),
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


def test_the_decay_of_groups_that_decay() -> None:
    made = make_optimizer("adamw", groups(), 0.1)
    assert decay_of(made) == 0.01
    set_decay(made, [0.25, 0.25])
    assert decay_of(made) == 0.25
    set_decay(made, [0.5, 0.25])
    assert decay_of(made) == [0.5, 0.25]
    set_decay(made, None)
    assert [group["weight_decay"] for group in made.param_groups] == [0.5, 0.0, 0.25, 0.0]
    assert decay_of(make_optimizer("rmsprop", groups(), 0.1)) == 0.0


class SAM(torch.optim.SGD):
    """Asks for a closure when it steps, as published ones do."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is not None, "Sharpness Aware Minimization requires closure, but it was not provided"


class Calls(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure()


class TwoSteps(torch.optim.SGD):
    def first_step(self) -> None: ...
    def second_step(self) -> None: ...


def flat(make: Any) -> Any:
    """A factory over all parameters in one list."""
    return lambda groups, lr: make([p for group in groups for p in group["params"]], lr=lr)


LBFGS = [torch.optim.LBFGS, partial(torch.optim.LBFGS, max_iter=5), flat(torch.optim.LBFGS)]


@pytest.mark.parametrize("make", [*LBFGS, SAM, partial(SAM, momentum=0.9), Calls, TwoSteps])
def test_an_optimizer_that_needs_a_closure_is_refused(make: Any) -> None:
    with pytest.raises(UsageError, match=r"a step of \w+ computes the loss several times .* such as 'adamw'"):
        make_optimizer(make, groups(), 0.1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (torch.optim.Muon, "Muon only supports 2D parameters"),
        (partial(torch.optim.SGD, momentun=0.9), "unexpected keyword argument 'momentun'"),
        (partial(torch.optim.SGD, momentum=-1), "Invalid momentum value: -1"),
    ],
)
def test_a_factory_that_fails_is_refused_with_its_reason(make: Any, reason: str) -> None:
    with pytest.raises(
        UsageError, match=rf"opt_func: (Muon|SGD) cannot be made over the parameters of this model \(.*{reason}"
    ):
        make_optimizer(make, groups(), 0.1)


def test_an_optimizer_without_a_rate_is_refused() -> None:
    class Fixed(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

        def step(self, closure: Any = None) -> None: ...  # type: ignore[override]

    with pytest.raises(UsageError, match=r"Fixed has groups without a rate.*Add lr to the defaults"):
        make_optimizer(Fixed, groups(), 0.1)


def test_an_optimizer_that_is_made_or_has_trained_is_refused() -> None:
    made = torch.optim.SGD(groups(), 0.1, momentum=0.9)
    with refused("opt_func", got="an optimizer that is already made, SGD"):
        make_optimizer(made, groups(), 0.1)  # type: ignore[arg-type]
    assert make_optimizer(lambda groups: made, groups(), 0.1) is made
    made.param_groups[0]["params"][0].grad = torch.ones(2, 2)
    made.step()
    with pytest.raises(UsageError, match=r"SGD that has trained before.*Make a new one in each call"):
        make_optimizer(lambda groups: made, groups(), 0.1)


def test_groups_of_a_factory_are_numbered_and_those_without_decay_beside_others_do_not_decay() -> None:
    first, second, third = (list(nn.Linear(2, 2).parameters()) for _ in range(3))
    own = [{"params": first, "weight_decay": 0.1}, {"params": second, "weight_decay": 0.0}, {"params": third}]
    made = make_optimizer(lambda groups: torch.optim.SGD(own, weight_decay=0.2), groups(), 0.1)
    assert [(g["layer_group"], g["decays"], g["is_own"]) for g in made.param_groups] == [
        (0, True, True),
        (1, False, True),
        (2, True, True),
    ]
    made = make_optimizer(lambda groups: torch.optim.SGD([{"params": first}]), groups(), 0.1)
    assert made.param_groups[0]["decays"]


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_may_begin_after_steps_without(name: str) -> None:
    made = make_optimizer(name, groups(), 0.1)
    for momentum in (0.0, 0.5, 0.5, 0.0, 0.9):
        set_momentum(made, momentum)
        for group in made.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        made.step()
    assert all(torch.isfinite(p).all() for group in made.param_groups for p in group["params"])
    if name == "rmsprop":  # one step with gradients of 1: its mean square is 0.01, so a step is 10 times the rate
        parameter = nn.Parameter(torch.zeros(1))
        made = make_optimizer(name, [{"params": [parameter], "layer_group": 0, "decays": False}], 0.1)
        parameter.grad = torch.ones(1)
        made.step()
        assert parameter.item() == pytest.approx(-1.0, rel=1e-4)
        set_momentum(made, 0.5)
        made.step()  # the buffer starts at rest: 0.5 * 0 + 1 / sqrt(0.0199)
        assert parameter.item() == pytest.approx(-1.0 - 0.1 / 0.0199**0.5, rel=1e-4)


def test_weight_decay_is_decoupled_in_the_default_optimizer() -> None:
    layer = nn.Linear(2, 2, bias=False)
    start = layer.weight.detach().clone()
    made = make_optimizer("adamw", parameter_groups([layer]), 0.1)
    set_decay(made, [0.5])
    layer.weight.grad = torch.zeros(2, 2)
    made.step()
    torch.testing.assert_close(layer.weight.detach(), start * (1 - 0.1 * 0.5))
