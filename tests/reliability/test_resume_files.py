"""Checkpoints on disk: damaged, missing or bogus ones, full disks, and the other files that a resumed fit finds."""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit import Callback, Learner, LearnkitWarning
from learnkit.callbacks import CSVLogger, SaveModel
from learnkit.errors import CorruptFileError, NonFiniteLossError, UnsafeFileError, UsageError

Make = Callable[..., Learner]
ActAt = Callable[..., Callback]
CrashAt = Callable[..., Callback]
CheckpointFolder = Callable[..., Path]
Everything = Callable[[Learner], list[Any]]
Broken = Callable[..., Learner]
FullDisk = Callable[[int], AbstractContextManager[None]]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[content.index(b"learnkit checkpoint")] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, cut, lambda file: os.truncate(file, 0)])
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(
    damage: Any,
    make: Make,
    crash_at: CrashAt,
    checkpoint_folder: CheckpointFolder,
    everything: Everything,
    broken: Broken,
) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    where = checkpoint_folder(broken(make(), 7, checkpoint_every=1))
    damage(where / "last.ckpt")
    good = (where / "last.prev.ckpt").read_bytes()
    again = make(init=1)
    with pytest.warns(LearnkitWarning, match=r"last\.ckpt.*last\.prev\.ckpt, the checkpoint before it, is used"):
        again.fit(3, 1e-2, resume="auto")
    assert everything(again) == everything(whole)
    with pytest.warns(LearnkitWarning, match="is used"), pytest.raises(ZeroDivisionError):
        make().fit(3, 1e-2, callbacks=crash_at(7), checkpoint_every=1, resume="auto")
    assert (where / "last.ckpt").read_bytes() != good == (where / "last.prev.ckpt").read_bytes()
    for file in where.glob("last*.ckpt"):
        cut(file)
    with pytest.raises(CorruptFileError, match=r"last\.ckpt"):
        make().fit(3, 1e-2, resume="auto")


def test_a_kill_between_two_renames_leaves_the_previous_checkpoint(
    make: Make, checkpoint_folder: CheckpointFolder, everything: Everything, broken: Broken
) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    (checkpoint_folder(broken(make(), 7)) / "last.ckpt").unlink()
    again = make(init=1)
    again.fit(3, 1e-2, resume="auto")
    assert everything(again) == everything(whole)


def test_code_in_place_of_a_checkpoint_is_not_run(
    make: Make, checkpoint_folder: CheckpointFolder, broken: Broken
) -> None:
    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (Path("marker"),)

    where = checkpoint_folder(broken(make(), 7))
    torch.save({"format": "learnkit checkpoint", "model": Touch()}, where / "last.ckpt")
    with pytest.raises(UnsafeFileError):
        make().fit(3, 1e-2, resume="auto")
    assert not Path("marker").exists()


def test_a_weights_file_is_not_a_checkpoint(make: Make) -> None:
    file = make().save("weights")
    with pytest.raises(UsageError, match=r"weights\.pth holds no checkpoint of a fit"):
        make().fit(1, resume=file)


def test_a_full_disk_neither_stops_a_fit_nor_harms_its_checkpoint(
    make: Make, full_disk: FullDisk, act_at: ActAt, checkpoint_folder: CheckpointFolder
) -> None:
    learn = make()
    kept: list[bytes] = []
    until_the_end = ExitStack()

    def fill() -> None:
        learn_writer_idle(checkpoint_folder(learn))
        kept.append((checkpoint_folder(learn) / "last.ckpt").read_bytes())
        until_the_end.enter_context(full_disk(2000))

    with until_the_end, pytest.warns(LearnkitWarning, match="training continues without a new checkpoint in") as caught:
        learn.fit(3, 1e-2, callbacks=act_at(5, fill), checkpoint_every=2)
    assert len(caught) > 1
    assert len(learn.history) == 3
    assert (checkpoint_folder(learn) / "last.ckpt").read_bytes() == kept[0]
    assert sorted(file.name for file in checkpoint_folder(learn).iterdir()) == ["last.ckpt", "last.prev.ckpt"]


def learn_writer_idle(where: Path) -> None:
    for thread in threading.enumerate():
        if thread.name == "learnkit checkpoint":
            thread.join()


def test_weights_after_a_non_finite_loss_are_not_saved(make: Make) -> None:
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


def test_partial_files_of_a_killed_process_are_removed(
    make: Make, checkpoint_folder: CheckpointFolder, broken: Broken
) -> None:
    where = checkpoint_folder(broken(make(), 5))
    (where / ".last.ckpt.0123456789abcdef.partial").write_bytes(b"half")
    (where / "notes.txt").write_text("mine")
    make().fit(3, 1e-2, checkpoint_every=3, resume="auto")
    assert sorted(file.name for file in where.iterdir()) == ["last.ckpt", "notes.txt"]


def test_callback_files_continue_without_duplicate_rows(make: Make, crash_at: CrashAt) -> None:
    def callbacks() -> list[Callback]:
        return [CSVLogger(), CSVLogger("all.csv", append=True), SaveModel(with_opt=True)]

    learn = make()
    learn.fit(1, 1e-2, callbacks=callbacks())
    earlier = (learn.path / "models/all.csv").read_text()
    for at in (1, 6, 7, 11):
        learn = make()
        with pytest.raises(ZeroDivisionError):
            learn.fit(3, 1e-2, callbacks=[*callbacks(), crash_at(at)], checkpoint_every=1, resume="auto")
    make().fit(3, 1e-2, callbacks=callbacks(), resume="auto")
    for name, lines in (("history.csv", 4), ("all.csv", 5)):
        text = (learn.path / "models" / name).read_text()
        epochs = [line.split(",")[0] for line in text.splitlines()]
        assert epochs == ["epoch", "0", "0", "1", "2"][-lines:] if name == "all.csv" else ["epoch", "0", "1", "2"]
    assert text.startswith(earlier)
