"""Micro-batches: the loss, gradients and outputs of a batch in parts are those of the whole."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import LearnkitWarning
from learnkit.device import Compute
from learnkit.training.micro_batches import run_micro_batches
from learnkit.training.state import TrainState


class OnRoom:
    """Forward and backward of what is in the state, in memory for `room` items."""

    def __init__(self, state: TrainState, room: int) -> None:
        self.state, self.room = state, room
        self.sizes: list[int] = []
        self.draws: list[float] = []

    def __call__(self) -> None:
        state = self.state
        self.sizes.append(len(state.inputs[0]))
        self.draws.append(torch.rand(()).item())
        if len(state.inputs[0]) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        state.preds = state.model(*state.inputs)
        state.loss = F.cross_entropy(state.preds, state.targets)
        state.compute.backward(state.loss, len(state.inputs[0]), len(state.inputs[0]))


def state(n: int = 10, part: int | None = 4) -> TrainState:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    compute = Compute(torch.device("cpu"), part=part)
    running = TrainState(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
        loss_func=F.cross_entropy,
        train_dl=[],
        compute=compute,
    )
    running.inputs, running.targets = (torch.randn(n, 2),), torch.arange(n) % 2
    running.epoch_seed = 11
    return running


def gradient_of(model: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


@pytest.mark.parametrize(("part", "sizes"), [(4, [4, 4, 2]), (3, [3, 3, 3, 1]), (10, [10]), (64, [10]), (1, [1] * 10)])
def test_the_parts_add_up_to_the_batch(part: int, sizes: list[int]) -> None:
    running = state(part=part)
    whole = F.cross_entropy(running.model(*running.inputs), running.targets)
    whole.backward()
    expected, preds = gradient_of(running.model), running.model(*running.inputs)
    running.model.zero_grad()
    inputs, targets = running.inputs, running.targets
    act = OnRoom(running, 10)
    run_micro_batches(running, act)
    assert act.sizes == sizes
    torch.testing.assert_close(gradient_of(running.model), expected)
    torch.testing.assert_close(running.loss, whole.detach())
    torch.testing.assert_close(running.preds, preds.detach())
    assert running.loss_value == running.loss.item()
    assert running.inputs is inputs
    assert running.targets is targets
    assert running.compute.accumulate is None
    assert len(set(act.draws)) == len(sizes)  # no two parts draw the same dropout


def test_the_first_part_draws_what_the_whole_batch_would() -> None:
    running = state()
    running.batch = 3
    act = OnRoom(running, 10)
    run_micro_batches(running, act)
    assert act.draws[0] == torch.rand((), generator=torch.Generator().manual_seed(11 + 3)).item()


def test_running_out_of_memory_halves_the_parts_and_starts_over() -> None:
    running = state(part=64)
    running.model(*running.inputs).sum().backward()
    running.model.zero_grad()
    act = OnRoom(running, 3)
    with pytest.warns(
        LearnkitWarning, match="a batch of 10 items does not fit into memory; .* micro-batches of"
    ) as caught:
        run_micro_batches(running, act)
    assert act.sizes == [10, 5, 3, 3, 3, 1]
    assert len(caught) == 2
    assert running.compute.part == 3
    gathered = gradient_of(running.model)
    running.model.zero_grad()
    F.cross_entropy(running.model(*running.inputs), running.targets).backward()
    torch.testing.assert_close(gathered, gradient_of(running.model))


def test_gradients_of_a_part_that_came_before_the_failure_are_dropped() -> None:
    running = state(part=5)

    class Late(OnRoom):
        def __call__(self) -> None:
            self.room = 5 if len(self.sizes) != 1 else 0  # the second part fails
            super().__call__()

    act = Late(running, 5)
    with pytest.warns(LearnkitWarning):
        run_micro_batches(running, act)
    assert act.sizes == [5, 5, 3, 3, 3, 1]
    gathered = gradient_of(running.model)
    running.model.zero_grad()
    F.cross_entropy(running.model(*running.inputs), running.targets).backward()
    torch.testing.assert_close(gathered, gradient_of(running.model))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("for one item"), RuntimeError("another error")])
def test_what_no_smaller_part_can_help_is_raised(error: Exception) -> None:
    running = state(part=1 if isinstance(error, torch.OutOfMemoryError) else 4)
    inputs = running.inputs

    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        run_micro_batches(running, fail)
    assert running.inputs is inputs
    assert running.compute.accumulate is None


def test_outputs_of_any_structure_are_those_of_the_whole_batch() -> None:
    running = state()
    whole = running.inputs[0]

    def several() -> None:
        running.preds, running.loss = {"twice": (2 * running.inputs[0], None)}, torch.zeros(())

    run_micro_batches(running, several)
    found: Any = running.preds
    assert torch.equal(found["twice"][0], 2 * whole)
    assert found["twice"][1] is None


def test_outputs_that_the_next_part_overwrites_are_kept() -> None:
    running, buffer = state(part=2), torch.zeros(2, 1)
    whole = running.inputs[0]

    def static() -> None:
        part = running.inputs[0]
        running.preds, running.loss = buffer[: len(part)].copy_(part[:, :1]), torch.zeros(())

    run_micro_batches(running, static)
    assert torch.equal(running.preds, whole[:, :1])


def test_elsewhere_the_loss_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))
    running = state()
    run_micro_batches(running, OnRoom(running, 10))
    assert running.loss_value is None
