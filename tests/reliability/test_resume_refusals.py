"""Checkpoints of other fits are refused with both values, and so are invalid arguments."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import Callback, DataBunch, ImageDataBunch, Learner, LearnkitWarning
from learnkit.callbacks import BnFreeze, EarlyStopping, GeneralScheduler, MixUp, OneCycle, SaveModel
from learnkit.errors import UsageError
from learnkit.optim.schedules import flat_cos

Make = Callable[..., Learner]
CrashAt = Callable[..., Callback]
Broken = Callable[..., Learner]


@pytest.mark.parametrize(
    ("options", "fit", "match"),
    [
        ({"bs": 32}, {}, "batch size: 16 there, 32 here"),
        ({"n": 48}, {}, r"data: training: 64 items, \w+ there, 48 items, \w+ here"),
        ({"width": 9}, {}, r"model: 0.weight: \(8, 2\) torch.float32 there, \(9, 2\) torch.float32 here"),
        ({"dropout": 0.4}, {}, r"Dropout\(p=0.3, inplace=False\) there, \(2\): Dropout\(p=0.4"),
        ({"seed": 5}, {}, "seed: 0 there, 5 here"),
        ({"opt_func": "sgd"}, {}, "optimizer: AdamW there, SGD here"),
        (
            {"opt_func": partial(torch.optim.AdamW, betas=(0.5, 0.9))},
            {},
            r"optimizer: betas: \(0.9, 0.99\) there, \(0.5, 0.9\) here",
        ),
        (
            {"loss_func": nn.CrossEntropyLoss(label_smoothing=0.1)},
            {},
            "CrossEntropyLoss: label_smoothing: 0.0 there, 0.1 here",
        ),
        ({"class_weights": [1, 3]}, {}, r"CrossEntropyLoss: weight: None there, \[1.0, 3.0\] here"),
        ({"metrics": ["accuracy", "f1"]}, {}, "metrics: accuracy there, accuracy, f1 here"),
        ({"metrics": ()}, {}, "metrics: accuracy there, none here"),
        ({}, {"epochs": 4}, "epochs: 3 there, 4 here"),
        ({}, {"lr": 1e-3}, r"lr: \[0.01\] there, \[0.001\] here"),
        ({}, {"wd": 0.5}, "wd: 0.01 there, 0.5 here"),
        ({}, {"callbacks": MixUp(0.9)}, "MixUp: alpha: 0.4 there, 0.9 here"),
        ({"bs": 8}, {"epochs": 4}, "epochs: 3 there, 4 here; batch size: 16 there, 8 here"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_with_both_values(
    options: dict[str, Any], fit: dict[str, Any], match: str, make: Make, crash_at: CrashAt
) -> None:
    with pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=[MixUp(0.4), crash_at(5)], checkpoint_every=3)
    learn = make(init=1, **options)
    before = [tensor.clone() for tensor in learn.model.state_dict().values()]
    with pytest.raises(UsageError, match=match):
        learn.fit(**{"epochs": 3, "lr": 1e-2, "callbacks": MixUp(0.4), "resume": "auto", **fit})
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.state_dict().values(), strict=True))
    assert learn.history.empty


def test_a_schedule_of_another_shape_is_refused(make: Make, crash_at: CrashAt) -> None:
    with pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=[OneCycle(), crash_at(5)], checkpoint_every=3)
    with pytest.raises(UsageError, match=r"OneCycle: pct_start: 0\.3 there, 0\.5 here"):
        make().fit(3, 1e-2, callbacks=OneCycle(pct_start=0.5), resume="auto")


@pytest.mark.parametrize(
    ("then", "now", "match"),
    [
        (EarlyStopping("valid_loss"), EarlyStopping("accuracy"), "monitor: 'valid_loss' by .* there, 'accuracy' by"),
        (SaveModel("valid_loss"), SaveModel("accuracy"), "monitor: 'valid_loss' by .* there, 'accuracy' by"),
        (
            GeneralScheduler({"lr": flat_cos(1e-2, flat=0.75)}),
            GeneralScheduler({"lr": flat_cos(1e-2, flat=0.25)}),
            r"GeneralScheduler: phases: .*lr=0.01 0.01 0.01 0.01 .* there, .*lr=0.01 0.01 0.01 0.009",
        ),
    ],
)
def test_callbacks_with_other_settings_are_refused(
    then: Callback, now: Callback, match: str, make: Make, crash_at: CrashAt
) -> None:
    with pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=[then, crash_at(5)], checkpoint_every=3)
    with pytest.raises(UsageError, match=match):
        make().fit(3, 1e-2, callbacks=now, resume="auto")


def test_one_changed_label_among_many_is_refused(tmp_path: Path) -> None:
    x, y = torch.zeros(3000, 2), torch.arange(3000) % 2

    def learner() -> Learner:
        dls = DataBunch.from_tensors(x, y, x[:8], y[:8], bs=1000, classes=["a", "b"], device="cpu")
        return Learner(dls, nn.Linear(2, 2), seed=0, path=tmp_path)

    learner().fit(1, checkpoint_every=1)
    y[1234] = 1 - y[1234]
    with pytest.raises(UsageError, match=r"data: training: 3000 items, \w+ there, 3000 items"):
        learner().fit(1, resume="auto")


def test_another_sampler_is_refused(class_folder: Path, tmp_path: Path) -> None:
    def learner(sampler: Any) -> Learner:
        dls = ImageDataBunch.from_folder(class_folder, size=8, bs=4, num_workers=0, sampler=sampler)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, dls.c))
        return Learner(dls, model, seed=0, path=tmp_path / "run")

    for then, now in ((None, "balanced"), ([1.0] * 24, [1.0] * 23 + [2.0])):
        learner(then).fit(1, checkpoint_every=1)
        with pytest.raises(UsageError, match=r"data: sampler=: .* there, .* here"):
            learner(now).fit(1, resume="auto")


def test_a_different_environment_is_a_warning(make: Make, monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    broken(make(), 5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.warns(LearnkitWarning, match="threads: 1 there, 7 here; callbacks:  there, BnFreeze here;"):
        make().fit(3, 1e-2, callbacks=BnFreeze(), resume="auto")


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "often", "5 minutes", "0s"])
def test_an_invalid_interval_is_refused(every: Any, make: Make) -> None:
    with pytest.raises(UsageError, match="checkpoint_every: got"):
        make().fit(1, checkpoint_every=every)


@pytest.mark.parametrize("resume", [True, 3])
def test_an_invalid_resume_is_refused(resume: Any, make: Make) -> None:
    with pytest.raises(UsageError, match="resume: got"):
        make().fit(1, resume=resume)
