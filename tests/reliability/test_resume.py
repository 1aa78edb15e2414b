"""Exact resume: kills, signals, damaged files, full disks, and checkpoints of other fits."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable as Maker
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from learnkit import Callback, DataBunch, ImageDataBunch, Learner, LearnkitWarning
from learnkit.callbacks import EMA, BnFreeze, CSVLogger, EarlyStopping, MixUp, OneCycle, SaveModel
from learnkit.errors import CorruptFileError, MissingFileError, NonFiniteLossError, UnsafeFileError, UsageError

KILLS = Path(__file__).with_name("kills.py")


def network(width: int = 8, dropout: float = 0.3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 2))


Make = Maker[..., Learner]


@pytest.fixture
def make(blobs: Any, tmp_path: Path) -> Make:
    """A learner of 4 batches an epoch, its weights always the same unless `init` is another."""

    def made(*, folder: str = "run", init: int = 0, bs: int = 16, n: int = 64, **options: Any) -> Learner:
        torch.manual_seed(init)
        x_train, y_train, x_valid, y_valid = blobs
        dls = DataBunch.from_tensors(x_train[:n], y_train[:n], x_valid, y_valid, bs=bs, device="cpu")
        options = {"seed": 0, "metrics": "accuracy", **options}
        return Learner(dls, options.pop("model", None) or network(), path=tmp_path / folder, **options)

    return made


class At(Callback):
    """Does something once, at a batch of the fit."""

    order = 99

    def __init__(self, number: int, act: Maker[[], object]) -> None:
        self.number, self.act = number, act

    def after_batch(self, state: Any) -> None:
        if 4 * state.epoch + state.batch == self.number:
            self.act()


class AtValidation(At):
    def after_batch(self, state: Any) -> None: ...

    def before_validate(self, state: Any) -> None:
        if state.epoch == self.number:
            self.act()


def crash() -> None:
    raise ZeroDivisionError


def send(number: signal.Signals) -> Maker[[], None]:
    return lambda: os.kill(os.getpid(), number)


def folder(learn: Learner, fit: int = 0) -> Path:
    return learn.path / "models" / "checkpoints" / f"fit-{fit}"


def everything(learn: Learner) -> list[Any]:
    assert learn.opt is not None
    of_optimizer = [list(state.values()) for state in learn.opt.state_dict()["state"].values()]
    rows = [{name: value for name, value in row.items() if name != "time"} for row in learn.recorder.rows]
    recorder = learn.recorder.losses, learn.recorder.smooth_losses, learn.recorder.lrs, learn.recorder.moms
    tensors = [*learn.model.state_dict().values(), *(part for state in of_optimizer for part in state)]
    return [[t.tolist() for t in tensors], rows, recorder, learn.recorder.epoch_ends, learn.epoch, learn.n_fits]


def broken(learn: Learner, at: int, **options: Any) -> Learner:
    """The learner after a fit of 3 epochs that came to its end at a batch."""
    with pytest.raises(ZeroDivisionError):
        learn.fit(3, 1e-2, callbacks=At(at, crash), **{"checkpoint_every": 3, **options})
    return learn


# Kills


def test_fits_that_are_killed_at_random_end_as_if_they_had_not_been() -> None:
    chosen = ["--only", "everything, 0 workers"]
    told = subprocess.run([sys.executable, str(KILLS), "--kills", "4", *chosen], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert int(told.stdout.splitlines()[-1].split()[0]) > 0


@pytest.mark.slow
def test_every_configuration_survives_kills() -> None:
    told = subprocess.run([sys.executable, str(KILLS), "--trials", "3"], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert int(told.stdout.splitlines()[-1].split()[0]) >= 50


@pytest.mark.parametrize("at", range(3, 12))
def test_a_fit_goes_on_from_any_batch(at: int, make: Make) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    broken(make(), at)
    again = make(init=1)
    again.fit(3, 1e-2, checkpoint_every=3, resume="auto")
    assert everything(again) == everything(whole)


def test_a_fit_of_a_drawn_seed_goes_on_with_it(make: Make) -> None:
    first = broken(make(seed=None), 5)
    again = make(init=1, seed=None)
    assert again.seed != first.seed
    again.fit(3, 1e-2, resume="auto")
    assert again.seed == first.seed


def test_a_fit_that_is_done_is_not_run_again(make: Make) -> None:
    first = make()
    first.fit_one_cycle(2, 1e-2, callbacks=EMA(0.5), checkpoint_every=50)
    again = make(init=1)
    again.fit_one_cycle(2, 1e-2, callbacks=[EMA(0.5), At(0, crash)], checkpoint_every=50, resume="auto")
    assert everything(again) == everything(first)


def test_early_stopping_is_an_end_like_any_other(make: Make) -> None:
    stopping = EarlyStopping(min_delta=100.0)
    first = make()
    first.fit(9, 1e-2, callbacks=stopping, checkpoint_every=1)
    again = make(init=1)
    again.fit(9, 1e-2, callbacks=[EarlyStopping(min_delta=100.0), At(0, crash)], checkpoint_every=1, resume="auto")
    assert everything(again) == everything(first)
    assert len(again.history) == 2


def test_the_second_fit_goes_on_when_the_first_is_done(make: Make) -> None:
    def script(learn: Learner, *more: Callback, **options: Any) -> Learner:
        learn.fit(1, 1e-2, **options)
        learn.fit(2, 1e-3, callbacks=more, **options)
        return learn

    whole = script(make(folder="whole"))
    with pytest.raises(ZeroDivisionError):
        script(make(), At(5, crash), checkpoint_every=2)
    assert everything(script(make(init=1), checkpoint_every=2, resume="auto")) == everything(whole)


def test_both_stages_of_fine_tuning_go_on(make: Make, blobs: Any) -> None:
    def learner(name: str, init: int) -> Learner:
        torch.manual_seed(init)
        model = network()
        groups = [nn.Sequential(*model[:2]), nn.Sequential(*model[2:])]  # type: ignore[index]
        return make(folder=name, model=model, groups=groups)

    whole = learner("whole", 0)
    whole.fine_tune(2, 1e-2)
    for at, match in ((1, "frozen"), (6, "all")):
        name = f"run-{match}"
        with pytest.raises(ZeroDivisionError):
            learner(name, 0).fine_tune(2, 1e-2, callbacks=At(at, crash), checkpoint_every=1)
        again = learner(name, 1)
        again.fine_tune(2, 1e-2, checkpoint_every=1, resume="auto")
        assert everything(again) == everything(whole)
    with pytest.raises(UsageError, match="fine_tune: resume: got 'x"):
        whole.fine_tune(1, resume="x.ckpt")


def test_a_fit_that_starts_anew_leaves_no_checkpoint_of_later_fits(make: Make) -> None:
    learn = make()
    learn.fit(1, 1e-2, checkpoint_every=1)
    learn.fit(1, 1e-2, checkpoint_every=1)
    assert list(folder(learn, 1).iterdir())
    broken(make(), 0)
    assert list(folder(learn, 1).iterdir()) == []


def test_the_same_learner_goes_on_after_an_interruption(make: Make) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    learn = make()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3, 1e-2, callbacks=At(6, send(signal.SIGINT)), checkpoint_every=100)
    learn.fit(3, 1e-2, checkpoint_every=100, resume="auto")
    assert everything(learn) == everything(whole)


def test_a_named_checkpoint_is_gone_on_from_or_is_an_error(make: Make) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    file = folder(broken(make(), 7)) / "last.ckpt"
    again = make(folder="elsewhere", init=1)
    again.fit(3, 1e-2, resume=file)
    assert everything(again) == everything(whole)
    assert not folder(again).exists()  # nothing is written unless it is asked for
    with pytest.raises(MissingFileError, match=r"no file .*nowhere\.ckpt"):
        make().fit(3, 1e-2, resume="nowhere.ckpt")
    with pytest.raises(MissingFileError, match="no checkpoint in nowhere"):
        make().fit(3, 1e-2, resume="nowhere")


def test_data_that_was_moved_is_the_same(class_folder: Path, make: Make) -> None:
    def learner(root: Path) -> Learner:
        dls = ImageDataBunch.from_folder(root, size=8, bs=8, device="cpu")
        return Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), seed=0, path="here")

    with pytest.raises(ZeroDivisionError):
        learner(class_folder).fit(2, 1e-2, callbacks=At(1, crash), checkpoint_every=1)
    moved = class_folder.rename(class_folder.with_name("moved"))
    learner(moved).fit(2, 1e-2, resume="auto")
    (moved / "train" / "blue" / "0.png").rename(moved / "train" / "blue" / "new.png")
    with pytest.raises(UsageError, match=r"data: train items: 24, names and labels \w+ there, 24, names and labels"):
        learner(moved).fit(2, 1e-2, resume="auto")


# Refusals


@pytest.mark.parametrize(
    ("options", "fit", "match"),
    [
        ({"bs": 32}, {}, "batch size: 16 there, 32 here"),
        ({"n": 48}, {}, r"data: training: 64 items, \w+ there, 48 items, \w+ here"),
        (
            {"model": network(width=9)},
            {},
            r"model: 0.weight: \(8, 2\) torch.float32 there, \(9, 2\) torch.float32 here",
        ),
        ({"model": network(dropout=0.4)}, {}, r"Dropout\(p=0.3, inplace=False\) there, \(2\): Dropout\(p=0.4"),
        ({"seed": 5}, {}, "seed: 0 there, 5 here"),
        ({"opt_func": "sgd"}, {}, "optimizer: AdamW there, SGD here"),
        ({}, {"epochs": 4}, "epochs: 3 there, 4 here"),
        ({}, {"lr": 1e-3}, r"lr: \[0.01\] there, \[0.001\] here"),
        ({}, {"wd": 0.5}, "wd: 0.01 there, 0.5 here"),
        ({}, {"callbacks": MixUp(0.9)}, "MixUp: alpha: 0.4 there, 0.9 here"),
        ({"bs": 8}, {"epochs": 4}, "epochs: 3 there, 4 here; batch size: 16 there, 8 here"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_with_both_values(
    options: dict[str, Any], fit: dict[str, Any], match: str, make: Make
) -> None:
    with pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=[MixUp(0.4), At(5, crash)], checkpoint_every=3)
    learn = make(init=1, **options)
    before = [tensor.clone() for tensor in learn.model.state_dict().values()]
    with pytest.raises(UsageError, match=match):
        learn.fit(**{"epochs": 3, "lr": 1e-2, "callbacks": MixUp(0.4), "resume": "auto", **fit})
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.state_dict().values(), strict=True))
    assert learn.history.empty


def test_a_schedule_of_another_form_is_refused(make: Make) -> None:
    with pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=[OneCycle(), At(5, crash)], checkpoint_every=3)
    with pytest.raises(UsageError, match=r"OneCycle: pct_start: 0\.3 there, 0\.5 here"):
        make().fit(3, 1e-2, callbacks=OneCycle(pct_start=0.5), resume="auto")


def test_other_surroundings_are_told_of(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(make(), 5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.warns(LearnkitWarning, match="threads: 1 there, 7 here; callbacks:  there, BnFreeze here; it is not"):
        make().fit(3, 1e-2, callbacks=BnFreeze(), resume="auto")


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "often", "5 minutes"])
def test_an_interval_that_is_none_is_refused(every: Any, make: Make) -> None:
    with pytest.raises(UsageError, match="checkpoint_every: got"):
        make().fit(1, checkpoint_every=every)


@pytest.mark.parametrize("resume", [True, 3])
def test_a_resume_that_is_none_is_refused(resume: Any, make: Make) -> None:
    with pytest.raises(UsageError, match="resume: got"):
        make().fit(1, resume=resume)


# Callbacks and loaders


def test_what_a_callback_does_not_keep_is_told_once(make: Make) -> None:
    class Counts(Callback):
        def __init__(self) -> None:
            self.n, self.fixed = 0, 1

        def after_batch(self, state: Any) -> None:
            self.n += 1

    with pytest.warns(LearnkitWarning, match=r"Counts has no state_dict, so what it keeps \(n\)") as told:
        make().fit(2, 1e-2, callbacks=Counts(), checkpoint_every=1)
    assert len(told) == 1


def test_what_cannot_be_kept_is_refused_by_name(make: Make) -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"things": [object()]}

    with pytest.raises(UsageError, match=r"callbacks.Odd.things\[0\] cannot be kept in a checkpoint: got 'object'"):
        make().fit(1, 1e-2, callbacks=Odd(), checkpoint_every=1)


def test_a_hook_sees_the_state_it_had(make: Make) -> None:
    """What a callback counts within an epoch is right in an epoch that was left, and in the one after."""

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
            make().fit(3, 1e-2, callbacks=[Sums(), At(at, crash)], checkpoint_every=1)
        sums = Sums()
        make().fit(3, 1e-2, callbacks=sums, resume="auto")
        assert sums.per_epoch == [4, 4, 4]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        numbers = torch.Generator().manual_seed(0)
        for n in range(64):
            yield torch.randn(2, generator=numbers), n % 2


def test_a_stream_without_a_state_starts_its_epoch_again(make: Make) -> None:
    def learner() -> Learner:
        dls = DataBunch.from_loaders(DataLoader(Stream(), 16), None, classes=["a", "b"], device="cpu")
        return Learner(dls, network(), seed=0)

    with pytest.raises(ZeroDivisionError):
        learner().fit(2, 1e-2, callbacks=At(5, crash), checkpoint_every=1)
    learn = learner()
    with pytest.warns(LearnkitWarning, match="cannot tell where it was after 1 batches, so epoch 1 starts again"):
        learn.fit(2, 1e-2, resume="auto")
    assert len(learn.history) == 2


def test_a_loader_that_keeps_its_place_is_put_there(make: Make, blobs: Any) -> None:
    class Keeps:
        """Batches in an order of its own, that no seed decides."""

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


def test_a_lone_last_item_is_left_out_before_batch_norm_after_a_resume_too(make: Make, blobs: Any) -> None:
    def learner(name: str) -> Learner:
        torch.manual_seed(0)
        train = DataLoader(TensorDataset(blobs.x_train[:49], blobs.y_train[:49]), 16, shuffle=True)
        dls = DataBunch.from_loaders(train, None, classes=["a", "b"], device="cpu")
        return Learner(dls, nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), seed=0, path=name)

    whole, again = learner("whole"), learner("run")
    with pytest.warns(LearnkitWarning, match="left out"):
        whole.fit(2, 1e-2)
    with pytest.raises(ZeroDivisionError), pytest.warns(LearnkitWarning, match="left out"):
        learner("run").fit(2, 1e-2, callbacks=AtEpochEnd(1, crash), checkpoint_every=1)
    again.fit(2, 1e-2, resume="auto")  # at the end of the second epoch's batches
    assert everything(again) == everything(whole)


class AtEpochEnd(At):
    def after_batch(self, state: Any) -> None: ...

    def after_epoch(self, state: Any) -> None:
        if state.epoch == self.number:
            self.act()


# Signals


@pytest.mark.parametrize("place", [At(6, send(signal.SIGTERM)), AtValidation(1, send(signal.SIGTERM))])
def test_a_process_that_is_asked_to_go_writes_a_checkpoint_and_leaves_with_143(place: Callback, make: Make) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        make().fit(3, 1e-2, callbacks=place, checkpoint_every=1000)
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    again = make(init=1)
    again.fit(3, 1e-2, callbacks=At(5, crash), resume="auto")  # batch 5 is behind it
    assert everything(again) == everything(whole)


def test_the_exit_status_is_143(tmp_path: Path) -> None:
    script = """
import os, signal, torch
from learnkit import Callback, DataBunch, Learner
class Goes(Callback):
    def after_loss(self, state):
        if state.batch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
x = torch.randn(64, 2)
y = (x.sum(1) > 0).long()
Learner(DataBunch.from_tensors(x, y, x, y, bs=16), torch.nn.Linear(2, 2)).fit(2, callbacks=Goes(), checkpoint_every=50)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert (tmp_path / "models/checkpoints/fit-0/last.ckpt").is_file()


def test_ctrl_c_ends_the_step_and_writes_a_checkpoint(make: Make) -> None:
    learn = make()
    with pytest.raises(KeyboardInterrupt) as left:
        learn.fit(3, 1e-2, callbacks=At(6, send(signal.SIGINT)), checkpoint_every=1000)
    assert "epoch 1, batch 2, after 7 optimizer steps" in left.value.__notes__[0]
    assert len(learn.recorder.losses) == 7
    assert len(learn.history) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (folder(learn) / "last.ckpt").is_file()
    learn.fit(1, 1e-2)
    learn.get_preds()


def test_ctrl_c_twice_ends_it_at_once(make: Make) -> None:
    class Twice(Callback):
        def after_loss(self, state: Any) -> None:
            if state.batch == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("the second one was put off too")

    learn = make()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3, 1e-2, callbacks=Twice(), checkpoint_every=1000)
    assert len(learn.recorder.losses) == 2


def test_without_checkpoints_ctrl_c_is_as_it_was(make: Make) -> None:
    handlers: list[Any] = []
    learn = make()
    learn.fit(1, 1e-2, callbacks=At(0, lambda: handlers.append(signal.getsignal(signal.SIGINT))))
    assert handlers == [signal.default_int_handler]


def test_a_handler_of_ones_own_is_left_alone(make: Make) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        make().fit(1, 1e-2, callbacks=At(1, send(signal.SIGTERM)), checkpoint_every=1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_a_fit_in_another_thread_writes_checkpoints_too(make: Make) -> None:
    learn = make()
    thread = threading.Thread(target=lambda: learn.fit(1, 1e-2, checkpoint_every=1))
    thread.start()
    thread.join()
    assert (folder(learn) / "last.ckpt").is_file()


# Damage


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[content.index(b"learnkit checkpoint")] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, cut, lambda file: os.truncate(file, 0)])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage: Any, make: Make) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    where = folder(broken(make(), 7, checkpoint_every=1))
    damage(where / "last.ckpt")
    good = (where / "last.prev.ckpt").read_bytes()
    again = make(init=1)
    with pytest.warns(LearnkitWarning, match=r"last\.ckpt.*last\.prev\.ckpt, the checkpoint before it, is taken"):
        again.fit(3, 1e-2, resume="auto")
    assert everything(again) == everything(whole)
    with pytest.warns(LearnkitWarning, match="is taken"), pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=At(7, crash), checkpoint_every=1, resume="auto")
    assert (where / "last.ckpt").read_bytes() != good == (where / "last.prev.ckpt").read_bytes()
    for file in where.glob("last*.ckpt"):
        cut(file)
    with pytest.raises(CorruptFileError, match=r"last\.ckpt"):
        make().fit(3, 1e-2, resume="auto")


def test_a_kill_between_two_renames_leaves_the_checkpoint_before(make: Make) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    (folder(broken(make(), 7)) / "last.ckpt").unlink()
    again = make(init=1)
    again.fit(3, 1e-2, resume="auto")
    assert everything(again) == everything(whole)


def test_code_in_place_of_a_checkpoint_is_not_run(make: Make) -> None:
    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (Path("marker"),)

    where = folder(broken(make(), 7))
    torch.save({"format": "learnkit checkpoint", "model": Touch()}, where / "last.ckpt")
    with pytest.raises(UnsafeFileError):
        make().fit(3, 1e-2, resume="auto")
    assert not Path("marker").exists()


def test_a_file_of_weights_is_no_checkpoint(make: Make) -> None:
    file = make().save("weights")
    with pytest.raises(UsageError, match=r"weights\.pth holds no checkpoint of a fit"):
        make().fit(1, resume=file)


def test_a_full_disk_does_not_stop_a_fit_nor_harm_the_checkpoint_there_is(
    make: Make, full_disk: Maker[[int], AbstractContextManager[None]]
) -> None:
    learn = make()
    kept: list[bytes] = []
    until_the_end = ExitStack()

    def fill() -> None:
        learn_writer_idle(folder(learn))
        kept.append((folder(learn) / "last.ckpt").read_bytes())
        until_the_end.enter_context(full_disk(2000))

    with until_the_end, pytest.warns(LearnkitWarning, match="training goes on without a new checkpoint in") as told:
        learn.fit(3, 1e-2, callbacks=At(5, fill), checkpoint_every=2)
    assert len(told) > 1
    assert len(learn.history) == 3
    assert (folder(learn) / "last.ckpt").read_bytes() == kept[0]
    assert sorted(file.name for file in folder(learn).iterdir()) == ["last.ckpt", "last.prev.ckpt"]


def learn_writer_idle(where: Path) -> None:
    for thread in threading.enumerate():
        if thread.name == "learnkit checkpoint":
            thread.join()


def test_weights_that_a_loss_has_spoilt_are_not_written(make: Make) -> None:
    class Spoils(Callback):
        def after_loss(self, state: Any) -> None:
            if state.epoch == 1 and state.batch == 2:
                state.loss = state.loss * float("nan")

    with pytest.raises(NonFiniteLossError, match="weights restored to those at the start of the epoch"):
        make().fit(3, 1e-2, callbacks=Spoils(), checkpoint_every=1)
    learn = make(init=1)
    with pytest.raises(NonFiniteLossError, match=r"epoch 1 batch 2.*weights restored to those of the checkpoint"):
        learn.fit(3, 1e-2, callbacks=Spoils(), resume="auto")
    assert all(bool(tensor.isfinite().all()) for tensor in learn.model.state_dict().values())


def test_what_a_killed_process_left_unfinished_is_removed(make: Make) -> None:
    where = folder(broken(make(), 5))
    (where / ".last.ckpt.0123456789abcdef.partial").write_bytes(b"half")
    (where / "notes.txt").write_text("mine")
    make().fit(3, 1e-2, checkpoint_every=3, resume="auto")
    assert sorted(file.name for file in where.iterdir()) == ["last.ckpt", "last.prev.ckpt", "notes.txt"]


def test_files_of_callbacks_go_on_without_doubled_rows(make: Make) -> None:
    def callbacks() -> list[Callback]:
        return [CSVLogger(), CSVLogger("all.csv", append=True), SaveModel(with_opt=True)]

    learn = make()
    learn.fit(1, 1e-2, callbacks=callbacks())
    earlier = (learn.path / "models/all.csv").read_text()
    for at in (1, 6, 7, 11):
        learn = make()
        with pytest.raises(ZeroDivisionError):
            learn.fit(3, 1e-2, callbacks=[*callbacks(), At(at, crash)], checkpoint_every=1, resume="auto")
    make().fit(3, 1e-2, callbacks=callbacks(), resume="auto")
    for name, lines in (("history.csv", 4), ("all.csv", 5)):
        text = (learn.path / "models" / name).read_text()
        epochs = [line.split(",")[0] for line in text.splitlines()]
        assert epochs == ["epoch", "0", "0", "1", "2"][-lines:] if name == "all.csv" else ["epoch", "0", "1", "2"]
    assert text.startswith(earlier)
