"""The record of a fit as a CSV file, a line an epoch."""

import csv
from collections.abc import Iterable
from pathlib import Path

from learnkit.errors import CorruptFileError, DataError
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState
from learnkit.types import PathLike

__all__ = ["CSVLogger"]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class CSVLogger(Callback):
    """Write one line an epoch: epoch, train_loss, valid_loss, one column a metric, time in seconds.

    Each line is on the disk when its epoch ends, so that an interrupted fit leaves a whole file. Numbers are written
    with all their digits. The name of a metric that a spreadsheet would take for a formula is written after a "'".

    Args:
        filename: where to; a relative path starts at the learner's model folder. Folders are made.
        append: whether to go on with a file that is there; if not, every fit begins it anew.

    Raises:
        DataError: in a fit with `append`: the file has other columns than this fit.
        CorruptFileError: in a fit with `append`: the file's last line is cut short.
    """

    order = Order.REPORT

    def __init__(self, filename: PathLike = "history.csv", append: bool = False) -> None:
        self.filename = Path(filename)
        self.append = append
        self.path = self.filename

    @property
    def label(self) -> str:
        return f"CSVLogger({str(self.filename)!r})"

    def before_fit(self, state: TrainState) -> None:
        self.path = state.folder / self.filename
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = [_harmless(name) for name in _columns(state)]
        if self.append and self.path.exists() and self.path.stat().st_size:
            self._check(header)
        else:
            self._write("w", header)

    def _check(self, header: list[str]) -> None:
        with self.path.open(encoding="utf-8", newline="") as file:
            text = file.read()
        found = next(csv.reader(text.splitlines(keepends=True)), [])
        if found != header:
            raise DataError(
                f"{self.path} has other columns", got=found, expected=str(header),
                fix="Choose another filename, or append=False to begin it anew.",
            )  # fmt: skip
        if not text.endswith("\n"):
            raise CorruptFileError(f"{self.path}: the last line is cut short", fix="Complete or remove that line.")

    def after_epoch(self, state: TrainState) -> None:
        self._write("a", [state.row[name] for name in _columns(state)])

    def _write(self, mode: str, cells: Iterable[object]) -> None:
        with self.path.open(mode, encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)


def _columns(state: TrainState) -> list[str]:
    return ["epoch", *state.record_names, "time"]


def _harmless(name: str) -> str:
    return f"'{name}" if name.startswith(FORMULA_STARTS) else name
