"""What the commands say: one line at a time, nothing in it that steers a terminal."""

import sys
from typing import TextIO

from learnkit.text import printable

__all__ = ["complain", "say"]


def say(line: str) -> None:
    """Write a line of the answer to stdout."""
    _write(sys.stdout, line)


def complain(line: str) -> None:
    """Write a line on what went wrong to stderr."""
    _write(sys.stderr, f"learnkit: {line}")


def _write(stream: TextIO, line: str) -> None:
    encoding = stream.encoding or "utf-8"
    text = printable(line).encode(encoding, "backslashreplace").decode(encoding)
    stream.write(f"{text}\n")
