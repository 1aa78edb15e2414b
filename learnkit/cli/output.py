"""Output of the commands: single lines without terminal control sequences."""

import errno
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from learnkit.distributed.world import world
from learnkit.errors import LearnkitWarning, UsageError, WriteError
from learnkit.text import printable

__all__ = ["check_new", "check_place", "drop_output", "flush_output", "print_error", "print_line", "warnings_as_lines"]


def print_line(line: str) -> None:
    """Write a line of results to stdout.

    Raises:
        WriteError: a full disk behind `> results.txt`, or stdout that was closed before the start.
        BrokenPipeError: the reader has stopped.
    """
    if sys.stdout is None:  # `>&-`
        raise _output_error("it is closed")
    with _writing(sys.stdout):
        sys.stdout.write(_encodable(line, sys.stdout))


def print_error(line: str) -> None:
    """Write an error as one line to stderr; where that cannot be written, the exit code alone says it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(_encodable(f"learnkit: {line}", sys.stderr))
        sys.stderr.flush()
    except OSError:
        drop_output(sys.stderr)


def flush_output() -> None:
    """Write what is waiting for stdout.

    Raises:
        WriteError, BrokenPipeError: as `print_line`.
    """
    if sys.stdout is not None:
        with _writing(sys.stdout):
            sys.stdout.flush()


def drop_output(stream: TextIO) -> None:
    """Let a stream lead nowhere from now on, also for Python's flush at the end."""
    with suppress(OSError, ValueError):  # a stream of a test or a notebook has no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def warnings_as_lines(note: Callable[[str], object] | None = None) -> Iterator[None]:
    """Inside, warnings of learnkit are lines on stderr, and given to `note`; of several processes, by the first one."""
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *rest: Any, **options: Any) -> None:
        if not issubclass(category, LearnkitWarning):
            usual(message, category, *rest, **options)
        elif world.is_first:
            print_error(f"warning: {message}")
            if note is not None:
                note(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("default", LearnkitWarning)
        warnings.showwarning = show
        yield


def check_new(path: Path, *, force: bool) -> Path:
    """The path of a file to write.

    Raises:
        UsageError: it is there already, and not to be overwritten, or a folder; or as `check_place`.
    """
    if os.path.isdir(path) or (os.path.lexists(path) and not force):
        raise UsageError(f"{path} exists already", fix="Choose another name, or add --force to overwrite a file.")
    check_place(path.parent)
    return path


def check_place(folder: Path) -> None:
    """Check that something can be written into a folder, which may not be there yet, before any work is done for it.

    Raises:
        UsageError: it is a file, or below one, or may not be written; or a ~ that no shell has replaced.
    """
    if folder.parts[:1] == ("~",):
        raise UsageError(
            f"{folder}: the shell has not replaced the ~", fix="Write $HOME for it, or ./~ for a folder of this name."
        )
    there = next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))
    if not os.path.isdir(there):
        raise UsageError(f"nothing can be written into {folder}: {there} is a file", fix="Choose another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(
            f"nothing can be written into {folder} (no permission in {there})", fix="Choose another folder."
        )


@contextmanager
def _writing(stream: TextIO) -> Iterator[None]:
    """Inside, what cannot be written to a stream is an error, unless it is a terminal that is not there anymore."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        is_closed_terminal = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
        drop_output(stream)
        if not is_closed_terminal:
            raise _output_error(error.strerror or str(error)) from error


def _encodable(line: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return printable(line).encode(encoding, "backslashreplace").decode(encoding) + "\n"


def _output_error(why: str) -> WriteError:
    return WriteError(f"the output could not be written ({why})", fix="Free space, or write elsewhere.")
