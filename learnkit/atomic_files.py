"""Files written completely or not at all, and their checksums."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from learnkit.checks import check_kind, nearest_folder
from learnkit.errors import LearnkitError, UsageError, WriteError
from learnkit.types import PathLike

__all__ = ["make_folder", "named_file", "partial_files", "sha256_of", "write_atomically", "write_error"]


def named_file(what: str, path: PathLike) -> Path:
    """The path of a file to write.

    Raises:
        UsageError: naming the argument `what`: a path without a file name, such as "" or "/", or no path.
    """
    check_kind(what, path, str | os.PathLike, "the path of a file")
    file = Path(path)
    if file.name in ("", ".."):
        raise UsageError(what, got=str(path), expected="the name of a file")
    return file


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], *, keep: Path | None = None) -> None:
    """Write a file next to `path`, then rename it: after any failure the old file is unchanged and no other is left.

    The new file is on the disk before it replaces the old one, so a loss of power leaves one of the two.

    Args:
        path: the file; its folder is created.
        write: called with the open binary file.
        keep: where the old file is moved, if there is one. Between the two renames there is no file at `path`, and a
            complete one at `keep`.

    Raises:
        WriteError: the folder cannot be created, the disk is full, or writing is not allowed.
    """
    partial = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:  # x: never write to a file or link that is already there
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(partial, path)
    except BaseException as error:
        written = 0
        with suppress(OSError):  # the folder may not exist
            written = partial.stat().st_size
            partial.unlink()
        if _is_disk_error(error):
            raise write_error(path, written, error) from error
        raise
    _sync_folder(path.parent)


def _is_disk_error(error: BaseException) -> bool:
    """torch.save reports a failed write as a RuntimeError of its zip writer."""
    if isinstance(error, LearnkitError):
        return False
    return isinstance(error, OSError) or (isinstance(error, RuntimeError) and "inline_container" in str(error))


def make_folder(folder: Path) -> None:
    """Create a folder and its parents.

    Raises:
        WriteError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, 0, error) from error


def write_error(path: Path, written: int, error: BaseException) -> WriteError:
    """The error to raise instead of an OSError: with the path, the cause and the free space."""
    folder = nearest_folder(path.parent)
    why = error.strerror or error if isinstance(error, OSError) else "the disk is full, or files may not be this large"
    named = WriteError(
        f"{path} could not be written ({why}) after {written:,} bytes; {shutil.disk_usage(folder).free:,} bytes are "
        f"free in {folder}",
        fix="Free space, or write elsewhere. What was there before is unchanged.",
    )
    named.errno = getattr(error, "errno", None)
    return named


def sha256_of(path: PathLike) -> str:
    """The SHA-256 of a file's content, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def partial_files(path: Path) -> list[Path]:
    """Unfinished files that killed processes left next to this one."""
    return sorted(path.parent.glob(f".{path.name[:100]}.*.partial"))


def _sync_folder(folder: Path) -> None:
    """Flush the renames to the disk too, if the system can open a folder."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
