"""Disks and files that fail while they are read or written."""

import builtins
import errno
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import ImageDataBunch, Learner, LearnkitWarning, verify_images
from learnkit.callbacks import CSVLogger, SaveModel
from learnkit.data.table.from_csv import read_table
from learnkit.errors import CorruptFileError, ImageError, WriteError
from learnkit.safe_load import read_file

Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]
FullDisk = Callable[[int], AbstractContextManager[None]]
SMALL: dict[str, Any] = {"size": 16, "bs": 2, "augment": False}


def delete(file: Path) -> None:
    file.unlink()


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def make_loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def make_device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


FAULTS = [delete, truncate, empty, make_folder, make_pipe, make_loop, make_device]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_an_image_that_changes_after_listing(
    fault: Callable[[Path], None], tree: Tree, flat: Callable[..., nn.Module], refused: Refusal
) -> None:
    root = tree()
    dls = ImageDataBunch.from_folder(root, **SMALL)
    file = root / "train" / "bee" / "2.png"
    fault(file)
    learn = Learner(dls, flat(dls))
    with refused(OSError, f"{file} (class bee, row 5)") as caught:
        learn.fit(1)
    assert isinstance(caught.value, ImageError)
    with refused(OSError, str(file)):
        learn.predict(file)


@pytest.mark.parametrize("fault", FAULTS[1:3] + FAULTS[4:], ids=lambda fault: fault.__name__)
def test_unreadable_images_are_found_and_can_be_skipped(fault: Callable[[Path], None], tree: Tree) -> None:
    root = tree()
    fault(root / "train" / "bee" / "2.png")
    found = verify_images(root, min_side=1)
    assert found["path"].tolist() == ["train/bee/2.png"]
    with pytest.warns(LearnkitWarning, match="1 of 12 items cannot be read"):
        dls = ImageDataBunch.from_folder(root, on_error="skip", **SMALL)
    assert len(dls.train_ds) == 5


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE])
def test_a_read_error_names_the_file(code: int, tree: Tree, monkeypatch: pytest.MonkeyPatch, refused: Refusal) -> None:
    root = tree()
    dls = ImageDataBunch.from_folder(root, **SMALL)
    file = str(root / "train" / "bee" / "2.png")
    opened = builtins.open

    def fail(name: Any, *args: Any, **options: Any) -> Any:
        if str(name) == file:
            raise OSError(code, os.strerror(code), name)
        return opened(name, *args, **options)

    monkeypatch.setattr(builtins, "open", fail)
    with refused(OSError, file, "row 5", os.strerror(code)):
        list(dls.fix_dl)


def test_a_failing_reader_names_the_file(tree: Tree, refused: Refusal) -> None:
    def read(file: str) -> Any:
        if file.endswith("bee/2.png"):
            raise PermissionError(errno.EACCES, "Permission denied", file)
        return np.zeros((16, 16, 3), np.uint8)

    dls = ImageDataBunch.from_folder(tree(), reader=read, **SMALL)
    with refused(OSError, "bee/2.png (class bee, row 5)", "the reader failed", "Permission denied"):
        list(dls.fix_dl)


@pytest.mark.parametrize("fault", [make_folder, make_pipe, make_loop], ids=lambda fault: fault.__name__)
def test_special_files_are_not_read_as_weights(
    fault: Callable[[Path], None], learner: Callable[..., Learner], refused: Refusal
) -> None:
    learn = learner()
    file = learn.save("a")
    fault(file)
    with refused(FileNotFoundError, str(file)):
        learn.load("a")
    with refused(FileNotFoundError, "w.csv"):
        read_table(file.with_name("w.csv"), None, "infer", empty_is_none=False)


def test_weights_truncated_while_being_read(learner: Callable[..., Learner], monkeypatch: pytest.MonkeyPatch) -> None:
    path = learner().save("a")
    read = torch.load

    def cut(file: Any, **options: Any) -> Any:
        os.truncate(path, path.stat().st_size // 2)
        return read(file, **options)

    monkeypatch.setattr(torch, "load", cut)
    with pytest.raises(CorruptFileError, match="damaged or truncated"):
        read_file(path)


# Writing.


def test_a_full_disk_leaves_only_the_old_files(learner: Callable[..., Learner], full_disk: FullDisk) -> None:
    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 5000), nn.Linear(5000, 2))

    small = learner()
    old = small.save("a").read_bytes()
    learn = learner(wide())
    with full_disk(20_000):
        with pytest.raises(WriteError, match=r"a\.pth"):
            learn.save("a")
        with pytest.raises(WriteError, match=r"new\.pth"):
            learn.save("new")
        with pytest.warns(LearnkitWarning, match=r"a\.pth.*Training continues; nothing has been saved yet"):
            learn.fit(1, callbacks=SaveModel(name="a"))
    assert len(learn.history) == 1
    folder = small.path / "models"
    assert [(file.name, file.read_bytes()) for file in folder.iterdir()] == [("a.pth", old)]
    small.load("a")
    learn.fit(1)


@pytest.mark.parametrize("name", ["/dev/full", "/proc/self/nothing.csv"])
def test_an_unwritable_log_ends_the_fit_with_its_path(
    name: str, learner: Callable[..., Learner], refused: Refusal
) -> None:
    learn = learner()
    with refused(OSError, f"{name} could not be written (No s", "bytes are free") as caught:  # such file, or space left
        learn.fit(1, callbacks=CSVLogger(name))
    assert isinstance(caught.value, WriteError)
    assert any(note.startswith("in CSVLogger.") for note in caught.value.__notes__)
    learn.fit(1)


@pytest.mark.parametrize(
    "options", [{"checkpoint_every": 1}, {"callbacks": CSVLogger()}], ids=lambda options: next(iter(options))
)
def test_a_file_in_place_of_the_model_folder_is_named(
    options: dict[str, Any], learner: Callable[..., Learner], refused: Refusal
) -> None:
    learn = learner()
    file = learn.path / "models"
    file.write_text("mine")
    with refused(OSError, f"{file}", "could not be written", "bytes are free") as caught:
        learn.fit(1, **options)
    assert isinstance(caught.value, WriteError)
    assert file.read_text() == "mine"
    learn.fit(1)


def test_a_deleted_model_folder_is_recreated(learner: Callable[..., Learner]) -> None:
    learn = learner()
    shutil.rmtree(learn.save("a").parent)
    learn.fit(2, callbacks=SaveModel(name="b"))
    assert (learn.path / "models" / "b.pth").is_file()


def test_deleted_best_weights_are_reported(learner: Callable[..., Learner], refused: Refusal) -> None:
    from learnkit import Callback
    from learnkit.training.state import TrainState

    class Deletes(Callback):
        order = 85  # after the file was written

        def after_epoch(self, state: TrainState) -> None:
            for file in state.folder.iterdir():
                file.unlink()

    with refused(FileNotFoundError, "bestmodel.pth"):
        learner().fit(1, callbacks=[SaveModel(), Deletes()])


def test_the_working_directory_may_be_deleted(learner: Callable[..., Learner], tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    os.chdir(here)
    here.rmdir()
    learn = learner()
    learn.fit(1)
    assert learn.save("a").is_file()
    with pytest.raises(FileNotFoundError):
        ImageDataBunch.from_folder("images")
