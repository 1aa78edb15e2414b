"""Finding files: the images below a folder."""

import os
from pathlib import Path

from learnkit.checks import check_kind, nearest_folder
from learnkit.data.image.read import EXTENSIONS
from learnkit.errors import MissingFileError
from learnkit.types import PathLike

__all__ = ["existing_folder", "get_image_files"]


def existing_folder(path: PathLike) -> Path:
    """The folder, or an error that lists the nearest one that exists."""
    check_kind("path", path, str | os.PathLike, "the path of a folder")
    folder = Path(path)
    if os.path.isdir(folder):  # False, too, for a name no file system takes
        return folder
    there = nearest_folder(folder)
    names = sorted(entry.name for entry in there.iterdir() if not entry.name.startswith("."))[:10]
    raise MissingFileError(
        f"no folder {folder}; the nearest existing one, {there}, contains {', '.join(names) or 'nothing'}"
    )


def get_image_files(path: PathLike, recurse: bool = True) -> list[Path]:
    """Every image below a folder, sorted by path, whatever order the file system lists them in.

    Hidden files and folders are left out; links to folders are followed, each real folder once.

    Args:
        path: the folder.
        recurse: look in the folders below it too.

    Raises:
        MissingFileError: no such folder.
    """
    folder = existing_folder(path)
    found: list[Path] = []
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()  # a link back up
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if recurse and not name.startswith("."))
        found += [
            Path(where, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
        ]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())
