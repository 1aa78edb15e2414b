"""Output of the commands: single lines without terminal control sequences."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from learnkit.distributed.world import world
from learnkit.errors import LearnkitWarning, UsageError, WriteError
from learnkit.text import printable

__all__ = ["check_new", "output_error", "print_error", "print_line", "warnings_as_lines"]


def print_line(line: str) -> None:
    """Write a line of results to stdout."""
    _write(sys.stdout, line)


def print_error(line: str) -> None:
    """Write an error as one line to stderr."""
    _write(sys.stderr, f"learnkit: {line}")


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
        UsageError: it is there already, and not to be overwritten, or a folder.
    """
    if path.is_dir() or (os.path.lexists(path) and not force):
        raise UsageError(f"{path} exists already", fix="Choose another name, or add --force to overwrite a file.")
    return path


def _write(stream: TextIO, line: str) -> None:
    encoding = stream.encoding or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(f"{text}\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_error(error) from error


def output_error(error: OSError) -> WriteError:
    """Why results could not be printed, such as a full disk behind `> results.txt`."""
    return WriteError(f"the output could not be written ({error.strerror})", fix="Free space, or write elsewhere.")
