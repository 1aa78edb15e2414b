"""Which images are predicted: files, the images below folders, patterns of names, and names from stdin."""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from learnkit.data.table.files import image_names, no_images, text_below
from learnkit.errors import DataError, MissingFileError, UsageError

__all__ = ["Input", "inputs_of"]

STDIN = "-"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
FIX_STDIN = "Pipe one name per line into the command, or pass files instead of -."
READ_AT_ONCE = 1 << 16  # bytes


class Input(NamedTuple):
    """An image to predict.

    Attributes:
        path: as it was given, or below the folder that was.
        name: relative to that folder; of a file, its name alone.
    """

    path: str
    name: str


def inputs_of(items: Sequence[str], *, null: bool) -> Iterator[Input]:
    """The images that items name, in their order. All but those from stdin are looked for at once.

    Args:
        items: files, folders, patterns such as "photos/**/*.jpg" and, once, "-" for names from stdin.
        null: names from stdin end with a NUL, not with a line break.

    Raises:
        MissingFileError: neither a file nor a pattern that any file has.
        DataError: a folder without images; no item at all, once stdin has ended without a name.
        UsageError: a URL, stdin twice, or stdin that cannot be read.
    """
    if items.count(STDIN) > 1:
        raise UsageError("- names stdin twice", fix="Pass it once.")
    parts = [None if item == STDIN else _named(item) for item in items]
    return _all(parts, null=null)


def _all(parts: Sequence[list[Input] | None], *, null: bool) -> Iterator[Input]:
    is_empty = True
    for part in parts:
        for one in _from_stdin(null=null) if part is None else part:
            is_empty = False
            yield one
    if is_empty:
        raise DataError("no names on stdin, so there is nothing to predict", fix=FIX_STDIN)


def _named(item: str) -> list[Input]:
    if not os.path.lexists(item):
        _check_no_url(item)
        found = sorted(glob.glob(item, recursive=True)) if glob.has_magic(item) else []
        if not found:
            what = "no file has a name like" if glob.has_magic(item) else "no file or folder"
            raise MissingFileError(f"{what} {item}", fix="Check the path.")
        return [one for name in found for one in _existing(name)]
    return _existing(item)


def _existing(path: str) -> list[Input]:
    if not os.path.isdir(path):
        return [Input(path, os.path.basename(path))]
    names = image_names(Path(path))
    if not names:
        raise no_images(Path(path))
    return [Input(*pair) for pair in zip(text_below(Path(path), names), names, strict=True)]


def _from_stdin(*, null: bool) -> Iterator[Input]:
    if sys.stdin is None:  # closed before Python started: `<&-`
        raise UsageError("stdin is closed, and the item - is for names from it", fix=FIX_STDIN)
    end = b"\0" if null else b"\n"
    for raw in _split(sys.stdin.buffer, end):
        name = os.fsdecode(raw if null else raw.removesuffix(b"\r"))
        if name:
            _check_no_url(name)
            yield Input(name, os.path.basename(name))


def _split(stream: IO[bytes], end: bytes) -> Iterator[bytes]:
    """What is between the ends, as soon as it has been written."""
    rest = b""
    while block := _block(stream):
        *whole, rest = (rest + block).split(end)
        yield from whole
    if rest:
        yield rest


def _block(stream: IO[bytes]) -> bytes:
    try:
        return os.read(stream.fileno(), READ_AT_ONCE)
    except OSError as error:
        raise UsageError(f"stdin cannot be read ({error.strerror})", fix=FIX_STDIN) from error


def _check_no_url(item: str) -> None:
    if URL.match(item):
        raise UsageError(f"{item} is a URL, and only files are predicted", fix="Download it first.")
