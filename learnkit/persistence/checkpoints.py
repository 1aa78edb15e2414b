"""Checkpoints on disk: two generations, written in the background, read without running anything."""

import os
import threading
from pathlib import Path
from typing import Any

import torch

from learnkit.atomic_files import make_folder, partial_files, write_atomically
from learnkit.distributed.world import world
from learnkit.errors import CorruptFileError, LearnkitError, MissingFileError, UsageError, warn
from learnkit.persistence.blocks import Blocks, read_blocks, remove_blocks
from learnkit.safe_load import read_file
from learnkit.training.snapshot import Copies

__all__ = [
    "Bystander",
    "CheckpointWriter",
    "checkpoint_writer",
    "has_marker",
    "holds_weights",
    "is_marker",
    "leave_last",
    "mark_done",
    "read_checkpoint",
    "remove_checkpoints",
]

LAST, BEFORE, DAMAGED = "last.ckpt", "last.prev.ckpt", "last.damaged.ckpt"
FORMAT, SCHEMA = "learnkit checkpoint", 2
NOTED = ("format", "schema", "identity", "surroundings", "learner", "at", "is_finished")


class CheckpointWriter:
    """Writes the checkpoints of one fit as `last.ckpt` in a folder, and keeps the previous one as `last.prev.ckpt`.

    A thread writes one file at a time, from a copy, while the fit continues. It replaces the older one when it is
    complete and on the disk. One that cannot be written (on a full disk) is reported by a warning, and the older ones
    stay unchanged. What never changes again, as the numbers of a long fit, is written once, to files of its own.

    Args:
        folder: created; unfinished files of killed processes in it are removed.

    Attributes:
        has_saved: whether the last one is on the disk.

    Raises:
        WriteError: the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.has_saved: bool = False
        make_folder(folder)
        for file in partial_files(folder / LAST):
            file.unlink(missing_ok=True)
        self._copies, self._blocks = Copies(), Blocks(folder)
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def protect(self, file: str) -> None:
        """Keep the checkpoint of this name, the newest that is complete: a damaged one must not replace it."""
        if file == BEFORE and (self.folder / LAST).exists():
            os.replace(self.folder / LAST, self.folder / DAMAGED)

    @property
    def is_busy(self) -> bool:
        """Whether one is being written right now."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, content: dict[str, Any]) -> None:
        """Copy the content, and start to write it when the previous one is written.

        Raises:
            UsageError: something that is not a plain value, named in the message.
        """
        self.finish()
        copied = self._copies.take({"format": FORMAT, "schema": SCHEMA, **content})
        self._thread = threading.Thread(target=self._write, args=(copied,), name="learnkit checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Wait until the last one is written; warn if it could not be."""
        if self._thread is not None:
            self._thread.join()
            self._thread, self.has_saved = None, self._error is None
        error, self._error = self._error, None
        if error is not None:
            warn(f"training continues without a new checkpoint in {self.folder}, the older ones are unchanged: {error}")

    def _write(self, content: dict[str, Any]) -> None:
        try:
            named = self._blocks.written(content)
            write_atomically(self.folder / LAST, lambda file: torch.save(named, file), keep=self.folder / BEFORE)
        except Exception as error:  # reported from the training thread
            self._error = error


class Bystander(CheckpointWriter):
    """The writer of a process that leaves the files to the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder
        self.has_saved: bool = False

    is_busy = False

    def protect(self, file: str) -> None: ...
    def submit(self, content: dict[str, Any]) -> None: ...
    def finish(self) -> None: ...


def checkpoint_writer(folder: Path) -> CheckpointWriter:
    """What writes the checkpoints of a fit: of several processes, the first does."""
    return CheckpointWriter(folder) if world.is_first else Bystander(folder)


def read_checkpoint(where: Path) -> dict[str, Any] | None:
    """The newest complete checkpoint, with the name of its file under "file"; None without checkpoints.

    A file is complete if the checksum (CRC-32) of each of its parts is right.

    Args:
        where: a folder of CheckpointWriter, or a file.

    Warns:
        LearnkitWarning: the last one is damaged, and the previous one is used.

    Raises:
        MissingFileError: no such file.
        CorruptFileError: damaged, without a complete previous one.
        UnsafeFileError: a file that would run code.
        UsageError: any other kind of file, or one that another version of learnkit wrote in another schema.
    """
    if where.is_file() or where.suffix == ".ckpt":
        files = [where, where.with_name(BEFORE)] if where.name == LAST else [where]
        if not any(file.is_file() for file in files):
            read_file(where)  # raises an error that lists what is there
    else:
        files = [where / LAST, where / BEFORE]
    damaged: CorruptFileError | None = None
    for file in files:
        try:
            content = read_blocks(_validate(read_file(file), file), file)
        except MissingFileError:
            continue
        except CorruptFileError as error:
            damaged = damaged or error
            continue
        if damaged is not None:
            warn(f"{_without_fix(damaged)}; {file.name}, the checkpoint before it, is used")
        return {**content, "file": file.name}
    if damaged is not None:
        raise CorruptFileError(
            _without_fix(damaged),
            fix=f"No checkpoint before it is complete. resume=None starts again; so does 'auto' without {where}.",
        )
    return None


def _without_fix(error: LearnkitError) -> str:
    """What is wrong; the path in it may hold anything."""
    return error.message.removesuffix(f". {error.fix}")


def _validate(content: object, file: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{file} holds no checkpoint of a fit", fix="For weights, use learn.load.")
    if content.get("schema") != SCHEMA:
        raise UsageError(
            f"{file}: a checkpoint of schema", got=content.get("schema"), expected=str(SCHEMA),
            fix="Resume with the version of learnkit that wrote it.",
        )  # fmt: skip
    return content


def leave_last(folder: Path) -> None:
    """Remove the checkpoint before the last one, when the last one is that of a fit that is done."""
    if (folder / LAST).is_file():
        (folder / BEFORE).unlink(missing_ok=True)


def mark_done(folder: Path, *, is_followed: bool) -> None:
    """Replace the checkpoint of a fit that is done by a note that it is: what identifies it, without its weights.

    A fit that is not done, a damaged checkpoint and a folder without one are unchanged. With `is_followed` another fit
    of the same call goes on from its weights.
    """
    saved = _finished(folder)
    if saved is None:
        return
    note = {name: value for name, value in saved.items() if name in NOTED} | {"is_followed": is_followed}
    write_atomically(folder / LAST, lambda file: torch.save(note, file))
    leave_last(folder)
    remove_blocks(folder)


def holds_weights(folder: Path) -> bool:
    """Whether this is the folder of a fit that is done, with its weights."""
    return _finished(folder) is not None


def _finished(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a fit that is done; None if there is none, it is damaged, or a note in its place."""
    try:
        saved = read_checkpoint(folder)
    except LearnkitError:
        return None
    return None if saved is None or not saved["is_finished"] or is_marker(saved) else saved


def has_marker(folder: Path) -> bool:
    """Whether this is the folder of a fit of which only the note of `mark_done` is left."""
    try:
        saved = read_checkpoint(folder)
    except LearnkitError:
        return False
    return saved is not None and is_marker(saved)


def is_marker(saved: dict[str, Any]) -> bool:
    """Whether a checkpoint is the note of `mark_done`."""
    return "model" not in saved


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints in a folder of CheckpointWriter, and nothing else."""
    for file in (folder / LAST, folder / BEFORE, *partial_files(folder / LAST)):
        file.unlink(missing_ok=True)
    remove_blocks(folder)
