"""Fitting through a learner: arguments, layer groups, history, interruptions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner, LearnkitWarning
from learnkit.callbacks import EarlyStopping, OneCycle, Progress, Recorder, SaveModel
from learnkit.errors import NonFiniteLossError, StopFit, UsageError
from tests.doubles import acting, raising, refused


def network(n_out: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, n_out))


@pytest.fixture
def dls(blobs: tuple[Tensor, ...]) -> DataBunch:
    return DataBunch.from_tensors(*blobs, bs=16)


@pytest.fixture
def learn(dls: DataBunch) -> Learner:
    return Learner(dls, network(), metrics="accuracy", seed=0)


def test_it_learns(learn: Learner) -> None:
    learn.fit(5, 3e-2)
    assert learn.history["accuracy"].iloc[-1] == 1.0
    assert learn.history["valid_loss"].is_monotonic_decreasing


def test_history_is_a_table_that_every_fit_adds_to(learn: Learner) -> None:
    assert list(learn.history.columns) == ["epoch", "train_loss", "valid_loss", "time"]
    learn.fit(2)
    learn.fit(1)
    assert list(learn.history.columns) == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert learn.history["epoch"].tolist() == [0, 1, 2]
    assert len(learn.recorder.losses) == len(learn.recorder.lrs) == len(learn.recorder.moms) == 12
    assert (learn.history["time"] >= 0).all()


def test_the_default_rate_is_three_thousandths(learn: Learner) -> None:
    learn.fit(1)
    assert learn.recorder.lrs == [3e-3] * 4


def test_a_schedule_does_not_leak_into_the_next_fit(learn: Learner) -> None:
    learn.fit_one_cycle(1, 1e-2)
    learn.fit(1, 1e-3, wd=0.5)
    assert learn.recorder.lrs[4:] == [1e-3] * 4
    assert learn.recorder.moms[4:] == [0.9] * 4
    assert learn.opt is not None
    assert [group["weight_decay"] for group in learn.opt.param_groups] == [0.5, 0.0]


def test_fit_one_cycle_has_the_rates_and_momenta_of_the_policy(learn: Learner) -> None:
    learn.fit_one_cycle(2, 1e-2)  # 8 batches in all
    rates = [0.0004, 0.0052, 0.01, 0.00933013, 0.00750002, 0.00500005, 0.00250007, 0.000669966]
    moms = [0.95, 0.9, 0.85, 0.856699, 0.875, 0.9, 0.925, 0.943301]
    assert learn.recorder.lrs == pytest.approx(rates, abs=1e-8)
    assert learn.recorder.moms == pytest.approx(moms, abs=1e-6)


def test_one_cycle_takes_its_peak_from_the_fit_when_it_has_none(dls: DataBunch) -> None:
    model = network()
    learn = Learner(dls, model, groups=[model[0], model[1], model[2]], seed=0)  # type: ignore[index]
    learn.fit(2, lr=slice(1e-5, 1e-3), callbacks=OneCycle(pct_start=0.25))
    assert learn.opt is not None
    assert learn.recorder.lrs[0] == pytest.approx(4e-5)
    assert learn.recorder.lrs[2] == pytest.approx(1e-3)
    first, last = learn.opt.param_groups[0]["lr"], learn.opt.param_groups[-1]["lr"]
    assert last / first == pytest.approx(100)


@pytest.mark.parametrize("epochs", [-1, 1.5, "3", True, None])
def test_invalid_epochs_are_refused(epochs: Any, learn: Learner) -> None:
    with refused("epochs", got=epochs):
        learn.fit(epochs)


def test_zero_epochs_do_nothing_and_warn(learn: Learner) -> None:
    with pytest.warns(LearnkitWarning, match="0 epochs"):
        learn.fit(0)
    assert learn.history.empty


@pytest.mark.parametrize("lr", [float("nan"), float("inf"), 0, -1e-3, "fast", slice(1e-3, float("nan")), [1e-3, 0]])
def test_rates_that_cannot_work_are_refused(lr: Any, learn: Learner) -> None:
    with refused("lr"):
        learn.fit(1, lr)


def test_an_empty_slice_is_refused_with_what_to_write(learn: Learner) -> None:
    with pytest.raises(ValueError, match=r"expected slice\(stop\) or slice\(start, stop\)"):
        learn.fit(1, slice(None))


def test_a_list_of_rates_must_have_one_per_group(learn: Learner) -> None:
    with pytest.raises(ValueError, match=r"lr: got \[0\.001, 0\.01\], expected 1 rates"):
        learn.fit(1, [1e-3, 1e-2])


@pytest.mark.parametrize("wd", [-0.1, float("nan"), "much"])
def test_weight_decay_that_cannot_work_is_refused(wd: Any, learn: Learner) -> None:
    with refused("wd"):
        learn.fit(1, wd=wd)


def test_a_wrong_number_of_outputs_is_refused_immediately(dls: DataBunch) -> None:
    with pytest.raises(ValueError, match=r"returns 3 outputs per item, the data has 2 classes \(0, 1\)"):
        Learner(dls, network(3))


def test_the_check_of_outputs_does_not_change_modes_or_buffers(dls: DataBunch) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[1].eval()
    Learner(dls, model)
    assert [module.training for module in model] == [True, False]
    assert model[1].num_batches_tracked.item() == 0  # type: ignore[operator, union-attr]


def test_data_that_names_no_loss_needs_one() -> None:
    batches = [(torch.ones(2, 2), torch.ones(2, 2))]
    with pytest.raises(UsageError, match="Pass loss_func="):
        Learner(DataBunch.from_loaders(batches, batches), nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["adamww", "SDG", "lion"])
def test_an_unknown_optimizer_is_refused_with_the_known_ones(name: str, dls: DataBunch) -> None:
    with pytest.raises(UsageError, match="adamw"):
        Learner(dls, network(), opt_func=name).fit(1)


def test_a_weight_decay_fixed_in_the_factory_wins(dls: DataBunch) -> None:
    from functools import partial

    learn = Learner(dls, network(), opt_func=partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4))
    learn.fit(1, 1e-2)
    assert learn.opt is not None
    assert [group["weight_decay"] for group in learn.opt.param_groups] == [1e-4, 0.0]
    assert learn.recorder.moms == [0.9] * 4


# Groups


def test_freezing_a_model_of_one_group_is_refused(learn: Learner) -> None:
    with pytest.raises(ValueError, match="1 layer group"):
        learn.freeze()


def test_freezing_trains_the_last_group_alone(dls: DataBunch) -> None:
    model = network()
    learn = Learner(dls, model, groups=[model[0], model[2]], seed=0)  # type: ignore[index]
    learn.freeze()
    start = [p.clone() for p in model.parameters()]
    learn.fit(1, 1e-2)
    moved = [not torch.equal(a, b) for a, b in zip(start, model.parameters(), strict=True)]
    assert moved == [False, False, True, True]
    learn.unfreeze()
    learn.fit(1, 1e-2)
    assert not torch.equal(start[0], next(model.parameters()))


def test_groups_must_hold_every_parameter_once(dls: DataBunch) -> None:
    model = network()
    with pytest.raises(UsageError, match=r"without 0\.bias, 0\.weight"):
        Learner(dls, model, groups=[model[2]])  # type: ignore[index]
    with pytest.raises(UsageError, match="two groups"):
        Learner(dls, model, groups=[model, model[2]])  # type: ignore[index]


def test_rates_are_spread_over_the_groups(dls: DataBunch) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    learn = Learner(dls, model, groups=list(model))
    assert learn.lr_range(slice(1e-5, 1e-3)) == pytest.approx([1e-5, 1e-4, 1e-3])
    assert learn.lr_range(slice(1e-3)) == pytest.approx([1e-4, 1e-4, 1e-3])
    assert learn.lr_range(1e-3) == [1e-3] * 3


# What goes wrong in a fit


def test_ctrl_c_leaves_a_usable_learner_and_reports_what_was_kept(learn: Learner) -> None:
    ctrl_c = acting(after_step=raising(KeyboardInterrupt(), epoch=1, batch=2))
    with pytest.raises(KeyboardInterrupt) as caught:
        learn.fit(3, 1e-2, callbacks=ctrl_c)
    assert any("epoch 1, batch 2" in note and "1 epochs" in note for note in caught.value.__notes__)
    assert len(learn.history) == 1
    assert len(learn.recorder.losses) == 4 + 2
    learn.fit(1, 1e-2)
    assert learn.history["epoch"].tolist() == [0, 1]


def test_ctrl_c_in_validation_leaves_a_usable_learner(learn: Learner) -> None:
    ctrl_c = acting(after_validate_batch=raising(KeyboardInterrupt(), batch=3))
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, callbacks=ctrl_c)
    learn.fit(1)
    assert learn.validate() == pytest.approx(list(learn.history.iloc[0][["valid_loss", "accuracy"]]))


def test_a_nan_loss_stops_the_fit_and_restores_the_weights(blobs: tuple[Tensor, ...]) -> None:
    x, y, xv, yv = blobs
    learn = Learner(DataBunch.from_tensors(x, y, xv, yv, bs=16), network(), opt_func="sgd", seed=0, wd=0.0)
    learn.fit(1, 1e-2)
    good = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ArithmeticError, match=r"loss (nan|inf) at epoch 0 batch \d \(lr 1e\+30\)"):
        learn.fit(2, 1e30)
    assert all(torch.equal(a, b) for a, b in zip(good, learn.model.parameters(), strict=True))
    learn.fit(1, 1e-2)
    assert len(learn.history) == 2


def test_a_nan_in_the_input_is_named(blobs: tuple[Tensor, ...]) -> None:
    x, y, xv, yv = blobs
    x = x.clone()
    x[5] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"input finite\? no"):
        Learner(DataBunch.from_tensors(x, y, xv, yv, bs=16), network(), seed=0).fit(1)


def test_a_loss_that_is_not_a_scalar_is_refused(dls: DataBunch) -> None:
    learn = Learner(dls, network(), loss_func=nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(UsageError, match=r"got \(16,\).*reduction='mean'"):
        learn.fit(1)


def test_stopping_is_shown_and_kept(learn: Learner, capsys: pytest.CaptureFixture[str]) -> None:
    reasons: list[str] = []
    stop = raising(StopFit("good enough"), batch=3)
    learn.fit(5, callbacks=acting(after_epoch=stop, after_fit=lambda state: reasons.append(state.stop_reason)))
    assert reasons == ["good enough"]
    assert len(learn.history) == 1
    assert "stopped: good enough" in capsys.readouterr().err


# Callbacks


def test_two_callbacks_of_the_same_class_are_refused(learn: Learner) -> None:
    learn.add_cb(EarlyStopping())
    with pytest.raises(ValueError, match="EarlyStopping"):
        learn.fit(1, callbacks=EarlyStopping())
    with pytest.raises(ValueError, match="EarlyStopping"):
        learn.add_cb(EarlyStopping())
    with pytest.raises(ValueError, match="Recorder"):
        learn.fit(1, callbacks=Recorder())
    assert len(learn.callbacks) == 1


def test_savers_with_different_files_may_run_together(learn: Learner) -> None:
    learn.fit(1, callbacks=[SaveModel(), SaveModel("accuracy", name="most-accurate")])
    assert sorted(p.name for p in (learn.path / "models").iterdir()) == ["bestmodel.pth", "most-accurate.pth"]


def test_an_unknown_monitor_is_refused_before_anything_is_trained(learn: Learner) -> None:
    with pytest.raises(ValueError, match=r"monitor: got 'acuracy', expected one of accuracy"):
        learn.fit(1, callbacks=EarlyStopping("acuracy"))
    assert learn.recorder.losses == []
    assert learn.epoch == 0  # the next fit is as if this one had never been asked for


def test_a_callback_is_removed_by_instance_or_class(learn: Learner) -> None:
    stop, save = EarlyStopping(), SaveModel()
    learn.add_cb(stop, save)
    assert learn.remove_cb(stop).callbacks == [save]
    assert learn.remove_cb(SaveModel).callbacks == []


def test_half_precision_replaces_the_other_half_precision(learn: Learner) -> None:
    learn.to_fp16()
    learn.to_bf16()
    assert [callback.label for callback in learn.callbacks] == ["MixedPrecision"]
    learn.fit(2, 1e-2)
    assert learn.history["accuracy"].iloc[-1] > 0.9


def test_one_plain_line_per_epoch_outside_a_terminal(learn: Learner, capsys: pytest.CaptureFixture[str]) -> None:
    learn.fit(3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "0"], ["epoch", "1"], ["epoch", "2"]]
    assert all("accuracy" in line and "\r" not in line and "\x1b" not in line for line in lines)


def test_the_users_progress_replaces_the_default_one(learn: Learner, capsys: pytest.CaptureFixture[str]) -> None:
    learn.fit(1, callbacks=Progress("off"))
    assert capsys.readouterr().out == ""


def test_a_fit_without_validation_records_the_training_loss_alone(blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=16)
    dls.valid_dl = None  # type: ignore[assignment]
    learn = Learner(dls, network(), metrics="accuracy", seed=0)
    learn.fit(1)
    assert list(learn.history.columns) == ["epoch", "train_loss", "time"]
    with pytest.raises(UsageError, match="valid_loss"):
        learn.fit(1, callbacks=EarlyStopping())


def test_outputs_are_compared_with_classes_for_loaders_and_datasets_too(blobs: tuple[Tensor, ...]) -> None:
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(blobs[0], blobs[1])
    for dls in (
        DataBunch.from_loaders(DataLoader(data, 8), DataLoader(data, 8), classes=["a", "b"]),
        DataBunch.from_datasets(data, data, bs=8, classes=["a", "b"]),
        DataBunch.from_loaders([(blobs[0], blobs[1])], None, classes=["a", "b"]),
    ):
        with pytest.raises(UsageError, match="returns 3 outputs per item, the data has 2 classes"):
            Learner(dls, network(3))
        Learner(dls, network(2)).fit(1)
