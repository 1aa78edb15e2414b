"""Output of the commands: single lines without terminal control sequences."""

import sys
from typing import TextIO

from learnkit.text import printable

__all__ = ["print_error", "print_line"]


def print_line(line: str) -> None:
    """Write a line of results to stdout."""
    _write(sys.stdout, line)


def print_error(line: str) -> None:
    """Write an error as one line to stderr."""
    _write(sys.stderr, f"learnkit: {line}")


def _write(stream: TextIO, line: str) -> None:
    encoding = stream.encoding or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    stream.write(f"{text}\n")
