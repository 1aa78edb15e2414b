"""The plan of a fit: its checkpoints and counter, and that planning changes no learner."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit import DataBunch, Learner, LearnkitWarning
from learnkit.errors import MissingFileError, UsageError
from learnkit.learner.resume import MAX_SHOWN, ResumePlan, RunCounter, plan_fit
from learnkit.persistence.checkpoints import is_marker
from learnkit.training.callback import CallbackList
from learnkit.training.state import TrainState
from tests.doubles import Blobs, acting, linear_learner, noisy_net, raising, refused

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


def test_nothing_is_planned_unless_requested(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    planned, state = plan(learn)
    assert planned.counter is learn.counter
    assert (state.resumed, state.start_epoch) == (False, 0)
    assert planned.checkpoints._writer is None
    assert planned.writer is None
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


def test_a_named_checkpoint_must_exist(blobs: Blobs) -> None:
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


def test_a_fit_that_started_late_continues_at_its_position(blobs: Blobs) -> None:
    whole, broken, again = (linear_learner(blobs, noisy_net()) for _ in range(3))
    whole.fit(3, 1e-2, start_epoch=1)
    stop = acting(order=99, before_batch=raising(ZeroDivisionError(), epoch=2, batch=1))
    with pytest.raises(ZeroDivisionError):
        broken.fit(3, 1e-2, start_epoch=1, callbacks=stop, checkpoint_every=1)
    again.fit(3, 1e-2, start_epoch=1, resume="auto")
    assert (again.epoch, again.counter.n_fits) == (whole.epoch, whole.counter.n_fits) == (2, 1)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True))


class Stream:
    """Batches without a length: no position can be found again."""

    def __iter__(self) -> Iterator[Any]:
        numbers = torch.Generator().manual_seed(0)
        for _ in range(3):
            yield torch.randn(4, 2, generator=numbers), torch.arange(4) % 2


def test_an_epoch_whose_position_is_lost_starts_again(blobs: Blobs) -> None:
    def of_stream() -> Learner:
        dls = DataBunch.from_loaders(Stream(), None, classes=["a", "b"])
        return Learner(dls, linear_learner(blobs).model, seed=0)

    stop = acting(order=99, before_batch=raising(ZeroDivisionError(), epoch=1, batch=2))
    with pytest.raises(ZeroDivisionError):
        of_stream().fit(3, 1e-2, callbacks=stop, checkpoint_every=1)
    with pytest.warns(LearnkitWarning, match="cannot return to where it was after 2 batches, so epoch 1 starts again"):
        planned, state = plan(of_stream(), resume="auto")
    assert (state.start_epoch, state.start_batch, state.epochs_begun) == (1, 0, 1)
    assert planned.counter.epoch == 0


def test_a_damaged_checkpoint_does_not_replace_the_previous_one(interrupted: Any, blobs: Blobs) -> None:
    folder = FOLDER / "fit-1"
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:100])
    learn = linear_learner(blobs)
    learn.counter.n_fits = 1
    with pytest.warns(LearnkitWarning, match="last"):
        plan(learn, resume="auto")
    assert last.exists()  # nothing is written, nothing is moved
    with pytest.warns(LearnkitWarning, match="last"):
        plan(learn, every=1, resume="auto")
    assert not last.exists()


# Checkpoints of fits that are done


def body_and_head(blobs: Blobs) -> Learner:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 2))
    return linear_learner(blobs, model, groups=[model[0], model[1]])


def kept() -> dict[str, list[str]]:
    """The files of each fit; "note" for one without weights."""
    return {
        folder.name: ["note" if file.stat().st_size < 10_000 and is_marker(torch.load(file)) else file.name]
        for folder in sorted(FOLDER.iterdir())
        for file in folder.iterdir()
    }


@pytest.mark.slow
def test_one_file_is_kept_for_the_last_fit_of_a_call(blobs: Blobs) -> None:
    learn = body_and_head(blobs)
    learn.fine_tune(1, checkpoint_every=1)
    assert kept() == {"fit-0": ["note"], "fit-1": ["last.ckpt"]}
    learn.fit(1, 1e-3, checkpoint_every=1)
    assert kept() == {"fit-0": ["note"], "fit-1": ["last.ckpt"], "fit-2": ["last.ckpt"]}


def test_a_call_that_is_done_does_not_run_again(blobs: Blobs) -> None:
    learn, again = body_and_head(blobs), body_and_head(blobs)
    batches: list[int] = []
    for each in (learn, again):
        for _ in range(2):
            count = acting(after_batch=lambda s: batches.append(s.batch))
            each.fine_tune(1, freeze_epochs=1, checkpoint_every=1, resume="auto", callbacks=count)
    assert len(batches) == 4 * 4
    assert learn.counter == again.counter
    assert all(map(torch.equal, learn.model.parameters(), again.model.parameters()))
    assert learn.recorder.rows == again.recorder.rows


@pytest.mark.slow
def test_another_first_stage_is_refused_although_its_weights_are_gone(blobs: Blobs) -> None:
    body_and_head(blobs).fine_tune(1, checkpoint_every=1)
    with pytest.raises(UsageError, match=r"fit-0 belongs to another fit: lr: \[.*0.002\] there, \[.*0.004\] here"):
        body_and_head(blobs).fine_tune(1, 4e-3, checkpoint_every=1, resume="auto")


@pytest.mark.parametrize("keep_fits", [1, 2])
def test_the_last_fits_are_kept_on_request_and_a_missing_one_is_told_of(keep_fits: int, blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    for _ in range(4):
        learn.fit(1, 1e-3, checkpoint_every=1, keep_fits=keep_fits)
    assert kept() == {f"fit-{n}": ["last.ckpt" if n >= 4 - keep_fits else "note"] for n in range(4)}
    again = linear_learner(blobs)
    for n in range(4):
        if n < 4 - keep_fits:
            with pytest.warns(LearnkitWarning, match=rf"fit {n} is done, but keep_fits= did not keep its checkpoint"):
                again.fit(1, 1e-3, resume="auto")
        else:
            again.fit(1, 1e-3, resume="auto")
    assert torch.equal(again.model.weight, learn.model.weight)


def test_the_stages_of_one_call_do_not_use_up_what_is_kept(blobs: Blobs) -> None:
    learn = body_and_head(blobs)
    for _ in range(3):
        learn.fine_tune(1, checkpoint_every=1, keep_fits=2)
    assert kept() == {f"fit-{n}": ["last.ckpt" if n in (3, 5) else "note"] for n in range(6)}


@pytest.mark.parametrize("keep_fits", [0, -1, 1.5, True, "all"])
def test_an_invalid_number_of_fits_to_keep_is_refused(keep_fits: Any, blobs: Blobs) -> None:
    with refused("keep_fits", got=keep_fits):
        linear_learner(blobs).fit(1, keep_fits=keep_fits)
