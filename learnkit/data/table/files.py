"""Finding files: the images below a folder."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from learnkit.checks import check_kind, nearest_folder
from learnkit.data.image.read import EXTENSIONS
from learnkit.errors import DataError, MissingFileError, UsageError, warn
from learnkit.types import PathLike

__all__ = ["ARRAYS", "PICTURES", "checked_suffixes", "existing_folder", "get_image_files", "image_names", "no_images",
           "text_below"]  # fmt: skip

# Of images and of arrays that a plugin of Pillow or a reader reads, never read by default.
PICTURES = {
    ".apng", ".avif", ".cr2", ".dcm", ".dng", ".exr", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jxl", ".nef",
    ".pgm", ".ppm", ".psd", ".tga",
}  # fmt: skip
ARRAYS = {".h5", ".hdr", ".mat", ".mha", ".nii", ".npy", ".npz"}
MAX_SHOWN = 5


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


def get_image_files(path: PathLike, recurse: bool = True, *, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Every image below a folder, sorted by path, whatever order the file system lists them in.

    Hidden files and folders are left out; links to folders are followed, each real folder once. A warning counts files
    whose suffix is that of an image which is not read by default, such as .heic.

    Args:
        path: the folder.
        recurse: look in the folders below it too.
        suffixes: what names of images end with, in any case, "" for no suffix; None for .jpg, .jpeg, .png, .webp, .bmp,
            .gif, .tif and .tiff.

    Raises:
        MissingFileError: no such folder.
        UsageError: suffixes that are no list of text.
    """
    folder = existing_folder(path)
    return list(map(Path, text_below(folder, image_names(folder, recurse, suffixes=suffixes))))


def image_names(folder: Path, recurse: bool = True, *, suffixes: Sequence[str] | None = None) -> list[str]:
    """What `get_image_files` finds, each as text relative to the folder and with / between its parts.

    Text takes a twentieth of the time of a Path.
    """
    wanted = EXTENSIONS if suffixes is None else frozenset(checked_suffixes(suffixes))
    found: list[str] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()  # a link back up
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if recurse and not name.startswith("."))
        below = Path(where).relative_to(folder).as_posix()
        start = "" if below == "." else f"{below}/"
        for name in files:
            if name[0] == ".":
                continue
            _, dot, end = name.rpartition(".")
            suffix = f".{end.lower()}" if dot else ""
            if suffix in wanted:
                found.append(start + name)
            elif suffix in PICTURES:
                left_out[suffix] += 1
    if left_out and found and suffixes is None:
        warn(f"files in {folder} that are not read: {_counts(left_out)}; suffixes= names the kinds to read")
    found.sort()
    return found


def text_below(folder: Path, names: Iterable[str]) -> list[str]:
    """`str(folder / name)` of each name from `image_names`.

    >>> text_below(Path("."), ["a.jpg"]), text_below(Path("/data"), ["cat/a.jpg"])
    (['a.jpg'], ['/data/cat/a.jpg'])
    """
    start = "" if folder == Path() else os.path.join(folder, "")
    return [start + name for name in names] if os.sep == "/" else [str(folder / name) for name in names]


def checked_suffixes(suffixes: Any) -> tuple[str, ...]:
    """The suffixes in lower case, each with its dot.

    Raises:
        UsageError: anything but a list of text.

    >>> checked_suffixes(["NPY", ".dcm", ""])
    ('.npy', '.dcm', '')
    """
    names = [suffixes] if isinstance(suffixes, str) else list(suffixes) if hasattr(suffixes, "__iter__") else []
    if not names or not all(isinstance(name, str) for name in names):
        raise UsageError("suffixes", got=suffixes, expected='a list of text, such as [".npy"]')
    return tuple(f".{name.lower().removeprefix('.')}" if name else "" for name in names)


def no_images(root: Path, suffixes: Sequence[str] | None = None, layout: str = "", fix: str = "") -> DataError:
    """The error for a folder in which nothing is found.

    Args:
        root: the folder.
        suffixes: those that were looked for; None for the default ones.
        layout: where images were expected, such as "train/<class>"; "" for anywhere.
        fix: what to do if there are files of these suffixes somewhere else.
    """
    wanted = sorted(EXTENSIONS if suffixes is None else checked_suffixes(suffixes))
    kinds = (
        Counter(entry.suffix.lower() for entry in root.rglob("*") if entry.is_file()) if root.is_dir() else Counter()
    )
    others = Counter({suffix: n for suffix, n in kinds.items() if suffix in PICTURES | ARRAYS | {""}})
    where = "in a class folder" if layout else "of these kinds"
    if others and not kinds.keys() & set(wanted):
        given = [suffix for suffix, _ in others.most_common(MAX_SHOWN)]
        fix = f"There are {_counts(others)}: suffixes={given} reads them, with reader= if Pillow cannot."
    return DataError(
        f"no images ({' '.join(wanted)}) under {root}: found {kinds.total()} files, none of them an image {where}",
        expected=f"{root}/{layout}/..." if layout else f"images below {root}",
        fix=fix or "Check the path.",
    )


def _counts(suffixes: "Counter[str]") -> str:
    shown = [f"{n} {suffix or 'without a suffix'}" for suffix, n in suffixes.most_common(MAX_SHOWN)]
    return ", ".join(shown)
