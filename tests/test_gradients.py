"""Gradients of all that an optimizer trains; tests/test_device.py has the steps."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from learnkit.gradients import clip_gradients, divided, drop_gradients, multiply_gradients, reweigh, take_step
from learnkit.optim.build import build_optimizer
from tests.doubles import Ops


def trained() -> tuple[nn.Linear, nn.Parameter, torch.optim.SGD]:
    """A model and a parameter of its loss, with gradients (3, 4) and (12)."""
    model, own = nn.Linear(2, 1, bias=False), nn.Parameter(torch.ones(1))
    model.weight.grad, own.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([12.0])
    return model, own, torch.optim.SGD([{"params": model.parameters()}, {"params": [own]}], 0.1)


@pytest.mark.parametrize("factor", [0.5, torch.tensor(0.5)])
def test_every_gradient_is_multiplied(factor: torch.Tensor | float) -> None:
    model, own, optimizer = trained()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})  # without a gradient
    multiply_gradients(optimizer, factor)
    assert model.weight.grad is not None
    assert own.grad is not None
    assert (model.weight.grad.tolist(), own.grad.tolist()) == ([[1.5, 2.0]], [6.0])


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(
    ("weight", "expected"), [(4, [3, 4, 12]), (2, [6, 8, 24]), (1, [12, 16, 48]), (8, [1.5, 2, 6])]
)
def test_gradients_divided_by_an_assumed_weight_are_divided_by_the_real_one(
    as_tensor: bool, weight: float, expected: list[float]
) -> None:
    model, own, optimizer = trained()
    reweigh(optimizer, 4, torch.tensor(weight) if as_tensor else weight)
    assert model.weight.grad is not None
    assert own.grad is not None
    assert [*model.weight.grad[0].tolist(), own.grad.item()] == expected


@pytest.mark.parametrize("weight", [0, torch.tensor(0), torch.tensor(0.0)])
def test_gradients_of_no_weight_stay_zero(weight: torch.Tensor | float) -> None:
    model, _, optimizer = trained()
    multiply_gradients(optimizer, 0.0)
    reweigh(optimizer, 4, weight)
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[0, 0]]


def test_gradients_are_divided_inside_alone_also_after_an_error() -> None:
    model, _, optimizer = trained()
    with pytest.raises(KeyError), divided(optimizer, 4.0):  # noqa: PT012
        assert model.weight.grad is not None
        assert model.weight.grad.tolist() == [[0.75, 1]]
        raise KeyError
    assert model.weight.grad.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("norm", "kind", "value", "expected"),
    [
        (None, 2.0, None, [3, 4, 12]),
        (6.5, 2.0, None, [1.5, 2, 6]),  # of 13
        (100.0, 2.0, None, [3, 4, 12]),
        (6.0, float("inf"), None, [1.5, 2, 6]),  # of 12
        (None, 2.0, 3.5, [3, 3.5, 3.5]),
        (6.5, 2.0, 1.75, [1.5, 1.75, 1.75]),
    ],
)
def test_the_model_and_the_loss_are_clipped_together(
    norm: float | None, kind: float, value: float | None, expected: list[float]
) -> None:
    model, own, optimizer = trained()
    clip_gradients(optimizer, model, norm, kind, value)
    assert model.weight.grad is not None
    assert own.grad is not None
    assert [*model.weight.grad[0].tolist(), own.grad.item()] == pytest.approx(expected, rel=1e-5)


def test_gradients_are_dropped_as_the_optimizer_does_it() -> None:
    model, own, optimizer = trained()
    drop_gradients(optimizer)
    assert model.weight.grad is own.grad is None
    dropped = list[str]()
    optimizer.zero_grad = lambda set_to_none=True: dropped.append("its own")  # type: ignore[method-assign]
    drop_gradients(optimizer)

    class Own(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            dropped.append("of its class")

    drop_gradients(Own([own], 0.1))
    assert dropped == ["its own", "of its class"]


MOMENTUM = partial(torch.optim.SGD, momentum=0.9)


def in_groups(opt_func: Any, decay: float = 0.0) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    """A network of two layer groups, weights and biases apart: four groups of its optimizer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = build_optimizer(opt_func, model, list(model), None, lr=0.1)
    for group in optimizer.param_groups:
        group["weight_decay"] = decay if group["decays"] else 0.0
    return model, optimizer


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, step: Any, n: int = 3) -> list[list[float]]:
    for k in range(n):
        model(torch.full((2, 3), 1.0 + k)).square().sum().backward()
        step(optimizer)
        optimizer.zero_grad()
    return [parameter.flatten().tolist() for parameter in model.parameters()]


def n_fused(optimizer: torch.optim.Optimizer, model: nn.Module) -> int:
    """How many fused kernels a step is."""
    model(torch.ones(2, 3)).sum().backward()
    with Ops() as ops:
        take_step(optimizer)
    return sum(len(ops.named(f"_fused_{kind}_")) for kind in ("sgd", "adam", "adamw", "adagrad"))


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    "opt_func", [torch.optim.SGD, MOMENTUM, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad]
)
def test_groups_with_the_same_settings_take_one_step_to_the_same_bits(opt_func: Any, decay: float) -> None:
    model, optimizer = in_groups(opt_func, decay)
    groups = [(id(group), [id(parameter) for parameter in group["params"]]) for group in optimizer.param_groups]
    other, apart = in_groups(opt_func, decay)
    assert stepped(model, optimizer, take_step) == stepped(other, apart, lambda each: each.step())
    assert groups == [(id(group), [id(parameter) for parameter in group["params"]]) for group in optimizer.param_groups]
    ours, theirs = optimizer.state_dict(), apart.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert [str(ours["state"].get(k)) for k in range(4)] == [str(theirs["state"].get(k)) for k in range(4)]
    assert n_fused(optimizer, model) == (2 if decay else 1)
    optimizer.param_groups[0]["lr"] = 0.01
    assert n_fused(optimizer, model) == (3 if decay else 2)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many groups each step of Adam was given."""
    plain, numbers = torch.optim.Adam.step, list[int]()

    def step(self: torch.optim.Adam) -> None:
        numbers.append(len(self.param_groups))
        plain(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    return numbers


def test_groups_of_one_kind_are_one(seen: list[int]) -> None:
    model, optimizer = in_groups(torch.optim.Adam)
    stepped(model, optimizer, take_step, 1)
    assert seen == [1]


@pytest.mark.parametrize("register", [register_optimizer_step_pre_hook, register_optimizer_step_post_hook])
def test_groups_step_apart_where_a_hook_of_all_optimizers_sees_them(register: Any, seen: list[int]) -> None:
    model, optimizer = in_groups(torch.optim.Adam)
    registered = register(lambda own, args, kwargs: seen.append(len(own.param_groups)))
    stepped(model, optimizer, take_step, 1)
    registered.remove()
    assert len(seen) > 1  # the hook's and the step's
    assert set(seen) == {4}
    seen.clear()
    stepped(model, optimizer, take_step, 1)
    assert seen == [1]


@pytest.mark.parametrize("kind", ["not fused", "a hook", "a list", "its own class", "its own step"])
def test_groups_step_apart_where_that_could_be_seen(kind: str, seen: list[int]) -> None:
    """It is not torch's fused step, a hook of the user is called, or betas cannot be compared."""
    model, optimizer = in_groups(partial(torch.optim.Adam, foreach=False) if kind == "not fused" else torch.optim.Adam)
    if kind == "a hook":
        optimizer.register_step_post_hook(lambda own, args, kwargs: seen.append(len(own.param_groups)))
    if kind == "its own step":  # one that is compiled would be compiled again for other groups
        plain = optimizer.step
        optimizer.step = lambda: plain()  # type: ignore[method-assign]
    if kind == "a list":
        for group in optimizer.param_groups:
            group["betas"] = [0.9, 0.999]
    if kind == "its own class":
        optimizer.__class__ = type("Own", (torch.optim.Adam,), {})
    stepped(model, optimizer, take_step, 1)
    assert set(seen) == {4}


def test_groups_are_as_before_after_a_step_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = in_groups(torch.optim.SGD)
    before = copy.copy(optimizer.param_groups)

    def fails(self: torch.optim.SGD) -> None:
        assert len(self.param_groups) == 1
        raise KeyError

    monkeypatch.setattr(torch.optim.SGD, "step", fails)
    with pytest.raises(KeyError):
        stepped(model, optimizer, take_step, 1)
    assert optimizer.param_groups == before


def test_a_rate_that_is_a_tensor_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = in_groups(torch.optim.Adam)[1]
    one, other = torch.tensor(0.1), torch.tensor(0.1)
    for group, rate in zip(optimizer.param_groups, (one, one, one, other), strict=True):
        group["lr"] = rate
    seen = list[int]()
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: seen.append(len(self.param_groups)))
    with Ops() as ops:
        take_step(optimizer)
    assert seen == [2]
    assert not ops.named("_local_scalar_dense")
