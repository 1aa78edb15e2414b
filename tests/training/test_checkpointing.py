"""Checkpoints: when one is due, what it holds, and that a fit continues from it bit by bit."""

import copy
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, LearnkitWarning
from learnkit.device import Compute
from learnkit.errors import NonFiniteLossError, StopFit
from learnkit.training.callback import CallbackList
from learnkit.training.checkpointing import Checkpoints
from learnkit.training.interval import Interval
from learnkit.training.limits import Limits
from learnkit.training.loop import fit
from learnkit.training.snapshot import Copies, seek
from learnkit.training.state import TrainState
from tests.doubles import acting, raising


class Kept:
    """A writer that keeps copies of what it was given."""

    def __init__(self) -> None:
        self.contents: list[dict[str, Any]] = []
        self.is_busy = False
        self.finished = 0

    def submit(self, content: dict[str, Any]) -> None:
        self.contents.append(copy.deepcopy(Copies().take(content)))

    def finish(self) -> None:
        self.finished += 1

    @property
    def places(self) -> list[tuple[int, int, bool]]:
        return [(one["at"]["epoch"], one["at"]["batch"], one["is_finished"]) for one in self.contents]


def batches(n: int = 4) -> list[tuple[Tensor, Tensor]]:
    numbers = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 2, generator=numbers), torch.randint(0, 2, (4,), generator=numbers)) for _ in range(n)]


def state(loader: Any = None, n_epochs: int = 2, **options: Any) -> TrainState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.5), nn.Linear(16, 2))
    return TrainState(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), 0.1),
        loss_func=nn.CrossEntropyLoss(),
        train_dl=batches() if loader is None else loader,
        compute=Compute(torch.device("cpu")),
        n_epochs=n_epochs,
        **options,
    )


def test_without_a_writer_a_fit_is_the_same_and_nothing_is_saved() -> None:
    plain, kept = state(), state()
    fit(plain, CallbackList())
    writer = Kept()
    fit(kept, CallbackList(), Checkpoints(writer, Interval(steps=1)))
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), kept.model.parameters(), strict=True))
    assert writer.finished == 1


@pytest.mark.parametrize(
    ("interval", "places"),
    [
        (Interval(steps=3), [(0, 3, False), (1, 0, False), (1, 3, False), (2, 0, False), (2, 0, True)]),
        (Interval(), [(1, 0, False), (2, 0, False), (2, 0, True)]),
        (Interval(seconds=0.0), [(0, 1, False), (0, 2, False), (0, 3, False), (0, 4, False), (1, 0, False)]),
    ],
)
def test_checkpoints_are_taken_when_due_and_at_the_end_of_epochs_and_fits(
    interval: Interval, places: list[tuple[int, int, bool]]
) -> None:
    writer = Kept()
    fit(state(), CallbackList(), Checkpoints(writer, interval, {"which": "this"}))
    assert writer.places[: len(places)] == places
    assert all(one["which"] == "this" for one in writer.contents)


def test_no_checkpoint_at_the_end_of_an_epoch_while_one_is_being_written() -> None:
    writer = Kept()
    writer.is_busy = True
    fit(state(), CallbackList(), Checkpoints(writer))
    assert writer.places == [(2, 0, True)]


def test_no_checkpoint_is_taken_between_accumulated_batches() -> None:
    writer = Kept()
    running = state(n_epochs=1)
    running.compute.accumulate = 12  # three batches per step, and one at the end
    fit(running, CallbackList(), Checkpoints(writer, Interval(steps=1)))
    assert writer.places == [(0, 3, False), (1, 0, False), (1, 0, True)]


@pytest.mark.parametrize("at", [0, 1, 2])  # the batch before the validation that stops the fit
def test_no_checkpoint_is_taken_once_a_fit_is_to_stop(at: int) -> None:
    """One could not say so: a fit that goes on from it would not stop."""
    writer, running = Kept(), state(valid_dl=batches(1))
    running.limit(Limits.of(validate_every=1))
    stop = acting(after_validate=raising(StopFit(), batch=at))
    fit(running, CallbackList([stop]), Checkpoints(writer, Interval(steps=1)))
    assert writer.places == [*((0, batch, False) for batch in range(1, at + 1)), (2, 0, True)]


def test_losses_are_read_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device whose losses are read fifty at a time."""
    monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))
    data, writer = batches(), Kept()
    data[1][0].fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="batch 1 "):
        fit(state(data), CallbackList(), Checkpoints(writer, Interval(steps=1)))
    assert writer.places == [(0, 1, False)]
    assert all(bool(tensor.isfinite().all()) for tensor in writer.contents[0]["model"].values())


class DrawsGlobally:
    """Four batches in an order drawn from torch's global generator, one draw for each batch too."""

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        data = batches()
        for number in torch.randperm(4).tolist():
            torch.rand(1)
            yield data[number]


class OfEpoch(DrawsGlobally):
    """The same, seeded with the epoch alone: it cannot start within one."""

    def seed_epoch(self, seed: int, epoch: int) -> None:
        self.order = torch.randperm(4, generator=torch.Generator().manual_seed(epoch)).tolist()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        data = batches()
        return iter([data[number] for number in self.order])


@pytest.mark.parametrize("loader", [DrawsGlobally, OfEpoch, batches])
@pytest.mark.parametrize("at", [(0, 2), (1, 0), (1, 1), (1, 3)])
def test_a_fit_continues_from_any_place_to_the_same_bits(at: tuple[int, int], loader: Any) -> None:
    whole = state(loader())
    fit(whole, CallbackList())
    writer, broken = Kept(), state(loader())
    stop = acting(before_batch=raising(ZeroDivisionError(), epoch=at[0], batch=at[1]))
    with pytest.raises(ZeroDivisionError):
        fit(broken, CallbackList([stop]), Checkpoints(writer, Interval(steps=1)))
    saved = writer.contents[-1]
    assert (saved["at"]["epoch"], saved["at"]["batch"]) == at
    again = state(loader())
    with torch.no_grad():
        next(again.model.parameters()).fill_(9.0)
    seek(again, saved)
    fit(again, CallbackList(), Checkpoints(saved=saved))
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True))
    assert (again.step, again.epochs_begun) == (whole.step, whole.epochs_begun) == (8, 2)


def peeked() -> float:
    """The next number of the global generator, which does not move."""
    kept = torch.get_rng_state()
    drawn = torch.rand(()).item()
    torch.set_rng_state(kept)
    return drawn


def test_what_a_loader_draws_while_it_skips_batches_is_undone() -> None:
    writer, after = Kept(), list[float]()
    stop = acting(before_batch=raising(ZeroDivisionError(), batch=2))
    note = acting(label="Note", after_batch=lambda state: after.append(peeked()))
    with pytest.raises(ZeroDivisionError):
        fit(state(), CallbackList([stop, note]), Checkpoints(writer, Interval(steps=1)))
    running, checkpoints = state(), Checkpoints(saved=writer.contents[-1])
    seek(running, writer.contents[-1])
    with running.compute.preserve_rng():
        checkpoints.begin(running, CallbackList())
        checkpoints.begin_epoch(running, CallbackList())
        torch.rand(5)  # the loader skips
        checkpoints.begin_batches(running)
        assert peeked() == after[1]


def test_a_signal_ends_the_fit_after_the_running_step_with_a_checkpoint() -> None:
    writer = Kept()
    ask = acting(before_batch=lambda state: signal.raise_signal(signal.SIGTERM) if state.batch == 1 else None)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        fit(state(), CallbackList([ask]), Checkpoints(writer))
    assert caught.value.code == 143
    assert writer.places == [(0, 2, False)]
    assert writer.finished == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_writes_a_checkpoint_even_if_it_kills_the_loader() -> None:
    class Dies:
        def __iter__(self) -> Iterator[Any]:
            yield from batches(2)
            signal.raise_signal(signal.SIGTERM)
            raise RuntimeError("a worker died")

    writer = Kept()
    with pytest.raises(SystemExit):
        fit(state(Dies()), CallbackList(), Checkpoints(writer))
    assert writer.places == [(0, 2, False)]


def test_an_error_of_a_loader_is_raised_unchanged() -> None:
    class Dies:
        def __iter__(self) -> Iterator[Any]:
            yield from batches(2)
            raise RuntimeError("a worker died")

    writer = Kept()
    with pytest.raises(RuntimeError, match="a worker died"):
        fit(state(Dies()), CallbackList(), Checkpoints(writer))
    assert writer.places == []


class Counts(Callback):
    def __init__(self) -> None:
        self.n, self.fixed, self.seen = 0, 1, list[int]()

    def after_batch(self, state: TrainState) -> None:
        self.n += 1
        self.seen.append(self.n)


def test_a_callback_that_changes_without_a_state_dict_is_reported_once() -> None:
    with pytest.warns(LearnkitWarning, match=r"Counts has no state_dict, so its attributes \(n, seen\)") as caught:
        fit(state(), CallbackList([Counts()]), Checkpoints(Kept(), Interval(steps=1)))
    assert len(caught) == 1


CHANGES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "a number": (0, lambda value: value + 1),
    "text": ("", lambda value: value + "a"),
    "a tensor in place": (torch.zeros(2), lambda value: value.add_(1)),
    "another tensor": (torch.zeros(2), lambda value: value + 1),
    "a longer list": ([], lambda value: value.append(1) or value),
    "a larger dict": ({}, lambda value: value | {len(value): 1}),
    "another object": (nn.Identity(), lambda value: nn.Identity()),
}


@pytest.mark.parametrize(("start", "change"), CHANGES.values(), ids=list(CHANGES))
def test_every_change_of_an_attribute_is_seen(start: Any, change: Callable[[Any], Any]) -> None:
    class Keeps(Callback):
        def __init__(self) -> None:
            self.kept = copy.deepcopy(start)

    class Changes(Keeps):
        def after_batch(self, state: TrainState) -> None:
            self.kept = change(self.kept)

    with pytest.warns(LearnkitWarning, match=r"Changes has no state_dict, so its attributes \(kept\)") as caught:
        fit(state(), CallbackList([Changes(), Keeps()]), Checkpoints(Kept(), Interval(steps=1)))
    assert len(caught) == 1


def test_without_a_writer_nothing_is_reported() -> None:
    with warnings.catch_warnings(record=True) as caught:
        fit(state(), CallbackList([Counts()]), Checkpoints())
    assert caught == []
