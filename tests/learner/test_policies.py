"""Policies: the rates of every step against fastai's figures, and against formulas."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import CSVLogger, OneCycle, SaveModel
from learnkit.callbacks.general_scheduler import GeneralScheduler
from learnkit.errors import UsageError
from tests.doubles import acting


class Rates(Callback):
    """The rate of every layer group, and which are trained, at every batch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.trained: list[list[bool]] = []

    def after_step(self, state: Any) -> None:
        self.rates.append(list(dict.fromkeys(group["lr"] for group in state.optimizer.param_groups)))
        self.trained.append([parameter.requires_grad for parameter in state.model.parameters()])


def learner(blobs: tuple[Tensor, ...], n_groups: int = 1) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    groups = [[model], [model[:2], model[2:]], [model[:2], model[2:4], model[4:]]][n_groups - 1]
    return Learner(DataBunch.from_tensors(*blobs, bs=16), model, groups=groups, seed=0)  # 4 batches per epoch


def test_one_cycle_takes_the_rates_of_fact_21(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit_one_cycle(2, 1e-2)
    rates = [0.0004, 0.0052, 0.01, 0.00933013, 0.00750002, 0.00500005, 0.00250007, 0.000669966]
    momenta = [0.95, 0.9, 0.85, 0.856699, 0.875, 0.9, 0.925, 0.943301]
    assert learn.recorder.lrs == pytest.approx(rates, rel=1e-5)
    assert learn.recorder.moms == pytest.approx(momenta, rel=1e-5)


def test_groups_keep_their_ratio_under_one_cycle(blobs: tuple[Tensor, ...]) -> None:
    learn, seen = learner(blobs, 3), Rates()
    learn.fit_one_cycle(1, slice(1e-5, 1e-3), callbacks=seen)
    assert seen.rates[0] == pytest.approx([4e-7, 4e-6, 4e-5])
    for first, second, third in seen.rates:
        assert [second / first, third / second] == pytest.approx([10, 10])


def test_flat_and_cosine_takes_the_rates_of_fact_24(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit_flat_cos(2, 1e-2)
    assert learn.recorder.lrs == pytest.approx([0.01] * 7 + [0.00500005], rel=1e-6)


def test_restarts_take_the_rates_of_fact_24(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit_sgdr(2, 1, 1e-2)
    rates = [0.01, 0.00853553, 0.005, 0.00146447, 0.01, 0.0096194, 0.00853553, 0.00691342, 0.005, 0.00308658,
             0.00146447, 0.000380602]  # fmt: skip
    assert learn.recorder.lrs == pytest.approx(rates, rel=1e-5)
    assert len(learn.history) == 3


def test_restarts_of_equal_length(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit_sgdr(3, 1, 1e-2, cycle_mult=1)
    one = [0.005 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    assert learn.recorder.lrs == pytest.approx(one * 3)


def test_fine_tuning_with_a_frozen_epoch_has_the_stages_of_fact_25(blobs: tuple[Tensor, ...]) -> None:
    learn, seen = learner(blobs, 3), Rates()
    learn.fine_tune(3, 2e-3, freeze_epochs=1, callbacks=seen)
    assert len(learn.history) == 1 + 3
    frozen, thawed = seen.trained[:4], seen.trained[4:]
    assert all(flags == [False] * 4 + [True] * 2 for flags in frozen)
    assert all(all(flags) for flags in thawed)
    # Stage one: one cycle to 2e-3 over 99 % of an epoch of 4 batches; stage two: 1e-5 to 1e-3, div 5, 30 % warm-up.
    first = [2e-3 / 25 + (2e-3 - 2e-3 / 25) * (1 - math.cos(math.pi * k / 4 / 0.99)) / 2 for k in range(4)]
    assert [rates[-1] for rates in seen.rates[:4]] == pytest.approx(first)
    assert seen.rates[4] == pytest.approx([1e-5 / 5, 1e-4 / 5, 1e-3 / 5])
    peak = max(rates[-1] for rates in seen.rates[4:])
    assert 0.9e-3 < peak <= 1e-3


def test_fine_tuning_without_a_frozen_stage(blobs: tuple[Tensor, ...]) -> None:
    learn, seen = learner(blobs, 2), Rates()
    learn.fine_tune(1, freeze_epochs=0, callbacks=seen)
    assert len(learn.history) == 1
    assert all(all(flags) for flags in seen.trained)


def test_fine_tuning_one_group_is_refused(blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="1 layer group"):
        learner(blobs).fine_tune(1)


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (1.5, 1), (1, 1, 1e-2, 0), (1, 1, 1e-2, 1.5), (True, 1)])
def test_invalid_cycles_are_refused(arguments: Any, blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="expected an integer, 1 or more"):
        learner(blobs).fit_sgdr(*arguments)


@pytest.mark.parametrize("rate", [0, -1.0, float("nan")])
def test_invalid_rates_are_refused(rate: float, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, 2)
    with pytest.raises(UsageError):
        learn.fine_tune(1, rate)
    with pytest.raises(UsageError):
        learn.fit_flat_cos(1, rate)


def test_two_callbacks_that_set_the_rate_are_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    with pytest.raises(UsageError, match="OneCycle and GeneralScheduler both set lr"):
        learn.fit(1, callbacks=[OneCycle(), GeneralScheduler({"lr": lambda progress: 0.1})])
    learn.add_cb(OneCycle())
    with pytest.raises(UsageError, match="both set lr"):
        learn.fit_flat_cos(1)


@pytest.mark.slow
def test_compiling_keeps_the_names_and_the_results(blobs: tuple[Tensor, ...]) -> None:
    plain, compiled = learner(blobs, 2), learner(blobs, 2).compile(backend="eager")
    names = list(plain.model.state_dict())
    for learn in (plain, compiled):
        learn.fit(1, 1e-2)
        learn.freeze()
        learn.fit(1, 1e-2)
        learn.unfreeze()
        learn.fit(1, 1e-2)
    assert list(compiled.model.state_dict()) == names
    for ours, theirs in zip(plain.model.parameters(), compiled.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    path = compiled.save("compiled")
    plain.load(path)
    torch.testing.assert_close(plain.get_preds()[0], compiled.get_preds()[0])


def test_channels_last_changes_the_layout_alone() -> None:
    x, y = torch.rand(16, 3, 8, 8), torch.arange(16) % 2
    dls = DataBunch.from_tensors(x, y, x, y, bs=8)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    learn = Learner(dls, model, seed=0)
    before = learn.get_preds()[0]
    learn.to_channels_last()
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(learn.get_preds()[0], before)
    learn.fit(1)


# Two fits of one call


def test_fine_tuning_is_one_call_of_two_fits(blobs: tuple[Tensor, ...]) -> None:
    seen: list[tuple[bool, int]] = []
    watch = acting(before_epoch=lambda state: seen.append((state.continues_call, state.epoch)))
    learn = learner(blobs, 2)
    learn.fine_tune(2, freeze_epochs=3, callbacks=watch)
    assert seen == [(False, 0), (False, 1), (False, 2), (True, 0), (True, 1)]
    seen.clear()
    learn.fit(1, callbacks=watch)
    learn.fine_tune(2, freeze_epochs=1, start_epoch=1, callbacks=watch)
    assert seen == [(False, 0), (False, 0), (False, 1)], "the frozen stage was skipped"


def test_a_call_that_failed_does_not_go_on_in_the_next(blobs: tuple[Tensor, ...]) -> None:
    learn, seen = learner(blobs, 2), list[bool]()
    crash = acting(before_batch=lambda state: state.continues_call and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learn.fine_tune(1, callbacks=crash)
    learn.fit(1, callbacks=acting(before_fit=lambda state: seen.append(state.continues_call)))
    assert seen == [False]


def test_the_best_weights_of_both_stages_are_kept(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learn = learner(blobs, 2)
    learn.path = tmp_path

    def spoil(state: Any) -> None:
        if state.continues_call:
            with torch.no_grad():
                state.model[4].bias.copy_(torch.tensor([100.0, -100.0]))

    learn.fine_tune(2, freeze_epochs=2, callbacks=[SaveModel(), acting(before_validate=spoil)])
    losses = learn.history["valid_loss"]
    assert losses.idxmin() < 2, "the second stage was worse"
    assert learn.validate()[0] == pytest.approx(losses.min())


def test_files_of_epochs_are_numbered_over_both_stages(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learn = learner(blobs, 2)
    learn.path = tmp_path
    learn.fine_tune(2, freeze_epochs=2, callbacks=[SaveModel(every="epoch"), CSVLogger()])
    names = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert names == [*(f"bestmodel_{epoch}.pth" for epoch in range(4)), "history.csv"]
    lines = (tmp_path / "models" / "history.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["epoch", "0", "1", "2", "3"]
    learn.fit(1, callbacks=CSVLogger())
    assert len((tmp_path / "models" / "history.csv").read_text().splitlines()) == 2, "another call starts over"
