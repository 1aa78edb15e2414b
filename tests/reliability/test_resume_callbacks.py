"""What callbacks and loaders keep, or cannot keep, in a resumed fit."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from learnkit import Callback, DataBunch, Learner, LearnkitWarning
from learnkit.errors import UsageError

Make = Callable[..., Learner]
Network = Callable[..., nn.Module]
CrashAt = Callable[..., Callback]
Everything = Callable[[Learner], list[Any]]
Broken = Callable[..., Learner]


def test_callback_state_that_is_lost_is_reported_once(make: Make) -> None:
    class Counts(Callback):
        def __init__(self) -> None:
            self.n, self.fixed = 0, 1

        def after_batch(self, state: Any) -> None:
            self.n += 1

    with pytest.warns(LearnkitWarning, match=r"Counts has no state_dict, so its attributes \(n\)") as caught:
        make().fit(2, 1e-2, callbacks=Counts(), checkpoint_every=1)
    assert len(caught) == 1


def test_state_that_cannot_be_saved_is_refused_by_name(make: Make) -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"things": [object()]}

    with pytest.raises(UsageError, match=r"callbacks.Odd.things\[0\] cannot be saved in a checkpoint: got 'object'"):
        make().fit(1, 1e-2, callbacks=Odd(), checkpoint_every=1)


def test_hooks_see_the_restored_state(make: Make, crash_at: CrashAt) -> None:
    """Counts within an epoch are right in an interrupted epoch, and in the one after."""

    class Sums(Callback):
        def __init__(self) -> None:
            self.n, self.per_epoch = 0, []  # type: ignore[var-annotated]

        def before_epoch(self, state: Any) -> None:
            self.n = 0

        def after_batch(self, state: Any) -> None:
            self.n += 1

        def after_epoch(self, state: Any) -> None:
            self.per_epoch.append(self.n)

        def state_dict(self) -> dict[str, Any]:
            return {"n": self.n, "per_epoch": self.per_epoch}

        def load_state_dict(self, saved: dict[str, Any]) -> None:
            self.n, self.per_epoch = saved["n"], saved["per_epoch"]

    for at in (5, 7, 8):
        with pytest.raises(ZeroDivisionError):
            make().fit(3, 1e-2, callbacks=[Sums(), crash_at(at)], checkpoint_every=1)
        sums = Sums()
        make().fit(3, 1e-2, callbacks=sums, resume="auto")
        assert sums.per_epoch == [4, 4, 4]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        numbers = torch.Generator().manual_seed(0)
        for n in range(64):
            yield torch.randn(2, generator=numbers), n % 2


def test_a_stream_without_state_restarts_its_epoch(make: Make, crash_at: CrashAt, network: Network) -> None:
    def learner() -> Learner:
        dls = DataBunch.from_loaders(DataLoader(Stream(), 16), None, classes=["a", "b"], device="cpu")
        return Learner(dls, network(), seed=0)

    with pytest.raises(ZeroDivisionError):
        learner().fit(2, 1e-2, callbacks=crash_at(5), checkpoint_every=1)
    learn = learner()
    with pytest.warns(LearnkitWarning, match="cannot return to where it was after 1 batches, so epoch 1 starts again"):
        learn.fit(2, 1e-2, resume="auto")
    assert len(learn.history) == 2


def test_a_stateful_loader_restores_its_position(
    make: Make, blobs: Any, everything: Everything, broken: Broken, network: Network
) -> None:
    class Keeps:
        """Batches in its own order, independent of any seed."""

        batch_size = 16

        def __init__(self) -> None:
            self.begun, self.place = 0, 0

        def __len__(self) -> int:
            return 4

        def __iter__(self) -> Iterator[Any]:
            if not self.place:
                self.begun += 1
            while self.place < 4:
                self.place += 1
                rows = torch.roll(torch.arange(64), self.begun)[16 * (self.place - 1) : 16 * self.place]
                yield blobs.x_train[rows], blobs.y_train[rows]
            self.place = 0

        def state_dict(self) -> dict[str, Any]:
            return {"begun": self.begun, "place": self.place}

        def load_state_dict(self, saved: dict[str, Any]) -> None:
            self.begun, self.place = saved["begun"], saved["place"]

    def learner(init: int, name: str) -> Learner:
        torch.manual_seed(init)
        dls = DataBunch.from_loaders(Keeps(), None, classes=["a", "b"], device="cpu")
        return Learner(dls, network(), seed=0, path=name)

    whole, again = learner(0, "whole"), learner(1, "run")
    whole.fit(3, 1e-2)
    broken(learner(0, "run"), 6, checkpoint_every=1)
    again.fit(3, 1e-2, resume="auto")
    assert everything(again) == everything(whole)


def test_a_last_batch_of_one_is_skipped_after_resuming_too(
    make: Make, blobs: Any, crash_at: CrashAt, everything: Everything
) -> None:
    def learner(name: str) -> Learner:
        torch.manual_seed(0)
        train = DataLoader(TensorDataset(blobs.x_train[:49], blobs.y_train[:49]), 16, shuffle=True)
        dls = DataBunch.from_loaders(train, None, classes=["a", "b"], device="cpu")
        return Learner(dls, nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), seed=0, path=name)

    whole, again = learner("whole"), learner("run")
    with pytest.warns(LearnkitWarning, match="is dropped"):
        whole.fit(2, 1e-2)
    with pytest.raises(ZeroDivisionError), pytest.warns(LearnkitWarning, match="is dropped"):
        learner("run").fit(2, 1e-2, callbacks=crash_at(1, "after_epoch"), checkpoint_every=1)
    again.fit(2, 1e-2, resume="auto")  # at the end of the second epoch's batches
    assert everything(again) == everything(whole)
