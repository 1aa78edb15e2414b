"""When a fit stops before its last epoch, and when it validates."""

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import EMA, SWA, BnFreeze, EarlyStopping, GradientAccumulation, OneCycle, ReduceLROnPlateau
from learnkit.errors import SkipBatch, StopFit, WrongTypeError
from learnkit.training.state import TrainState
from tests.callbacks.scripted import Scripted
from tests.doubles import Blobs, acting, linear_learner, noisy_net, raising, refused

N = 4  # steps per epoch


class Spy(Callback):
    """What happened in a fit: validations by step, whether within an epoch, the end."""

    order = 99

    def __init__(self) -> None:
        self.validated: list[tuple[int, bool]] = []
        self.end: tuple[int, int, str] = (-1, -1, "")

    def after_validate(self, state: TrainState) -> None:
        self.validated.append((state.step, state.is_mid_epoch))

    def after_fit(self, state: TrainState) -> None:
        self.end = state.epoch, state.step, state.stop_reason


def fitted(blobs: Blobs, epochs: int = 3, *callbacks: Callback, **limits: Any) -> tuple[Learner, Spy]:
    learn, spy = linear_learner(blobs, metrics="accuracy"), Spy()
    learn.fit(epochs, 1e-2, callbacks=[*callbacks, spy], **limits)
    return learn, spy


@pytest.mark.parametrize("max_steps", [1, 3, 4, 5, 8, 11, 12, 100])
def test_a_fit_ends_after_max_steps(max_steps: int, blobs: Blobs) -> None:
    learn, spy = fitted(blobs, max_steps=max_steps)
    steps = min(max_steps, 3 * N)
    epochs = math.ceil(steps / N)
    assert spy.end == (epochs - 1, steps, f"max_steps={max_steps} reached" if max_steps < 3 * N else "")
    assert len(learn.recorder.losses) == steps
    assert len(learn.history) == epochs  # the last one is validated and recorded like the others
    assert spy.validated[-1] == (steps, False)
    assert not learn.history.isna().any(axis=None)
    assert not learn.model.training


@pytest.mark.parametrize("schedule", ["fit_one_cycle", "fit_flat_cos", "fit_sgdr"])
@pytest.mark.parametrize("limits", [{"max_steps": 6}, {"max_steps": 8}, {"limit_batches": 2}, {"limit_batches": 3}])
def test_schedules_are_as_long_as_the_fit(limits: dict[str, Any], schedule: str, blobs: Blobs) -> None:
    args: tuple[int, ...] = (1, 3) if schedule == "fit_sgdr" else (3,)
    learn = linear_learner(blobs)
    getattr(learn, schedule)(*args, 1e-2, **limits)
    steps = limits.get("max_steps") or 3 * limits["limit_batches"]
    assert len(learn.recorder.lrs) == steps
    progress: list[float] = []
    spy = acting(after_batch=lambda state: progress.append(state.progress))
    linear_learner(blobs).fit(3, 1e-2, callbacks=spy, **limits)
    assert progress == pytest.approx([step / steps for step in range(steps)])


def test_accumulated_steps_count_once(blobs: Blobs) -> None:
    _, spy = fitted(blobs, 3, GradientAccumulation(32), max_steps=3)
    assert spy.end[:2] == (1, 3)


def test_a_stream_without_a_length_has_a_schedule_with_max_steps() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            while True:
                yield torch.ones(2), torch.tensor(1)

    valid = [(torch.ones(4, 2), torch.ones(4).long())]
    dls = DataBunch.from_loaders(DataLoader(Stream(), batch_size=4), valid, device="cpu")
    seen: list[float] = []
    spy = acting(before_batch=lambda state: seen.append(state.progress))
    for limits, progress in [({"max_steps": 4}, [0, 1 / 4, 2 / 4, 3 / 4]), ({"limit_batches": 2}, [0, 0.5])]:
        learn = Learner(dls, torch.nn.Linear(2, 2), loss_func=torch.nn.CrossEntropyLoss(), seed=0)
        seen.clear()
        learn.fit_one_cycle(1, 1e-2, callbacks=spy, **limits)  # type: ignore[arg-type]
        assert seen == pytest.approx(progress)


def test_the_weights_of_a_step_are_validated_once(blobs: Blobs) -> None:
    skip = acting(before_batch=raising(SkipBatch(), batch=2))  # it leaves the fit at step 2
    _, spy = fitted(blobs, 1, skip, validate_every=2)
    assert spy.validated == [(2, True), (3, False)]


def test_a_fit_that_ends_at_a_validated_step_is_in_eval_mode(blobs: Blobs) -> None:
    learn, spy = fitted(blobs, max_steps=2, validate_every=2)
    assert spy.validated == [(2, True)]
    assert not any(module.training for module in learn.model.modules())


def test_a_validation_before_an_interruption_is_not_repeated(blobs: Blobs) -> None:
    """Interrupted at the end of the epoch, whose last checkpoint is that of its last step, after the validation."""
    steps: list[int] = []

    def script(crash_in: int) -> Learner:
        learn = linear_learner(blobs, metrics="accuracy")
        spy = acting(label="Spy", after_validate=lambda state: steps.append(state.step))
        crash = acting(after_epoch=raising(ZeroDivisionError(), epoch=crash_in, batch=1), order=99)
        learn.fit(3, callbacks=[spy, crash], max_steps=2, validate_every=2, checkpoint_every=1, resume="auto")
        return learn

    with pytest.raises(ZeroDivisionError):
        script(crash_in=0)
    learn = script(crash_in=9)
    assert steps == [2]
    (within,) = learn.recorder.validations
    results = ["valid_loss", "accuracy"]
    assert learn.history[results].iloc[0].to_dict() == {name: within[name] for name in results}


@pytest.mark.parametrize(("min_epochs", "end"), [(0, (0, 2)), (1, (0, 4)), (2, (1, 8)), (9, (2, 12))])
def test_a_validation_within_an_epoch_stops_no_fit_before_its_fewest_epochs(
    min_epochs: int, end: tuple[int, int], blobs: Blobs
) -> None:
    worse = Scripted([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], name="worse")
    learn, spy = linear_learner(blobs, metrics=worse), Spy()
    learn.fit(3, callbacks=[EarlyStopping("worse", min_epochs=min_epochs), spy], validate_every=1)
    assert spy.end[:2] == end


def test_a_fit_ends_after_max_time(blobs: Blobs) -> None:
    slow = acting(after_batch=lambda state: time.sleep(0.02))
    learn, spy = fitted(blobs, 50, slow, max_time="0.1s")
    assert spy.end[2] == "max_time='0.1s' reached"
    assert 1 <= spy.end[1] <= 5
    assert len(learn.history) == spy.end[0] + 1 < 50


def test_time_before_a_resume_counts(blobs: Blobs) -> None:
    def script(learn: Learner, *callbacks: Callback) -> None:
        learn.fit(50, 1e-2, callbacks=callbacks, max_time="1h", checkpoint_every=1, resume="auto")

    def late(state: TrainState) -> None:
        if state.step == 2:
            state.began -= 3590
        if state.step == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        script(linear_learner(blobs), acting(after_batch=late))
    again, slower = linear_learner(blobs), acting(before_batch=lambda state: setattr(state, "began", state.began - 20))
    script(again, slower)
    assert len(again.recorder.losses) == 3


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (None, [(4, False), (8, False), (12, False)]),
        (1, [(n, n % 4 != 0) for n in range(1, 13)]),
        (3, [(3, True), (4, False), (6, True), (8, False), (9, True), (12, False)]),
        ("4 steps", [(4, False), (8, False), (12, False)]),
        (5, [(4, False), (5, True), (8, False), (10, True), (12, False)]),
        ("1 epoch", [(4, False), (8, False), (12, False)]),
        ("2 epochs", [(8, False), (12, False)]),
        ("9 epochs", [(12, False)]),
    ],
)
def test_validations_are_at_steps_and_at_the_end_of_epochs(
    every: Any, expected: list[tuple[int, bool]], blobs: Blobs
) -> None:
    _, spy = fitted(blobs, validate_every=every)
    assert spy.validated == expected


@pytest.mark.parametrize("callback", [None, EMA, SWA, BnFreeze, OneCycle])
def test_validating_within_epochs_changes_nothing_of_the_training(callback: Any, blobs: Blobs) -> None:
    def trained(**limits: Any) -> Learner:
        learn = linear_learner(blobs, noisy_net(), metrics="accuracy")
        learn.fit(3, 1e-2, callbacks=[] if callback is None else callback(), **limits)
        return learn

    plain, often = trained(), trained(validate_every=1)
    weights = [learn.model.state_dict().values() for learn in (plain, often)]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert plain.recorder.losses == often.recorder.losses
    assert plain.history.drop(columns="time").equals(often.history.drop(columns="time"))


def test_results_within_an_epoch_are_recorded(blobs: Blobs) -> None:
    learn, _ = fitted(blobs, 2, validate_every=3)
    assert [(row["epoch"], row["step"]) for row in learn.recorder.validations] == [(0, 3), (1, 6)]
    assert set(learn.recorder.validations[0]) == {"epoch", "step", "train_loss", "valid_loss", "accuracy"}


def test_an_epoch_that_is_not_validated_has_no_results(blobs: Blobs) -> None:
    learn, _ = fitted(blobs, 4, EarlyStopping("accuracy", mode="min"), validate_every="2 epochs")
    known = learn.history[["valid_loss", "accuracy"]].notna().all(axis=1)
    assert known.tolist() == [False, True, False, True]
    assert learn.history["train_loss"].notna().all()


def test_monitors_look_at_every_validation_once(blobs: Blobs) -> None:
    values = [9, 8, 7, 7, 7, 7, 7, 7]
    learn, spy = linear_learner(blobs, metrics=Scripted(values)), Spy()
    learn.fit(5, 1e-2, callbacks=[EarlyStopping("scripted", patience=3), spy], validate_every=1)
    # The third value, at step 3, is the best; steps 4, 5 and 6 are not better, and the epoch of step 6 is recorded.
    assert spy.end == (1, 6, "scripted has not improved for 3 validations")
    assert len(learn.history) == 2
    assert len(learn.recorder.losses) == 6


def test_the_rate_falls_within_an_epoch(blobs: Blobs) -> None:
    learn = linear_learner(blobs, metrics=Scripted([1]))
    learn.fit(1, 1e-2, callbacks=ReduceLROnPlateau("scripted", factor=10), validate_every=1)
    assert learn.recorder.lrs == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4])


def test_a_callback_that_stops_within_an_epoch_ends_it_as_usual(blobs: Blobs) -> None:
    def stop(state: TrainState) -> None:
        if state.step == 6:
            raise StopFit("enough")

    learn, spy = fitted(blobs, 3, acting(after_validate=stop), validate_every=3)
    assert spy.end == (1, 6, "enough")
    assert len(learn.history) == 2


def test_batches_of_training_and_validation_are_limited(blobs: Blobs) -> None:
    counts = {"train": 0, "valid": 0}

    def count(part: str) -> Any:
        return lambda state: counts.update({part: counts[part] + 1})

    spy = acting(after_batch=count("train"), after_validate_batch=count("valid"))
    learn = linear_learner(blobs, bs=8)  # 8 batches of training, of validation whole
    learn.fit(2, 1e-2, callbacks=spy, limit_batches=3)
    n_valid = min(3, len(learn.dls.valid_dl))  # type: ignore[arg-type]
    assert counts == {"train": 6, "valid": 2 * n_valid}
    assert len(linear_fit_losses(blobs, limit_batches=99)) == 2 * 4
    counts.update(train=0, valid=0)
    learn.fit(1, 1e-2, callbacks=spy)  # the limit is of one fit
    assert counts["train"] == 8


def linear_fit_losses(blobs: Blobs, **limits: Any) -> list[float]:
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, **limits)
    return learn.recorder.losses


def test_limited_batches_are_the_first_of_the_epoch(blobs: Blobs) -> None:
    whole, limited = linear_fit_losses(blobs), linear_fit_losses(blobs, limit_batches=2)
    assert limited[:2] == whole[:2]


def test_an_incomplete_group_steps_at_the_end_of_a_limited_epoch(blobs: Blobs) -> None:
    _, spy = fitted(blobs, 1, GradientAccumulation(32), limit_batches=3)
    assert spy.end[1] == 2


def test_validate_every_needs_a_validation_set(blobs: Blobs) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=16)
    dls.valid_dl = None  # type: ignore[assignment]
    learn = Learner(dls, torch.nn.Linear(2, 2), seed=0)
    with refused("validate_every", got=5, expected="None, as there is no validation set"):
        learn.fit(1, validate_every=5)


@pytest.mark.parametrize("policy", ["fit", "fit_one_cycle", "fit_flat_cos", "fine_tune", "fit_sgdr"])
def test_limits_are_refused_before_anything_is_trained_in_every_policy(policy: str, blobs: Blobs) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    learn = linear_learner(blobs, model, groups=list(model))
    args = (1, 1) if policy == "fit_sgdr" else (1,)
    for name in ("max_steps", "max_time", "validate_every", "limit_batches"):
        with refused(name, got=0):
            getattr(learn, policy)(*args, **{name: 0})
    if policy != "fit":
        with refused(f"{policy}: keyword", WrongTypeError, got="max_step"):
            getattr(learn, policy)(*args, max_step=3)
    assert len(learn.history) == 0
