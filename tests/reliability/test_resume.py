"""Exact resume: an interrupted fit ends exactly like an uninterrupted one."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import Callback, ImageDataBunch, Learner
from learnkit.callbacks import EMA, SWA, CSVLogger, EarlyStopping, SaveModel
from learnkit.errors import MissingFileError, UsageError

Make = Callable[..., Learner]
Network = Callable[..., nn.Module]
CrashAt = Callable[..., Callback]
CheckpointFolder = Callable[..., Path]
Everything = Callable[[Learner], list[Any]]
Broken = Callable[..., Learner]
KILLS = Path(__file__).with_name("kills.py")


def test_fits_killed_at_random_end_like_uninterrupted_ones() -> None:
    chosen = ["--only", "everything, 0 workers"]
    done = subprocess.run([sys.executable, str(KILLS), "--kills", "4", *chosen], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) > 0


@pytest.mark.slow
def test_every_configuration_survives_kills() -> None:
    done = subprocess.run([sys.executable, str(KILLS), "--trials", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 50


@pytest.mark.parametrize("at", range(3, 12))
def test_a_fit_resumes_from_any_batch(at: int, make: Make, everything: Everything, broken: Broken) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    broken(make(), at)
    again = make(init=1)
    again.fit(3, 1e-2, checkpoint_every=3, resume="auto")
    assert everything(again) == everything(whole)


def test_a_resumed_fit_keeps_its_drawn_seed(make: Make, broken: Broken) -> None:
    first = broken(make(seed=None), 5)
    again = make(init=1, seed=None)
    assert again.seed != first.seed
    again.fit(3, 1e-2, resume="auto")
    assert again.seed == first.seed


def test_a_completed_fit_is_not_run_again(make: Make, crash_at: CrashAt, everything: Everything) -> None:
    first = make()
    first.fit_one_cycle(2, 1e-2, callbacks=EMA(0.5), checkpoint_every=50)
    again = make(init=1)
    again.fit_one_cycle(2, 1e-2, callbacks=[EMA(0.5), crash_at(0)], checkpoint_every=50, resume="auto")
    assert everything(again) == everything(first)
    assert not again.model.training
    assert not first.model.training


def test_an_early_stopped_fit_is_complete(make: Make, crash_at: CrashAt, everything: Everything) -> None:
    stopping = EarlyStopping(min_delta=100.0)
    first = make()
    first.fit(9, 1e-2, callbacks=stopping, checkpoint_every=1)
    again = make(init=1)
    again.fit(9, 1e-2, callbacks=[EarlyStopping(min_delta=100.0), crash_at(0)], checkpoint_every=1, resume="auto")
    assert everything(again) == everything(first)
    assert len(again.history) == 2


def test_the_second_fit_resumes_when_the_first_is_complete(
    make: Make, crash_at: CrashAt, everything: Everything
) -> None:
    def script(learn: Learner, *more: Callback, **options: Any) -> Learner:
        learn.fit(1, 1e-2, **options)
        learn.fit(2, 1e-3, callbacks=more, **options)
        return learn

    whole = script(make(folder="whole"))
    with pytest.raises(ZeroDivisionError):
        script(make(), crash_at(5), checkpoint_every=2)
    assert everything(script(make(init=1), checkpoint_every=2, resume="auto")) == everything(whole)


def test_callback_state_across_fits_survives_a_completed_one(make: Make, crash_at: CrashAt) -> None:
    class Counts(Callback):
        n = 0

        def after_batch(self, state: Any) -> None:
            self.n += 1

        def state_dict(self) -> dict[str, Any]:
            return {"n": self.n}

        def load_state_dict(self, saved: dict[str, Any]) -> None:
            self.n = saved["n"]

    def script(counts: Counts, *more: Callback) -> None:
        learn = make(callbacks=counts)
        for callbacks in ((SaveModel(), CSVLogger(), EMA(0.5)), more):
            learn.fit(2, 1e-2, callbacks=callbacks, checkpoint_every=50, resume="auto")

    counts = Counts()
    with pytest.raises(ZeroDivisionError):
        script(Counts(), crash_at(0))
    script(counts)
    assert counts.n == 16


def test_both_stages_of_fine_tuning_resume(
    make: Make, blobs: Any, crash_at: CrashAt, everything: Everything, network: Network
) -> None:
    def learner(name: str, init: int) -> Learner:
        torch.manual_seed(init)
        model = network()
        groups = [nn.Sequential(*model[:2]), nn.Sequential(*model[2:])]  # type: ignore[index]
        return make(folder=name, model=model, groups=groups)

    whole = learner("whole", 0)
    whole.fine_tune(2, 1e-2, freeze_epochs=1)
    for at, match in ((1, "frozen"), (6, "all")):
        name = f"run-{match}"
        with pytest.raises(ZeroDivisionError):
            learner(name, 0).fine_tune(2, 1e-2, freeze_epochs=1, callbacks=crash_at(at), checkpoint_every=1)
        again = learner(name, 1)
        again.fine_tune(2, 1e-2, freeze_epochs=1, checkpoint_every=1, resume="auto")
        assert everything(again) == everything(whole)
    with pytest.raises(UsageError, match="resume: got 'x"):
        whole.fine_tune(1, resume="x.ckpt")


def test_a_fresh_fit_removes_checkpoints_of_later_fits(
    make: Make, checkpoint_folder: CheckpointFolder, broken: Broken
) -> None:
    learn = make()
    learn.fit(1, 1e-2, checkpoint_every=1)
    learn.fit(1, 1e-2, checkpoint_every=1)
    assert list(checkpoint_folder(learn, 1).iterdir())
    broken(make(), 0)
    assert list(checkpoint_folder(learn, 1).iterdir()) == []


def test_a_named_checkpoint_is_resumed_or_an_error(
    make: Make, checkpoint_folder: CheckpointFolder, everything: Everything, broken: Broken
) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    file = checkpoint_folder(broken(make(), 7)) / "last.ckpt"
    again = make(folder="elsewhere", init=1)
    again.fit(3, 1e-2, resume=file)
    assert everything(again) == everything(whole)
    assert not checkpoint_folder(again).exists()  # nothing is written unless requested
    with pytest.raises(MissingFileError, match=r"no file .*nowhere\.ckpt"):
        make().fit(3, 1e-2, resume="nowhere.ckpt")
    with pytest.raises(MissingFileError, match="no checkpoint in nowhere"):
        make().fit(3, 1e-2, resume="nowhere")


def test_moved_data_is_the_same_data(class_folder: Path, make: Make, crash_at: CrashAt) -> None:
    def learner(root: Path) -> Learner:
        dls = ImageDataBunch.from_folder(root, size=8, bs=8, device="cpu")
        return Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), seed=0, path="here")

    with pytest.raises(ZeroDivisionError):
        learner(class_folder).fit(2, 1e-2, callbacks=crash_at(1), checkpoint_every=1)
    moved = class_folder.rename(class_folder.with_name("moved"))
    learner(moved).fit(2, 1e-2, resume="auto")
    (moved / "train" / "blue" / "0.png").rename(moved / "train" / "blue" / "new.png")
    with pytest.raises(UsageError, match=r"data: train items: 24, names and labels \w+ there, 24, names and labels"):
        learner(moved).fit(2, 1e-2, resume="auto")


LIMITS: list[dict[str, Any]] = [
    {"max_steps": 7}, {"max_steps": 8}, {"validate_every": 1}, {"validate_every": 3}, {"validate_every": "2 epochs"},
    {"limit_batches": 3}, {"max_time": "1h"}, {"train_metrics": True},
    {"max_steps": 10, "validate_every": 2, "limit_batches": 3, "train_metrics": True},
]  # fmt: skip


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_a_limited_fit_resumes_from_any_batch(
    limits: dict[str, Any], make: Make, crash_at: CrashAt, everything: Everything
) -> None:
    def script(learn: Learner, *callbacks: Callback, **options: Any) -> Learner:
        parts = [SaveModel(), EarlyStopping(patience=4), EMA(0.5), *callbacks]
        learn.fit_one_cycle(3, 1e-2, callbacks=parts, **limits, **options)
        return learn

    whole = script(make(folder="whole"))
    for at in (2, 5, 6):
        with pytest.raises(ZeroDivisionError):
            script(make(folder=f"run-{at}"), crash_at(at), checkpoint_every=1)
        again = script(make(folder=f"run-{at}", init=1), checkpoint_every=1, resume="auto")
        assert repr(everything(again)) == repr(everything(whole))  # nan is not equal to itself
        assert again.recorder.validations == whole.recorder.validations


def test_validations_that_read_the_training_set_resume_from_any_batch(
    make: Make, crash_at: CrashAt, everything: Everything
) -> None:
    def script(learn: Learner, *callbacks: Callback, **options: Any) -> Learner:
        learn.fit(2, 1e-2, callbacks=[SWA(0.0), *callbacks], validate_every=1, **options)
        return learn

    whole = script(make(folder="whole"))
    with pytest.raises(ZeroDivisionError):
        script(make(), crash_at(5), checkpoint_every=1)
    again = script(make(init=1), checkpoint_every=1, resume="auto")
    assert repr(everything(again)) == repr(everything(whole))


@pytest.mark.parametrize("limits", LIMITS[:6], ids=str)
def test_a_fit_with_other_limits_is_another_fit(limits: dict[str, Any], make: Make, crash_at: CrashAt) -> None:
    with pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=crash_at(2), checkpoint_every=1, **limits)
    name = next(iter(limits))
    with pytest.raises(UsageError, match=f"belongs to another fit: {name}: .* there, none here"):
        make().fit(3, 1e-2, resume="auto")


def test_the_best_of_a_completed_stage_is_known_after_a_resume(make: Make, crash_at: CrashAt) -> None:
    """The second stage is worse throughout, so the weights of the first are loaded at the end."""

    def script(learn: Learner, *callbacks: Callback, **options: Any) -> Learner:
        learn.split([learn.model[0], learn.model[3]])  # type: ignore[index]
        learn.fine_tune(2, 1e3, freeze_epochs=1, callbacks=[SaveModel(mode="max"), *callbacks], **options)
        return learn

    whole = script(make(folder="whole"))
    with pytest.raises(ZeroDivisionError):
        script(make(), Second(crash_at(2)), checkpoint_every=1)
    again = script(make(init=1), checkpoint_every=1, resume="auto")
    weights = [learn.model.state_dict().values() for learn in (whole, again)]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


class Second(Callback):
    """Another callback, but only in the second stage of a call."""

    order = 99

    def __init__(self, inner: Callback) -> None:
        self.inner = inner

    def after_batch(self, state: Any) -> None:
        if state.continues_call:
            self.inner.after_batch(state)
