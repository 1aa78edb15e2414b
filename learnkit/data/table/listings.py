"""Which files are there, and which of them are the same: their folders are listed instead of asking for each file."""

import os
from collections.abc import Sequence
from itertools import islice

__all__ = ["real_paths"]

MAX_OTHERS = 4  # entries of a folder that are read for each file in it that matters, so that cost is linear in these


def real_paths(files: Sequence[str]) -> tuple[list[str], list[int]]:
    """The files with their links resolved, and the places of those that do not exist.

    A file that is listed as one, and no link, is asked for no further, nor is its folder resolved again.

    >>> import tempfile
    >>> real_paths([os.devnull, os.path.join(tempfile.gettempdir(), "no", "such", "file")])[1]
    [1]
    """
    places_in: dict[str, list[int]] = {}
    for place, file in enumerate(files):
        places_in.setdefault(file[: file.rfind(os.sep) + 1], []).append(place)
    real, missing = list(files), []
    for folder, places in places_in.items():
        listed = _names(folder or os.curdir, 64 + MAX_OTHERS * len(places))
        resolved = os.path.join(_real(folder), "")
        start, is_real = len(folder), resolved == folder
        for place in places:
            file = files[place]
            if (name := file[start:]) not in listed:
                if not os.path.exists(file):
                    missing.append(place)
                if os.path.islink(file) or os.path.basename(name) != name:
                    real[place] = _real(file)
                    continue
            if not is_real:
                real[place] = resolved + name
    return real, sorted(missing)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL, which no file has in its name
        return path


def _names(folder: str, most: int) -> set[str]:
    """The names of files, not links, among the first entries of a folder; none of a folder that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in islice(entries, most) if entry.is_file(follow_symlinks=False)}
    except (OSError, ValueError):
        return set()
