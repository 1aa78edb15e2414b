"""Fused steps: where they are taken, that they compute the same, and layouts that would spoil them."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.optim.build import build_optimizer
from learnkit.optim.fused import is_sparse, load_state, match_gradients, match_state, takes_fused_steps
from learnkit.optim.optimizers import OPTIMIZERS
from tests.doubles import acting, linear_learner

MOMENTUM = partial(torch.optim.SGD, momentum=0.9)
FUSED: list[Any] = [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad, MOMENTUM]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).double()


def optimizer_of(opt_func: Any, model: nn.Module) -> torch.optim.Optimizer:
    return build_optimizer(opt_func, model, [model], None, lr=0.1)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, n: int = 1, start: int = 0) -> None:
    for k in range(start, start + n):
        torch.manual_seed(k)
        model(torch.rand(5, 3, 4, 4, dtype=torch.float64)).square().sum().backward()
        match_gradients(optimizer)
        optimizer.step()
        optimizer.zero_grad()


def assert_close(model: nn.Module, other: nn.Module) -> None:
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def is_fused(optimizer: torch.optim.Optimizer) -> bool:
    return all(group.get("fused") is True for group in optimizer.param_groups)


@pytest.mark.parametrize("opt_func", [*FUSED, "adamw", "adam", "sgd"])
def test_fused_steps_equal_those_of_torchs_default(opt_func: Any) -> None:
    model, other = network(), network()
    optimizer = optimizer_of(opt_func, model)
    make = OPTIMIZERS[opt_func] if isinstance(opt_func, str) else opt_func
    assert is_fused(optimizer)
    step(model, optimizer, 4)
    step(other, make(other.parameters(), lr=0.1, foreach=False), 4)
    assert_close(model, other)


@pytest.mark.parametrize(
    "opt_func",
    [
        torch.optim.RMSprop,
        partial(torch.optim.AdamW, fused=False),
        partial(torch.optim.AdamW, foreach=True),
        partial(torch.optim.AdamW, capturable=False),
        partial(torch.optim.SGD, momentum=0.9, dampening=0.1),
        lambda groups, lr: torch.optim.AdamW(groups, lr=lr),
        type("Own", (torch.optim.AdamW,), {}),
    ],
)
def test_other_factories_and_given_implementations_stay_as_they_are(opt_func: Any) -> None:
    optimizer = optimizer_of(opt_func, network())
    assert not any(group.get("fused") for group in optimizer.param_groups)
    if isinstance(opt_func, partial):
        assert all(optimizer.param_groups[0][name] == value for name, value in opt_func.keywords.items())


@pytest.mark.parametrize(
    "parameter",
    [
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(4, 6)[:, ::2],
        torch.zeros(3, 4).t(),
        torch.zeros(2, device="meta"),
        torch.zeros(1).expand(3),
    ],
)
def test_parameters_that_fused_steps_cannot_take(parameter: Tensor) -> None:
    assert not takes_fused_steps(torch.optim.AdamW, [nn.Parameter(torch.zeros(2)), nn.Parameter(parameter)])
    assert takes_fused_steps(torch.optim.AdamW, [nn.Parameter(torch.zeros(2))])


def test_sparse_gradients_keep_plain_steps() -> None:
    model = nn.Sequential(nn.Embedding(3, 2, sparse=True))
    assert is_sparse(model)
    optimizer = optimizer_of("sgd", model)
    model(torch.tensor([0, 1])).sum().backward()
    optimizer.step()
    assert not is_fused(optimizer)


@pytest.mark.parametrize("opt_func", FUSED)
def test_a_change_of_layout_does_not_mix_up_the_state(opt_func: Any) -> None:
    model, other = network(), network()
    optimizer, plain = optimizer_of(opt_func, model), optimizer_of(opt_func, other)
    for net, opt in ((model, optimizer), (other, plain)):
        step(net, opt, 2)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    match_state(optimizer)
    for net, opt in ((model, optimizer), (other, plain)):
        step(net, opt, 3, start=2)
    assert not model[0].weight.is_contiguous()
    assert_close(model, other)


@pytest.mark.parametrize("opt_func", FUSED)
def test_replaced_gradients_may_have_another_layout(opt_func: Any) -> None:
    model, other = network(), network()
    for net, in_columns in ((model, True), (other, False)):
        optimizer = optimizer_of(opt_func, net)
        for k in range(3):
            for parameter in net.parameters():
                torch.manual_seed(k)
                gradient = torch.rand_like(parameter)
                parameter.grad = gradient.T.contiguous().T if in_columns and gradient.ndim == 2 else gradient
            match_gradients(optimizer)
            optimizer.step()
    assert_close(model, other)


def test_a_fit_matches_the_gradients_that_a_callback_sets(blobs: tuple[Tensor, ...]) -> None:
    def transpose(state: Any) -> None:
        for parameter in state.model.parameters():
            if parameter.ndim == 2:
                parameter.grad = parameter.grad.T.contiguous().T

    plain, transposed = linear_learner(blobs), linear_learner(blobs)
    plain.fit(1, 0.1)
    transposed.fit(1, 0.1, callbacks=acting(after_backward=transpose))
    assert torch.equal(plain.model.weight, transposed.model.weight)


def test_momentum_may_begin_later_for_some_parameters() -> None:
    model, other = network(), network()
    for net, make in ((model, MOMENTUM), (other, partial(MOMENTUM, fused=False))):
        optimizer = optimizer_of(make, net)
        net[0].requires_grad_(False)
        step(net, optimizer, 2)
        net[0].requires_grad_(True)
        step(net, optimizer, 2, start=2)
        copied = copy.deepcopy((net, optimizer))  # loses hooks
        match_state(copied[1])
        step(*copied, 1, start=4)
    assert_close(model, other)


@pytest.mark.parametrize("opt_func", FUSED)
@pytest.mark.parametrize("to_fused", [True, False])
def test_a_state_of_another_implementation_is_loaded(opt_func: Any, to_fused: bool) -> None:
    model, other = network(), network()
    wrote = optimizer_of(partial(opt_func, fused=not to_fused), model)
    step(model, wrote, 2)
    other.load_state_dict(model.state_dict())
    other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reads = optimizer_of(partial(opt_func, fused=to_fused), other)
    load_state(reads, copy.deepcopy(wrote.state_dict()))
    assert all(group["fused"] is to_fused for group in reads.param_groups)
    step(model, wrote, 2, start=2)
    step(other, reads, 2, start=2)
    assert_close(model, other)


def test_other_groups_are_refused_as_by_torch() -> None:
    one, two = network(), nn.Sequential(nn.Linear(2, 2, bias=False))
    with pytest.raises(ValueError, match="parameter group"):
        load_state(optimizer_of("sgd", two), optimizer_of("sgd", one).state_dict())
