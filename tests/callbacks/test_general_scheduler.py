"""Phases of a fit: rates, momenta and groups at every batch."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, Learner
from learnkit.callbacks import OneCycle
from learnkit.callbacks.general_scheduler import GeneralScheduler, TrainingPhase
from learnkit.errors import UsageError
from learnkit.optim.schedules import cosine, exponential, flat_cos, one_cycle, one_cycle_momentum, sgdr
from learnkit.training.state import TrainState
from tests.doubles import linear_learner, refused


class Spy(Callback):
    """The rate of each layer group at each batch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def after_backward(self, state: TrainState) -> None:
        self.rates.append([state.optimizer.param_groups[i]["lr"] for i in (0, 2, 4)])


def learner(blobs: tuple[Tensor, ...], opt_func: Any = "adamw") -> Learner:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    return linear_learner(blobs, model, groups=list(model), opt_func=opt_func)


def test_a_number_a_line_and_a_schedule_in_sequence(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    phases = [
        TrainingPhase(0.25, lr=0.5, mom=0.8),
        TrainingPhase(0.25, lr=(0.0, 1.0)),
        TrainingPhase(0.25, lr=(1.0, 0.01), mom=(0.95, 0.85), anneal=exponential),
        TrainingPhase(0.25, lr=cosine(0.1, 0.0), mom=lambda progress: progress / 2),
    ]
    learn.fit(4, 1e-3, callbacks=GeneralScheduler(phases))  # 4 batches per phase
    half_cosine = [0.1 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert learn.recorder.lrs == pytest.approx(
        [0.5] * 4 + [0, 0.25, 0.5, 0.75] + [10.0 ** (-k / 2) for k in range(4)] + half_cosine
    )
    ratio = 0.85 / 0.95
    assert learn.recorder.moms == pytest.approx(
        [0.8] * 4 + [0.9] * 4 + [0.95 * ratio ** (k / 4) for k in range(4)] + [0, 0.125, 0.25, 0.375]
    )


def test_ten_equal_phases_change_at_their_batches(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(10, callbacks=GeneralScheduler([TrainingPhase(0.1, lr=float(i + 1)) for i in range(10)]))
    assert learn.recorder.lrs == pytest.approx([float(1 + k // 4) for k in range(40)])


def test_a_mapping_of_functions_of_progress_is_one_phase(blobs: tuple[Tensor, ...]) -> None:
    ours, cycle = learner(blobs), learner(blobs)
    ours.fit(
        2,
        callbacks=GeneralScheduler(
            {"lr": one_cycle(0.1, warm_up=0.3, div_final=2.5e5), "mom": one_cycle_momentum(0.95, 0.85, warm_up=0.3)}
        ),
    )
    cycle.fit(2, callbacks=OneCycle(0.1))
    assert ours.recorder.lrs == pytest.approx(cycle.recorder.lrs)
    assert ours.recorder.moms == pytest.approx(cycle.recorder.moms)


@pytest.mark.parametrize(
    ("schedule", "n_epochs", "rates"),
    [
        (flat_cos(1e-2), 2, [0.01] * 7 + [0.00500005]),
        (
            sgdr(1e-2, 2),
            3,
            [0.01, 0.00853553, 0.005, 0.00146447, 0.01, 0.0096194, 0.00853553, 0.00691342, 0.005, 0.00308658,
             0.00146447, 0.000380602],
        ),
    ],
)  # fmt: skip
def test_the_schedules_of_the_library_match_those_of_torch(
    schedule: Callable[[float], float], n_epochs: int, rates: list[float], blobs: tuple[Tensor, ...]
) -> None:
    learn = learner(blobs)
    learn.fit(n_epochs, callbacks=GeneralScheduler({"lr": schedule}))
    assert learn.recorder.lrs == pytest.approx(rates, abs=1e-8)
    assert learn.recorder.moms == [0.9] * 4 * n_epochs


def test_the_other_groups_keep_the_ratios_of_the_rates_of_the_fit(blobs: tuple[Tensor, ...]) -> None:
    spy = Spy()
    schedule = GeneralScheduler([TrainingPhase(0.5, lr=(0.1, 0.3)), TrainingPhase(0.5)])
    learner(blobs).fit(1, [1e-4, 1e-3, 1e-2], callbacks=[schedule, spy])
    expected = torch.tensor([[1e-3, 1e-2, 0.1], [2e-3, 2e-2, 0.2], *[[1e-4, 1e-3, 1e-2]] * 2])
    torch.testing.assert_close(torch.tensor(spy.rates), expected)


def test_only_the_rate_is_scheduled_for_an_optimizer_without_momentum(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, torch.optim.Adagrad)
    learn.fit(1, callbacks=GeneralScheduler({"lr": 0.5}))
    assert learn.recorder.lrs == [0.5] * 4
    with pytest.raises(UsageError, match="mom: Adagrad has no momentum"):
        learn.fit(1, callbacks=GeneralScheduler({"mom": 0.5}))


@pytest.mark.parametrize(
    ("phases", "match"),
    [
        ([], "shares from 0 to 1 that sum to 1"),
        ([TrainingPhase(0.5), TrainingPhase(0.6)], "shares from 0 to 1 that sum to 1"),
        ({"lr": 0.1, "momentum": 0.9}, r"phases: got \['lr', 'momentum'\], expected the keys 'lr', 'mom'"),
        ({}, "phases: got"),
        ([0.5, 0.5], "expected a list of TrainingPhase"),
        (TrainingPhase(1.0), "expected a list of TrainingPhase"),
    ],
)
def test_invalid_phases_are_refused(phases: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        GeneralScheduler(phases)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("lr", -0.1),
        ("lr", (0.1, math.nan)),
        ("lr", (0.1, 0.2, 0.3)),
        ("lr", (0.1,)),
        ("lr", "0.1"),
        ("lr", True),
        ("mom", 1.0),
        ("mom", (0.9, 1.5)),
        ("mom", -0.1),
    ],
)
def test_invalid_numbers_are_refused_at_construction(name: str, setting: Any) -> None:
    with refused(name, got=setting):
        TrainingPhase(1.0, **{name: setting})


def test_ends_that_the_annealing_cannot_join_are_refused_at_construction() -> None:
    with pytest.raises(UsageError, match="exponential: got"):
        TrainingPhase(1.0, lr=(0.1, 0.0), anneal=exponential)
    TrainingPhase(1.0, lr=0, mom=0)


@pytest.mark.parametrize(
    ("phases", "match"),
    [
        ({"lr": lambda progress: 0.5 - progress}, "lr at 0.75 of the fit: got -0.25"),
        ({"lr": lambda progress: None}, "lr at 0 of the fit: got None"),
        ({"mom": lambda progress: 0.75 + progress}, "mom at 0.25 of the fit: got 1.0"),
    ],
)
def test_a_schedule_that_leaves_the_allowed_range_is_refused(
    phases: Any, match: str, blobs: tuple[Tensor, ...]
) -> None:
    with pytest.raises(UsageError, match=match):
        learner(blobs).fit(1, callbacks=GeneralScheduler(phases))


def test_another_schedule_in_the_fit_is_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    with pytest.raises(UsageError, match="OneCycle and GeneralScheduler both set lr"):
        learn.fit_one_cycle(1, 0.1, callbacks=GeneralScheduler({"lr": 0.5}))
    assert learn.recorder.losses == []
