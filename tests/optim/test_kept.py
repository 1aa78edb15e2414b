"""What optimizers keep of their steps, by parameter and in their groups: carried over, reset and loaded together."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.optim.kept import AsMade, carry_over, load_kept

SGD = torch.optim.SGD


class Counting(SGD):
    """SGD with a rate that falls as 1 / steps, which are counted in its groups as published optimizers do."""

    def __init__(self, params: Any, lr: float = 1.0, **options: Any) -> None:
        super().__init__(params, lr=lr, **options)
        for group in self.param_groups:
            group.setdefault("k", 0)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["k"] += 1
            group["seen"] = group.get("seen", torch.zeros(())).add_(1)
            for p in group["params"]:
                kept = self.state[p].setdefault("sum", torch.zeros_like(p))
                kept.add_(p.grad)


class Wrapper(torch.optim.Optimizer):
    """Leaves everything but a count to the optimizer that it wraps, as timm's Lookahead."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self._base, self.param_groups, self.defaults, self.state = base, base.param_groups, base.defaults, {}  # type: ignore[assignment]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self._base.step()


MAKERS: dict[str, Any] = {"plain": Counting, "wrapped": lambda params, **options: Wrapper(Counting(params, **options))}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def parameters(n: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)) for _ in range(n)]


def steps(optimizer: torch.optim.Optimizer, n: int) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones(2)
    for _ in range(n):
        optimizer.step()


def counts(optimizer: torch.optim.Optimizer) -> list[tuple[int, int]]:
    return [(group["k"], int(group.get("seen", 0))) for group in optimizer.param_groups]


def sums(optimizer: Any) -> list[float]:
    state = getattr(optimizer, "_base", optimizer).state
    return [float(state[p]["sum"][0]) for group in optimizer.param_groups for p in group["params"] if p in state]


@makers
def test_groups_go_on_counting_where_parameters_keep_their_state(make: Any) -> None:
    a, b, c, d = parameters(4)
    before = make([{"params": [a, b]}, {"params": [c]}])
    steps(before, 3)
    after = make([{"params": [a]}, {"params": [d, b]}, {"params": parameters(1)}], lr=0.5)
    carry_over(before, after)
    assert counts(after) == [(3, 3), (3, 3), (0, 0)]
    assert sums(after) == [3, 3]
    steps(after, 2)
    assert counts(after) == [(5, 5), (5, 5), (2, 2)], "each group counts on its own"
    assert counts(before) == [(3, 3), (3, 3)]
    assert sums(after) == [5, 2, 5, 2]
    assert {group["lr"] for group in after.param_groups} == {0.5}


def test_nothing_is_carried_over_to_another_kind_of_optimizer() -> None:
    (a,) = parameters(1)
    before, after = Counting([a]), SGD([a], lr=0.1)
    steps(before, 3)
    carry_over(before, after)
    assert "k" not in after.param_groups[0]
    assert not after.state


@makers
def test_an_optimizer_that_is_reset_begins_again_with_its_settings(make: Any) -> None:
    optimizer = make([{"params": [p]} for p in parameters(2)])
    made = AsMade.of(optimizer)
    for n in (3, 2):
        steps(optimizer, n)
        optimizer.param_groups[1].update(lr=0.25, weight_decay=0.5)
        made.reset(optimizer)
        assert counts(optimizer) == [(0, 0), (0, 0)]
        assert "seen" not in optimizer.param_groups[0]
        assert sums(optimizer) == []
        assert optimizer.param_groups[1]["lr"] == 0.25
        assert optimizer.param_groups[1]["weight_decay"] == 0.5
    optimizer.add_param_group({"params": parameters(1), "k": 5, "lr": 0.125})
    made.reset(optimizer)
    assert counts(optimizer) == [(0, 0), (0, 0), (5, 0)], "what is not known here is as it was"


def test_a_state_from_before_the_first_step_begins_again() -> None:
    optimizer = torch.optim.Adagrad(parameters(1), initial_accumulator_value=0.5)
    made = AsMade.of(optimizer)
    for _ in range(2):
        steps(optimizer, 3)
        made.reset(optimizer)
        (state,) = optimizer.state.values()
        assert float(state["step"]) == 0
        assert state["sum"].tolist() == [0.5, 0.5]


def test_what_is_kept_comes_from_a_file_and_the_settings_of_the_fit_stay() -> None:
    saved_at_0 = copy.deepcopy(Counting(parameters(1)).state_dict())
    written, optimizer = Counting(parameters(1)), Counting(parameters(1), momentum=0.5)
    written.param_groups[0] |= {"lr_scale": 0.1, "initial_lr": 9.0, "decays": True}
    steps(written, 4)
    optimizer.param_groups[0] |= {"layer_group": 0, "lr": 0.25, "max_lr": 2.0}
    steps(optimizer, 9)
    load_kept(optimizer, copy.deepcopy(written.state_dict()))
    assert counts(optimizer) == [(4, 4)]
    assert sums(optimizer) == [4]
    group = optimizer.param_groups[0]
    assert {name: group[name] for name in ("lr", "momentum", "layer_group", "max_lr")} == {
        "lr": 0.25, "momentum": 0.5, "layer_group": 0, "max_lr": 2.0,
    }  # fmt: skip
    assert not group.keys() & {"lr_scale", "initial_lr", "decays"}
    load_kept(optimizer, saved_at_0)
    assert counts(optimizer) == [(0, 0)], "also what the file does not have yet"
    assert "seen" not in optimizer.param_groups[0]
