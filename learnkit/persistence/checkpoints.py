"""Checkpoints on disk: two generations, written in the background, read without running anything."""

import os
import threading
from pathlib import Path
from typing import Any

import torch

from learnkit.atomic_files import make_folder, partial_files, write_atomically
from learnkit.errors import CorruptFileError, MissingFileError, UsageError, warn
from learnkit.safe_load import read_file
from learnkit.training.snapshot import Copies

__all__ = ["CheckpointWriter", "read_checkpoint", "remove_checkpoints"]

LAST, BEFORE, DAMAGED = "last.ckpt", "last.prev.ckpt", "last.damaged.ckpt"
FORMAT, SCHEMA = "learnkit checkpoint", 1


class CheckpointWriter:
    """Writes checkpoints of one fit into a folder, `last.ckpt`, and keeps the one before as `last.prev.ckpt`.

    A file is written by a thread, from a copy, while the fit goes on; one at a time. It takes the place of the older
    one when it is whole and on the disk. One that cannot be written (a full disk, say) is told of in a warning, and the
    older ones stay as they are.

    Args:
        folder: is made; what killed processes left unfinished there is removed.

    Raises:
        WriteError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)
        for file in partial_files(folder / LAST):
            file.unlink(missing_ok=True)
        self._copies = Copies()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def spare(self, file: str) -> None:
        """Keep the checkpoint of this name, the newest that is whole: a damaged one must not take its place."""
        if file == BEFORE and (self.folder / LAST).exists():
            os.replace(self.folder / LAST, self.folder / DAMAGED)

    @property
    def is_busy(self) -> bool:
        """Whether one is being written at this moment."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, content: dict[str, Any]) -> None:
        """Copy the content, and begin to write it when the one before is written.

        Raises:
            UsageError: something that is no plain value; the message says what.
        """
        self.finish()
        copied = self._copies.take({"format": FORMAT, "schema": SCHEMA, **content})
        self._thread = threading.Thread(target=self._write, args=(copied,), name="learnkit checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait until the last one is written; warn if it could not be."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            warn(
                f"training goes on without a new checkpoint in {self.folder}, the older ones are as they were: {error}"
            )

    def _write(self, content: dict[str, Any]) -> None:
        try:
            write_atomically(self.folder / LAST, lambda file: torch.save(content, file), keep=self.folder / BEFORE)
        except Exception as error:  # told by the thread that trains
            self._error = error


def read_checkpoint(where: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, its file's name under "file"; None where there is none at all.

    A file is whole if the checksum (CRC-32) of each of its parts is right.

    Args:
        where: a folder of CheckpointWriter, or a file.

    Warns:
        LearnkitWarning: the last one is damaged, and the one before is taken.

    Raises:
        MissingFileError: a file that is not there.
        CorruptFileError: damaged, and so is the one before, or there is none.
        UnsafeFileError: a file that would run code.
        UsageError: a file of something else, or of a later version.
    """
    if where.is_file() or where.suffix == ".ckpt":
        files = [where, where.with_name(BEFORE)] if where.name == LAST else [where]
        if not any(file.is_file() for file in files):
            read_file(where)  # says what is there instead
    else:
        files = [where / LAST, where / BEFORE]
    damaged: CorruptFileError | None = None
    for file in files:
        try:
            content = _checked(read_file(file), file)
        except MissingFileError:
            continue
        except CorruptFileError as error:
            damaged = damaged or error
            continue
        if damaged is not None:
            warn(f"{damaged.message.partition('. ')[0]}; {file.name}, the checkpoint before it, is taken")
        return {**content, "file": file.name}
    if damaged is not None:
        told = damaged.message.partition(". ")[0]
        raise CorruptFileError(
            told, fix=f"No checkpoint before it is whole. resume=None starts anew; so does 'auto' without {where}."
        )
    return None


def _checked(content: object, file: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{file} holds no checkpoint of a fit", fix="For weights, use learn.load.")
    if content.get("schema") != SCHEMA:
        raise UsageError(
            f"{file}: a checkpoint of schema", got=content.get("schema"), expected=str(SCHEMA),
            fix="Resume with the version of learnkit that wrote it.",
        )  # fmt: skip
    return content


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints in a folder of CheckpointWriter, and nothing else."""
    for file in (folder / LAST, folder / BEFORE, *partial_files(folder / LAST)):
        file.unlink(missing_ok=True)
