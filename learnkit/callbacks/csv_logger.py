"""The record of a fit as a CSV file, one line per epoch."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from learnkit.atomic_files import make_folder, named_file, write_atomically, write_error
from learnkit.errors import CorruptFileError, DataError, UsageError
from learnkit.text import spreadsheet_safe
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState
from learnkit.types import PathLike

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write one line per epoch: epoch, train_loss, valid_loss, one column per metric, time in seconds.

    Each line is on disk when its epoch ends, so an interrupted fit leaves a complete file. Numbers are written with all
    digits. Names of metrics that a spreadsheet would run as formulas get a leading "'".

    Args:
        filename: the file; relative paths start at the learner's model folder and must stay in it. Folders are created.
        append: whether to continue an existing file; if not, every call of the learner overwrites it: both stages of
            `fine_tune` are in it.

    Raises:
        UsageError: a relative path outside the model folder, or one without a file name.
        DataError: in a fit with `append`: the columns of the file are not those of this fit.
        CorruptFileError: in a fit with `append`: the last line of the file is truncated.
        WriteError: in a fit: the file could not be written.
    """

    order = Order.REPORT
    is_for_one = True

    def __init__(self, filename: PathLike = "history.csv", append: bool = False) -> None:
        self.filename: Path = Path(_checked(filename))
        self.append = append
        self.path: Path = self.filename
        self._begin = 0  # offset of the lines of this fit, in bytes
        self._lines = ""
        self._in_fit = False

    @property
    def label(self) -> str:
        return f"CSVLogger({str(self.filename)!r})"

    def before_fit(self, state: TrainState) -> None:
        self.path = state.folder / self.filename
        make_folder(self.path.parent)
        self._begin, self._lines, self._in_fit = 0, "", True
        if state.resumed and self.path.exists():
            return  # `load_state_dict` knows which lines belong to this fit
        header = [spreadsheet_safe(name) for name in _columns(state)]
        if (self.append or state.continues_call) and self.path.exists() and self.path.stat().st_size:
            self._check(header)
            self._begin = self.path.stat().st_size
        else:
            self._write("w", header)

    def _check(self, header: list[str]) -> None:
        with self.path.open(encoding="utf-8", newline="") as file:
            text = file.read()
        found = next(csv.reader(text.splitlines(keepends=True)), [])
        if found != header:
            raise DataError(
                f"columns of {self.path}", got=found, expected=str(header),
                fix="Choose another filename, or append=False to overwrite it.",
            )  # fmt: skip
        if not text.endswith("\n"):
            raise CorruptFileError(f"{self.path}: the last line is truncated", fix="Complete or remove that line.")

    def after_epoch(self, state: TrainState) -> None:
        self._write("a", [state.row[name] for name in _columns(state)])

    def after_fit(self, state: TrainState) -> None:
        self._in_fit = False

    def _write(self, mode: str, cells: Iterable[object]) -> None:
        line = io.StringIO(newline="")
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._lines += line.getvalue()
        try:
            with self.path.open(mode, encoding="utf-8", newline="") as file:
                file.write(line.getvalue())
        except OSError as error:
            raise write_error(self.path, 0, error) from error

    def state_dict(self) -> dict[str, Any]:
        """The offset of the lines of this fit in the file, and the lines; empty outside a fit."""
        return {"begin": self._begin, "lines": self._lines} if self._in_fit else {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Rewrite the file: its content before this fit, then these lines."""
        self._begin, self._lines = saved["begin"], saved["lines"]
        before = self.path.read_bytes()[: self._begin] if self.path.exists() else b""
        write_atomically(self.path, lambda file: file.write(before + self._lines.encode()))


def _checked(filename: PathLike) -> PathLike:
    path = named_file("filename", filename)
    leads_out = not path.is_absolute() and ".." in path.parts
    if leads_out or not path.name or "\0" in str(path) or any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise UsageError(
            "filename", got=str(filename), expected="the name of a file in the model folder, or an absolute path"
        )
    return filename


def _columns(state: TrainState) -> list[str]:
    return ["epoch", *state.record_names, "time"]
