"""The folder of a run: what repeats it, its history, checkpoints, model, report and log."""

import os
import shlex
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from learnkit.atomic_files import make_folder, write_atomically, write_error
from learnkit.callbacks.progress import format_row
from learnkit.checks import nearest_folder
from learnkit.cli.output import check_place, flush_output, print_line, warnings_as_lines
from learnkit.distributed.world import world
from learnkit.errors import MissingFileError, UsageError
from learnkit.text import printable
from learnkit.training.callback import Callback, Order
from learnkit.training.state import TrainState

__all__ = ["RunFolder", "RunLog", "free_folder"]

CONFIG, HISTORY, CHECKPOINTS, BEST, MODEL, REPORT, LOG = (
    "config.toml", "history.csv", "checkpoints", "best.pth", "model.lk", "report.html", "log.txt",
)  # fmt: skip
TENSORBOARD = "tensorboard"  # with --tensorboard
WRITTEN = (CONFIG, HISTORY, CHECKPOINTS, BEST, MODEL, REPORT, LOG, TENSORBOARD)
REPLACED = ".replaced"  # the run that --overwrite replaces, until the new one is done
MARK = b"# learnkit "  # how the config of a run begins
RUNS = Path("runs")


def free_folder(data: str) -> Path:
    """The first of runs/NAME, runs/NAME-2, ... that does not exist; the same in all processes."""
    name = Path(data).resolve().stem or "run"
    number = 1
    while _numbered(name, number).exists():
        number += 1
    return _numbered(name, world.agreed(number))


def _numbered(name: str, number: int) -> Path:
    return RUNS / (name if number == 1 else f"{name}-{number}")


class RunFolder:
    """Files of a run, and lines that are printed and logged. Of several processes the first one writes.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: Path = path / CONFIG
        self.history: Path = path / HISTORY
        self.best: Path = path / BEST
        self.model: Path = path / MODEL
        self.report: Path = path / REPORT
        self.log: Path = path / LOG
        self._notes: list[str] | None = []  # for the log, until the folder is there
        self._is_new = False
        self.has_trained = False  # a batch, since the command began
        self._replaced = path / REPLACED

    @property
    def resume(self) -> str:
        """The command that goes on with the run, as a shell takes it."""
        return f"learnkit train --resume --out {shlex.quote(str(self.path))}"

    def check_free(self, *, overwrite: bool) -> None:
        """Check that a run may begin here, before anything is read or trained.

        Raises:
            UsageError: it holds a run and `overwrite` is not set, or files that no run wrote; or as `check_place`.
        """
        check_place(self.path)
        found = self._found()
        if found and not self._is_run():
            raise UsageError(
                f"{self.path} holds files that no run wrote ({', '.join(found)})", fix="Choose another --out."
            )
        if found and not overwrite:
            raise UsageError(
                f"{self.path} holds a run already ({', '.join(found)})",
                fix="Go on with it by --resume, replace it by --overwrite, or choose another --out.",
            )

    def _found(self) -> list[str]:
        return [name for name in WRITTEN if os.path.lexists(self.path / name)]

    def _is_run(self) -> bool:
        try:
            return self.config.read_bytes().startswith(MARK)
        except OSError:
            return False

    def begin(self, config: str, *, overwrite: bool) -> None:
        """Make the folder, with its config. A run that is overwritten is kept aside until this one is done.

        Raises:
            UsageError: as `check_free`.
            WriteError: it cannot be written.
        """
        if not world.is_first:
            return
        self.check_free(overwrite=overwrite)
        if found := self._found():
            _remove(self._replaced)
            make_folder(self._replaced)
            for name in found:
                (self.path / name).rename(self._replaced / name)
        self._make(config)
        self._is_new = True
        self._open_log()

    def done(self) -> None:
        """The run is complete: remove the one it replaces."""
        if world.is_first:
            _remove(self._replaced)

    def _make(self, config: str) -> None:
        make_folder(self.path)
        try:
            with self.config.open("x", encoding="utf-8") as file:  # of two runs at the same time, one is refused
                file.write(config)
        except FileExistsError as error:
            raise UsageError(f"{self.path}: another run has begun there", fix="Choose another --out.") from error
        except OSError as error:
            raise write_error(self.config, 0, error) from error

    def take_back(self) -> bool:
        """Whether nothing was trained; a new run is then removed, and the one it was to replace put back."""
        if self.has_trained or not (world.is_first and self._is_new):
            return not self.has_trained
        for name in self._found():
            _remove(self.path / name)
        if self._replaced.is_dir():
            for old in self._replaced.iterdir():
                old.rename(self.path / old.name)
            self._replaced.rmdir()
        if not any(self.path.iterdir()):
            self.path.rmdir()
        return True

    def go_on(self) -> None:
        """Go on in a folder that holds a run."""
        self.check()
        self._open_log()

    def _open_log(self) -> None:
        notes, self._notes = self._notes or [], None
        for text in notes:
            self.note(text)

    def check(self) -> None:
        """Check that there is a run to go on with.

        Raises:
            MissingFileError: there is none; the error lists those that are next to it.
        """
        if self.config.is_file():
            return
        near = nearest_folder(self.path)
        runs = sorted(str(file.parent) for file in near.glob(f"*/{CONFIG}")) or ["none"]
        raise MissingFileError(f"no run in {self.path}", fix=f"Runs in {near}: {', '.join(runs[:10])}.")

    def write_config(self, config: str) -> None:
        """Replace the config, by one with what was found out since."""
        if world.is_first:
            write_atomically(self.config, lambda file: file.write(config.encode()))

    def tell(self, line: str = "") -> None:
        """Print lines, and add them to the log."""
        if world.is_first:
            self.note(line)
            for one in line.split("\n"):
                print_line(one)
            flush_output()

    def note(self, text: str) -> None:
        """Add lines to the log."""
        if not world.is_first:
            return
        if self._notes is not None:
            self._notes.append(text)
            return
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.writelines(f"{printable(line)}\n" for line in text.split("\n"))
        except OSError as error:
            raise write_error(self.log, 0, error) from error

    def warning(self) -> AbstractContextManager[None]:
        """Inside, warnings of learnkit are lines on stderr and in the log."""
        return warnings_as_lines(self.note)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class RunLog(Callback):
    """Adds the row of each epoch to the log of a run, as one line."""

    order = Order.REPORT
    is_for_one = True

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def after_batch(self, state: TrainState) -> None:
        self._folder.has_trained = True

    def after_epoch(self, state: TrainState) -> None:
        self._folder.note("  ".join(f"{name} {text}" for name, text in format_row(state.row)))

    def after_fit(self, state: TrainState) -> None:
        if state.stop_reason:
            self._folder.note(f"stopped: {state.stop_reason}")

    def state_dict(self) -> dict[str, Any]:
        return {}
