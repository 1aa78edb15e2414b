"""The plan of a fit: its checkpoints and counter, and that planning changes no learner."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit import LearnkitWarning
from learnkit.errors import MissingFileError, UsageError
from learnkit.learner.resume import MAX_SHOWN, ResumePlan, RunCounter, plan_fit
from learnkit.training.callback import CallbackList
from learnkit.training.state import TrainState
from tests.doubles import Blobs, acting, linear_learner, raising, refused

FOLDER = Path("models") / "checkpoints"


def plan(learn: Any, every: Any = None, resume: Any = None, **arguments: Any) -> tuple[ResumePlan, TrainState]:
    """The plan of `learn.fit(3)`."""
    state = learn._fit_state(3, 1e-2, 0.01, 0)
    given = {"epochs": 3, "lr": state.rates, "wd": 0.01, "start_epoch": 0, **arguments}
    return plan_fit(learn.dls, state, CallbackList(), given, learn.counter, every, resume), state


@pytest.fixture
def interrupted(blobs: Blobs) -> Any:
    """A learner whose second fit of 3 epochs ended in its second epoch, in the batch with number 2."""
    learn = linear_learner(blobs)
    learn.fit(2, 1e-2, checkpoint_every=1)
    stop = acting(order=99, before_batch=raising(ZeroDivisionError(), epoch=1, batch=2))
    with pytest.raises(ZeroDivisionError):
        learn.fit(3, 1e-2, callbacks=stop, checkpoint_every=1)
    return learn


def test_nothing_is_planned_where_nothing_is_asked_for(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    (checkpoints, counter), state = plan(learn)
    assert counter is learn.counter
    assert (state.resumed, state.start_epoch) == (False, 0)
    assert checkpoints._writer is None
    assert not FOLDER.exists()


def test_a_plan_continues_and_changes_no_counter(interrupted: Any, blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    learn.counter = RunCounter(seed=0, epoch=8, n_fits=1)
    before = copy.copy(learn.counter)
    planned, state = plan(learn, resume="auto")
    assert learn.counter == before
    assert planned.counter == RunCounter(seed=0, epoch=2, n_fits=1)  # where the interrupted fit began
    assert (state.start_epoch, state.start_batch, state.epoch_offset, state.step) == (1, 2, 2, 6)
    assert all(torch.equal(a, b) for a, b in zip(learn.model.parameters(), interrupted.model.parameters(), strict=True))


def test_the_position_among_the_epochs_of_all_fits_is_that_of_the_first_try(interrupted: Any, blobs: Blobs) -> None:
    whole = linear_learner(blobs)
    whole.fit(2, 1e-2)
    whole.fit(3, 1e-2)
    again = linear_learner(blobs)
    again.counter.n_fits = 1
    again.fit(3, 1e-2, resume="auto")
    assert (again.epoch, again.counter.n_fits) == (whole.epoch, whole.counter.n_fits) == (5, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True))


def test_a_drawn_seed_is_taken_from_the_checkpoint_and_a_passed_one_is_compared(blobs: Blobs) -> None:
    first = linear_learner(blobs, seed=None)
    first.fit(3, 1e-2, checkpoint_every=5)
    planned, state = plan(linear_learner(blobs, seed=None), resume="auto")
    assert planned.counter.seed == state.seed == first.seed
    assert state.is_done
    assert planned.counter.seed_is_drawn
    with pytest.raises(UsageError, match=f"seed: {first.seed} there, 1 here"):
        plan(linear_learner(blobs, seed=1), resume="auto")


def test_a_named_checkpoint_must_be_there(blobs: Blobs) -> None:
    assert not plan(linear_learner(blobs), resume="auto")[1].resumed
    Path("empty").mkdir()
    with pytest.raises(MissingFileError, match="no checkpoint in empty"):
        plan(linear_learner(blobs), resume="empty")
    with refused("resume", got=3):
        plan(linear_learner(blobs), resume=3)


def test_a_new_fit_removes_checkpoints_of_itself_and_later_ones(blobs: Blobs) -> None:
    for number in (0, 1, 2, 10):
        (FOLDER / f"fit-{number}").mkdir(parents=True)
        (FOLDER / f"fit-{number}" / "last.ckpt").write_bytes(b"old")
    (FOLDER / "fit-mine").mkdir()
    learn = linear_learner(blobs)
    learn.counter.n_fits = 1
    plan(learn)
    plan(learn, every=1)
    left = sorted(path.parent.name for path in FOLDER.rglob("last.ckpt"))
    assert left == ["fit-0"]
    assert (FOLDER / "fit-mine").is_dir()


@pytest.mark.parametrize("n", [1, MAX_SHOWN, MAX_SHOWN + 2])
def test_differences_are_listed_up_to_a_number(n: int, interrupted: Any, blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    learn.counter.n_fits = 1
    with pytest.raises(UsageError) as caught:
        plan(learn, resume="auto", **{f"option {number}": number for number in range(n)})
    assert [f"option {number}: none there, {number} here" in str(caught.value) for number in range(n)] == [
        number < MAX_SHOWN for number in range(n)
    ]
    assert ("and 2 more" in str(caught.value)) is (n > MAX_SHOWN)


def test_another_environment_is_reported(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    linear_learner(blobs).fit(3, 1e-2, checkpoint_every=5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    with pytest.warns(LearnkitWarning, match="threads: 1 there, 77 here; the result may differ in the last bits"):
        plan(linear_learner(blobs), resume="auto")
