"""ReduceLROnPlateau: when the rates fall, how far, and which."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import OneCycle
from learnkit.callbacks.plateau import ReduceLROnPlateau
from learnkit.errors import UsageError
from learnkit.training.state import TrainState
from tests.callbacks.scripted import Scripted
from tests.doubles import refused


class Spy(Callback):
    """The rate of each layer group in each epoch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def before_batch(self, state: TrainState) -> None:
        if state.batch == 0:
            self.rates.append([state.optimizer.param_groups[i]["lr"] for i in (0, 2)])


def rates(
    blobs: tuple[Tensor, ...], values: list[float], lr: Any, *callbacks: Callback, higher: bool = False
) -> list[list[float]]:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    learn = Learner(
        DataBunch.from_tensors(*blobs, bs=16), model, groups=list(model), metrics=[Scripted(values, higher)], seed=0
    )
    spy = Spy()
    learn.fit(len(values), lr, callbacks=[*callbacks, spy])
    return spy.rates


def test_the_rates_fall_while_a_result_stays_the_same(blobs: tuple[Tensor, ...]) -> None:
    found = rates(blobs, [1.0] * 5, 0.01, ReduceLROnPlateau("scripted"))
    assert [last for _, last in found] == pytest.approx([0.01, 0.01, 0.001, 0.0001, 1e-5])
    found = rates(blobs, [1.0] * 6, 0.01, ReduceLROnPlateau("scripted", min_lr=1e-5))
    assert [last for _, last in found] == pytest.approx([0.01, 0.01, 0.001, 0.0001, 1e-5, 1e-5])


@pytest.mark.parametrize(
    ("values", "higher", "options", "expected"),
    [
        ([3, 2, 2.1, 1, 1], False, {}, [1, 1, 1, 0.1, 0.1]),
        ([3, 4, 5, 4, 3], True, {}, [1, 1, 1, 1, 0.1]),
        ([3, 3, 3, 3, 3, 3], False, {"patience": 2}, [1, 1, 1, 0.1, 0.1, 0.01]),
        ([3, 2.7, 2.4, 1], False, {"min_delta": 0.5}, [1, 1, 0.1, 0.1]),
        ([3, float("nan"), 1], False, {"factor": 2}, [1, 1, 0.5]),
    ],
)
def test_what_counts_as_no_improvement(
    values: list[float], higher: bool, options: dict[str, Any], expected: list[float], blobs: tuple[Tensor, ...]
) -> None:
    found = rates(blobs, values, 1.0, ReduceLROnPlateau("scripted", **options), higher=higher)
    assert [last for _, last in found] == pytest.approx(expected)


def test_each_group_falls_from_its_own_rate_and_none_rises(blobs: tuple[Tensor, ...]) -> None:
    found = rates(blobs, [1.0] * 3, [1e-4, 1e-2], ReduceLROnPlateau("scripted", factor=5))
    assert torch.tensor(found).flatten().tolist() == pytest.approx([1e-4, 1e-2, 1e-4, 1e-2, 2e-5, 2e-3])
    found = rates(blobs, [1.0] * 3, [1e-4, 1e-2], ReduceLROnPlateau("scripted", factor=5, min_lr=1e-3))
    assert found[-1] == pytest.approx([1e-4, 2e-3])


def test_every_fit_starts_over(blobs: tuple[Tensor, ...]) -> None:
    plateau = ReduceLROnPlateau("scripted", patience=2)
    for _ in range(2):
        found = rates(blobs, [1.0, 1.0, 1.0, 1.0], 1.0, plateau)
        assert [last for _, last in found] == pytest.approx([1, 1, 1, 0.1])


def test_a_resumed_fit_continues_the_wait(blobs: tuple[Tensor, ...]) -> None:
    class Saves(Callback):
        order = 80

        def after_epoch(self, state: TrainState) -> None:
            if state.epoch == 2:
                self.saved = before.state_dict()

    before, after, saves = ReduceLROnPlateau("scripted", patience=2), ReduceLROnPlateau("scripted", patience=2), Saves()
    whole = rates(blobs, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0], [0.1, 1.0], before, saves)

    class Resumes(Callback):
        order = 99

        def before_fit(self, state: TrainState) -> None:
            after.load_state_dict(saves.saved)

    assert rates(blobs, [2.0, 2.0, 2.0], [0.1, 1.0], after, Resumes()) == whole[3:]


def test_another_schedule_in_the_fit_is_refused(blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="OneCycle and ReduceLROnPlateau both set lr"):
        rates(blobs, [1.0], 0.1, ReduceLROnPlateau("scripted"), OneCycle())


@pytest.mark.parametrize(
    ("name", "value"),
    [("patience", 0), ("patience", 1.5), ("factor", 0.1), ("factor", 1), ("factor", float("inf")), ("min_lr", -1),
     ("min_lr", float("inf")), ("min_delta", -1)],
)  # fmt: skip
def test_invalid_arguments_are_refused(name: str, value: Any) -> None:
    with refused(name, got=value):
        ReduceLROnPlateau(**{name: value})
