"""Finding files: the images below a folder."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from learnkit.checks import check_kind, nearest_folder
from learnkit.data.image.read import EXTENSIONS
from learnkit.errors import DataError, MissingFileError, UsageError, warn
from learnkit.types import PathLike

__all__ = ["ARRAYS", "PICTURES", "checked_suffixes", "existing_folder", "get_image_files", "image_names",
           "images_by_folder", "no_images", "text_below"]  # fmt: skip

# Of images and of arrays that a plugin of Pillow or a reader reads, never read by default.
PICTURES = {
    ".apng", ".avif", ".cr2", ".dcm", ".dng", ".exr", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jxl", ".nef",
    ".pgm", ".ppm", ".psd", ".tga",
}  # fmt: skip
ARRAYS = {".h5", ".hdr", ".mat", ".mha", ".nii", ".npy", ".npz"}
OF_DISKS = {"lost+found", "System Volume Information", "$RECYCLE.BIN"}  # at the top of a disk, not for users to read
MAX_SHOWN = 5


def existing_folder(path: PathLike) -> Path:
    """The folder.

    Raises:
        MissingFileError: there is none, or a file; the error lists the nearest folder that exists.
        DataError: it cannot be read.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    check_kind("path", text, str, "the path of a folder")  # not bytes
    folder = Path(path)
    if os.path.isdir(folder):  # False, too, for a name no file system takes
        if not os.access(folder, os.R_OK | os.X_OK):
            raise _closed(str(folder), "Permission denied")
        return folder
    if os.path.isfile(folder):
        raise MissingFileError(f"no folder {folder}: it is a file", fix="Pass the folder that holds it.")
    there = nearest_folder(folder)
    names = []
    with suppress(OSError):  # no permission
        names = sorted(entry.name for entry in there.iterdir() if not entry.name.startswith("."))[:10]
    raise MissingFileError(
        f"no folder {folder}; the nearest existing one, {there}, contains {', '.join(names) or 'nothing'}"
    )


def get_image_files(path: PathLike, recurse: bool = True, *, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Every image below a folder, sorted by path, whatever order the file system lists them in.

    Hidden files and folders are left out, as are folders of a disk itself, such as lost+found; links to folders are
    followed, each real folder once. A warning counts files whose suffix is that of an image which is not read by
    default, such as .heic.

    Args:
        path: the folder.
        recurse: look in the folders below it too.
        suffixes: what names of images end with, in any case, "" for no suffix; None for .jpg, .jpeg, .png, .webp, .bmp,
            .gif, .tif and .tiff.

    Raises:
        MissingFileError: no such folder.
        DataError: a folder, there or below, that cannot be read.
        UsageError: suffixes that are not a list of text.
    """
    folder = existing_folder(path)
    return list(map(Path, text_below(folder, image_names(folder, recurse, suffixes=suffixes))))


def image_names(
    folder: Path,
    recurse: bool = True,
    *,
    suffixes: Sequence[str] | None = None,
    linked: set[str] | None = None,
) -> list[str]:
    """What `get_image_files` finds, each as text relative to the folder and with / between its parts.

    Text takes a twentieth of the time of a Path.

    Args:
        folder, recurse, suffixes, linked: as for `images_by_folder`.
    """
    found = images_by_folder(folder, recurse, suffixes=suffixes, linked=linked)
    return sorted(start + name for start, names in found.items() for name in names)


def images_by_folder(
    folder: Path,
    recurse: bool = True,
    *,
    suffixes: Sequence[str] | None = None,
    linked: set[str] | None = None,
) -> dict[str, list[str]]:
    """The names of the images in each folder that has any, sorted: {"cat/": ["a.jpg", "b.jpg"]}; "" is `folder` itself.

    Args:
        folder, recurse, suffixes: as for `get_image_files`.
        linked: takes up the paths, as from `text_below`, of images that are links or are reached through one.
    """
    wanted = EXTENSIONS if suffixes is None else frozenset(checked_suffixes(suffixes))
    usual = tuple(suffix for suffix in wanted if suffix.rfind(".") == 0)
    suffix_of = _Suffixes()
    found: dict[str, list[str]] = {}
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    root, pending = os.path.join(os.getcwd(), _start(folder)), [""]
    while pending:
        start = pending.pop()
        real = os.path.join(os.path.realpath(root + start), "")
        if real in seen:  # a link back up
            continue
        seen.add(real)
        files, others, folders = _entries(root + start)
        if recurse:
            pending += [
                f"{start}{name}/" for name in sorted(folders, reverse=True) if name[0] != "." and name not in OF_DISKS
            ]
        shown = [name for name in files + others if name[0] != "."]
        images = [name for name in shown if name.endswith(usual)]
        if len(images) < len(shown):  # capital letters, or no images
            ends = [suffix_of[name[name.rfind(".") :]] for name in shown]
            images = [name for name, end in zip(shown, ends, strict=True) if end in wanted]
            left_out.update(end for end in ends if end in PICTURES and end not in wanted)
        if linked is not None:
            apart = others if real == root + start else images
            linked.update(text_below(folder, [start + name for name in apart]))
        if images:
            found[start] = sorted(images)
    if left_out and found and suffixes is None:
        warn(f"files in {folder} that are not read: {_counts(left_out)}; suffixes= names the kinds to read")
    return found


class _Suffixes(dict[str, str]):
    """A suffix in lower case, "" for none, by `name[name.rfind("."):]`; each is made once."""

    def __missing__(self, end: str) -> str:
        self[end] = suffix = end.lower() if end.startswith(".") else ""
        return suffix


def _entries(folder: str) -> tuple[list[str], list[str], list[str]]:
    """The names of files in a folder, of links to files and of anything else, and of folders and links to these.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except OSError as error:
        raise _closed(folder, error.strerror) from error
    files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    rest = [] if len(files) == len(entries) else [one for one in entries if not one.is_file(follow_symlinks=False)]
    folders = [entry.name for entry in rest if entry.is_dir(follow_symlinks=False) or os.path.isdir(entry.path)]
    are_folders = set(folders)
    return files, [entry.name for entry in rest if entry.name not in are_folders], folders


def _closed(folder: str, why: str | None) -> DataError:
    return DataError(
        f"the folder {folder} cannot be read ({why}), so its images would be left out",
        fix="Allow reading it, or move it away.",
    )


def text_below(folder: Path, names: Iterable[str]) -> list[str]:
    """`str(folder / name)` of each name from `image_names`.

    >>> text_below(Path("."), ["a.jpg"]), text_below(Path("/data"), ["cat/a.jpg"])
    (['a.jpg'], ['/data/cat/a.jpg'])
    """
    start = _start(folder)
    return [start + name for name in names] if os.sep == "/" else [str(folder / name) for name in names]


def _start(folder: Path) -> str:
    """How the paths of files in a folder begin."""
    return "" if folder == Path() else os.path.join(folder, "")


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
