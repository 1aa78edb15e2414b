"""Where a callback may skip a batch or an epoch, or end a fit; and that it is refused elsewhere."""

import copy
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import EMA
from learnkit.errors import Interrupt, SkipBatch, SkipEpoch, StopFit, UsageError
from learnkit.training.callback import HOOKS
from learnkit.training.interrupts import OF_BATCHES, check_place
from tests.doubles import Blobs, acting, raising

PLACES = {SkipBatch: OF_BATCHES, SkipEpoch: ("before_epoch", *OF_BATCHES), StopFit: tuple(HOOKS)[:-1]}
RIGHT = [(kind, hook) for kind, hook in product(PLACES, HOOKS) if hook in PLACES[kind]]
WRONG = [(kind, hook) for kind, hook in product(PLACES, HOOKS) if hook not in PLACES[kind]]


@pytest.fixture
def learn(blobs: Blobs) -> Learner:
    torch.manual_seed(0)
    return Learner(DataBunch.from_tensors(*blobs, bs=16), nn.Linear(2, 2), seed=0, metrics="accuracy")


@pytest.mark.parametrize(("kind", "hook"), RIGHT)
def test_an_interrupt_in_its_place_ends_what_it_names(kind: type[Interrupt], hook: str, learn: Learner) -> None:
    learn.fit(2, callbacks=acting(**{hook: raising(kind("me"))}))
    if kind is not StopFit:
        assert len(learn.history) == 2


@pytest.mark.parametrize(("kind", "hook"), WRONG)
def test_elsewhere_it_is_an_error_that_says_where(kind: type[Interrupt], hook: str, learn: Learner) -> None:
    def always(state: Any) -> None:
        raise kind("me")

    with pytest.raises(UsageError, match=rf"^{kind.__name__} in {hook}: .*(Raise it in before_|Return)") as error:
        learn.fit(2, callbacks=acting(**{hook: always}))
    assert any(f"in Acting.{hook}" in note for note in error.value.__notes__)
    learn.fit(1)  # it can be used again


def test_after_another_error_it_is_a_note(learn: Learner) -> None:
    fails = acting(before_batch=raising(KeyError("first")), after_fit=raising(StopFit()), label="Fails")
    with pytest.raises(KeyError, match="first") as error:
        learn.fit(1, callbacks=fails)
    assert any("StopFit in after_fit" in note for note in error.value.__notes__)


def weights(learn: Learner) -> Tensor:
    return nn.utils.parameters_to_vector(learn.model.parameters()).detach()


@pytest.mark.parametrize("skipped", [{0}, {1}, {2}, {0, 2}, {0, 1, 2}])
def test_an_epoch_skipped_at_its_start_leaves_the_others_alone(skipped: set[int], learn: Learner) -> None:
    """Training in the epochs that are left, by hand, on the batches of these epochs."""
    batches: dict[int, list[Any]] = {}
    whole = Learner(learn.dls, copy.deepcopy(learn.model), seed=0)
    keep = acting(before_batch=lambda s: batches.setdefault(s.epoch, []).append((s.inputs[0], s.targets)))
    whole.fit(3, callbacks=keep)
    model = copy.deepcopy(learn.model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in (batch for epoch in sorted(set(range(3)) - skipped) for batch in batches[epoch]):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    def skip(state: Any) -> None:
        if state.epoch in skipped:
            raise SkipEpoch

    learn.opt_func, learn.wd = "sgd", 0.0
    learn.fit(3, 0.1, callbacks=acting(before_epoch=skip))
    torch.testing.assert_close(weights(learn), nn.utils.parameters_to_vector(model.parameters()).detach())
    assert learn.history["valid_loss"].notna().all()
    assert len(learn.recorder.losses) == (3 - len(skipped)) * len(batches[0])


class Odd(Callback):
    """Skips the epochs of odd numbers; ends the process in a hook."""

    killed_at: ClassVar[tuple[str, int, int] | None] = None

    def _end(self, hook: str, state: Any) -> None:
        if (hook, state.epoch, state.batch) == Odd.killed_at:
            raise KeyboardInterrupt

    def before_epoch(self, state: Any) -> None:
        if state.epoch % 2:
            raise SkipEpoch

    def after_batch(self, state: Any) -> None:
        self._end("after_batch", state)

    def before_validate(self, state: Any) -> None:
        self._end("before_validate", state)


@pytest.mark.parametrize(
    "at", [("after_batch", 0, 1), ("before_validate", 1, 0), ("after_batch", 2, 0), ("after_batch", 2, 2)]
)
def test_a_fit_that_skips_epochs_resumes(
    at: tuple[str, int, int], blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(name: str) -> Learner:
        torch.manual_seed(0)
        dls = DataBunch.from_tensors(*blobs, bs=16)
        learn = Learner(dls, nn.Linear(2, 2), seed=0, callbacks=EMA(0.5), path=tmp_path / name)
        with suppress(KeyboardInterrupt):
            learn.fit(4, 0.1, callbacks=Odd(), checkpoint_every=1, resume="auto")
        return learn

    whole = fitted("whole")
    monkeypatch.setattr(Odd, "killed_at", at)
    assert len(fitted("killed").history) == at[1]
    monkeypatch.setattr(Odd, "killed_at", None)
    resumed = fitted("killed")
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.history["valid_loss"].tolist() == resumed.history["valid_loss"].tolist()
    assert whole.recorder.losses == resumed.recorder.losses


def test_the_rest_of_an_epoch_is_skipped_after_a_validation_within_it(learn: Learner) -> None:
    after = acting(after_validate=lambda state: raising(SkipEpoch(), batch=1)(state) if state.is_mid_epoch else None)
    learn.fit(1, callbacks=after, validate_every=2)
    assert len(learn.recorder.losses) == 2
    assert len(learn.history) == 1


def test_of_two_the_first_counts_and_is_named(learn: Learner) -> None:
    last = len(learn.dls.train_dl) - 1
    first = acting(after_epoch=raising(SkipBatch(), batch=last), label="First")
    second = acting(after_epoch=raising(StopFit(), batch=last), label="Second")
    with pytest.raises(UsageError, match="SkipBatch in after_epoch") as error:
        learn.fit(1, callbacks=[first, second])
    assert any("in First.after_epoch" in note for note in error.value.__notes__)


def test_what_ends_a_fit_may_be_raised_in_any_hook_but_the_last() -> None:
    for hook in PLACES[StopFit]:
        check_place(StopFit(), hook)
