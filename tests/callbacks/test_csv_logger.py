"""The record of a fit as a file."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from learnkit import Learner
from learnkit.callbacks import TensorBoard
from learnkit.callbacks.csv_logger import CSVLogger
from learnkit.errors import CorruptFileError, DataError, WrongTypeError
from learnkit.training.state import TrainState
from tests.doubles import acting, linear_learner, refused


class Named:
    """A metric of this name that is always -0.5."""

    higher_is_better = None

    def __init__(self, name: str) -> None:
        self.name = name

    def reset(self) -> None: ...
    def update(self, preds: Any, targets: Any) -> None: ...

    def compute(self) -> float:
        return -0.5


def learner(blobs: tuple[Tensor, ...], path: Path, metrics: Any = "accuracy") -> Learner:
    return linear_learner(blobs, metrics=metrics, path=path)


def rows(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))


def test_the_file_holds_the_history_with_all_digits(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learn = learner(blobs, tmp_path / "not" / "there")
    learn.fit(3, 1e-2, callbacks=CSVLogger())
    file = tmp_path / "not" / "there" / "models" / "history.csv"
    header, *lines = rows(file)
    assert header == ["epoch", "train_loss", "valid_loss", "accuracy", "time"] == list(learn.history.columns)
    assert [[float(cell) for cell in line] for line in lines] == learn.history.to_numpy().tolist()
    assert [line[0] for line in lines] == ["0", "1", "2"]
    assert b"\r" not in file.read_bytes()


def test_each_line_is_on_the_disk_when_its_epoch_ends(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    n_lines: list[int] = []

    def read(state: TrainState) -> None:
        n_lines.append(len(rows(tmp_path / "models" / "history.csv")))
        if state.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner(blobs, tmp_path).fit(3, 1e-2, callbacks=[CSVLogger(), acting(before_epoch=read, order=95)])
    assert n_lines == [1, 2, 3]
    assert [row[0] for row in rows(tmp_path / "models" / "history.csv")] == ["epoch", "0", "1"]


def test_a_fit_overwrites_the_file_or_continues_it(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learn, file = learner(blobs, tmp_path), tmp_path / "kept.csv"
    for n_epochs in (2, 1):
        learn.fit(n_epochs, 1e-2, callbacks=CSVLogger(file))
    assert [row[0] for row in rows(file)] == ["epoch", "2"]
    continues = CSVLogger(file, append=True)
    for n_epochs in (1, 2):
        learn.fit(n_epochs, 1e-2, callbacks=continues)
    assert [row[0] for row in rows(file)] == ["epoch", "2", "3", "4", "5"]


def test_append_starts_a_missing_or_empty_file(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    for name in ("empty.csv", "new.csv"):
        learner(blobs, tmp_path).fit(1, 1e-2, callbacks=CSVLogger(tmp_path / name, append=True))
        assert [row[0] for row in rows(tmp_path / name)] == ["epoch", "0"]


def test_a_file_with_other_columns_is_not_continued(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    file = tmp_path / "models" / "history.csv"
    learner(blobs, tmp_path, metrics=()).fit(1, 1e-2, callbacks=CSVLogger())
    before = file.read_bytes()
    learn = learner(blobs, tmp_path)
    had, has = ["epoch", "train_loss", "valid_loss", "time"], ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    with refused(f"columns of {file}", DataError, got=had, expected=str(has)):
        learn.fit(1, 1e-2, callbacks=CSVLogger(append=True))
    assert learn.recorder.losses == []
    assert file.read_bytes() == before


def test_a_truncated_line_is_not_continued(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    file = tmp_path / "models" / "history.csv"
    learn = learner(blobs, tmp_path)
    learn.fit(1, 1e-2, callbacks=CSVLogger())
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CorruptFileError, match=r"history.csv: the last line is truncated"):
        learn.fit(1, 1e-2, callbacks=CSVLogger(append=True))


def test_nothing_is_written_outside_a_fit(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learn = learner(blobs, tmp_path).add_cb(CSVLogger())
    learn.validate()
    learn.get_preds()
    learn.lr_find(num_it=10)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+x", "'+x"),
        ("-x", "'-x"),
        ("@x", "'@x"),
        ("a,b", "a,b"),
        ('say "x"', 'say "x"'),
        ("é", "é"),
        ("a\u2028b\r\nc", "a\u2028b\r\nc"),  # line breaks
    ],
)
def test_no_cell_is_a_formula(name: str, cell: str, blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    logger = CSVLogger(append=True)
    for _ in range(2):
        learner(blobs, tmp_path, metrics=[Named(name)]).fit(1, 1e-2, callbacks=logger)
    header, *lines = rows(tmp_path / "models" / "history.csv")
    assert header[3] == cell
    assert [line[3] for line in lines] == ["-0.5", "-0.5"]


def test_two_files_may_be_written_in_one_fit(blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    learner(blobs, tmp_path).fit(1, 1e-2, callbacks=[CSVLogger("a.csv"), CSVLogger("b.csv")])
    assert (tmp_path / "models" / "a.csv").read_bytes() == (tmp_path / "models" / "b.csv").read_bytes()


def test_a_resumed_fit_rewrites_the_earlier_content_and_its_own_lines(
    blobs: tuple[Tensor, ...], tmp_path: Path
) -> None:
    file = tmp_path / "models" / "history.csv"
    learner(blobs, tmp_path).fit(1, 1e-2, callbacks=CSVLogger())
    logger, saved = CSVLogger(append=True), {}
    assert logger.state_dict() == {}, "outside a fit"

    def look(state: TrainState) -> None:
        if state.epoch == 0:
            saved.update(logger.state_dict())

    learner(blobs, tmp_path).fit(2, 1e-2, callbacks=[logger, acting(after_epoch=look, order=99)])
    lines = rows(file)
    assert len(lines) == 4
    assert logger.state_dict() == {}, "outside a fit"
    file.write_text(file.read_text() + "more\n")
    logger.path = file
    logger.load_state_dict(saved)
    assert rows(file) == lines[:3]


@pytest.mark.parametrize("name", [None, 5, ["log.csv"], b"log.csv", torch.tensor(0.5)])
@pytest.mark.parametrize(("kind", "argument"), [(CSVLogger, "filename"), (TensorBoard, "log_dir")])
def test_a_place_that_is_no_path_is_refused(kind: Any, argument: str, name: Any) -> None:
    with pytest.raises(WrongTypeError, match=f"{argument}: got .*, expected the path of a (file|folder)"):
        kind(name)


@pytest.mark.parametrize("name", ["", "..", "../x.csv", "a/../../x.csv", "a\0b", "x" * 256])
def test_a_name_that_is_not_in_the_model_folder_is_refused(name: str) -> None:
    with refused("filename", got=name):
        CSVLogger(name)
