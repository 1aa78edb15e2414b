"""A report on a folder of images before training: what cannot be read, is duplicated, leaks or is oddly shaped."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from learnkit.atomic_files import sha256_of
from learnkit.checks import check_int, check_kind, is_int, is_number
from learnkit.data.image.depth import DECLARE, Depth, check_depth
from learnkit.data.image.read import EXTENSIONS, open_image
from learnkit.data.image.resize import shape_of
from learnkit.data.table.alike import Problem, alike_problems
from learnkit.data.table.files import existing_folder, get_image_files
from learnkit.data.table.shrink import shrink_file
from learnkit.data.table.split_folders import split_folders
from learnkit.device import usable_cpus
from learnkit.errors import DataError, ImageError, UsageError, WriteError
from learnkit.neighbors.duplicates import MAX_RATIO
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["verify_images"]

Embed = Callable[[Sequence[Path]], Tensor]  # files -> features (N, D)


def verify_images(
    path: PathLike,
    *,
    min_side: int = 16,
    max_aspect: float = 5.0,
    channels: int = 3,
    num_threads: int | None = None,
    delete: bool = False,
    max_size: int | None = None,
    depth: Depth | None = None,
    embed: Embed | None = None,
    max_ratio: float = MAX_RATIO,
) -> "pd.DataFrame":
    """Every problem of the images below a folder. Nothing is changed or deleted unless `delete` or `max_size` asks.

    The split of a file is the folder directly below `path`, or below the only folder there, if that is a split as
    `learnkit.data.table.split_folders` finds it; all files outside such folders make one more split. Its class is the
    first folder below the split's folder, or below `path`. Contents are compared byte by byte, through their sha256; a
    file that cannot be read is not compared.

    - unreadable: it cannot be opened as training would open it. Detail: why.
    - undeclared depth: a good file of floats or 32-bit numbers, which training reads with depth= only.
    - duplicate: the same content as an earlier file, by path, of its split. Detail: the first such file.
    - conflict: the same content as an earlier file of its split in another class folder, so one label is wrong; it is
      then not a duplicate. Detail: that file.
    - leak: the same content in two splits, reported once per pair of splits, for the later of the first file in each.
      Detail: the earlier one.
    - tiny: the shorter side is below `min_side`. Detail: width x height of the upright image.
    - large, with `max_size`: the longer side is above it. Detail: the size it had, and has now or why not.
    - extreme aspect: longer side / shorter side is above `max_aspect`. Detail: that ratio.
    - with `embed`: near-duplicate, near leak and outlier, see `learnkit.data.table.alike.alike_problems`.

    Args:
        path: the folder. Hidden files and folders are left out, links are followed.
        min_side: pixels; 1 finds nothing tiny.
        max_aspect: 1 or more; `math.inf` finds no aspect extreme.
        channels: 3 or 1, as the images will be opened in training.
        num_threads: how many images are decoded at a time; by default one for each CPU this process may use.
        delete: delete the unreadable files, and no others; their detail begins with "deleted". A link is deleted, not
            what it leads to.
        max_size: shrink images whose longer side is above this many pixels to it, upright, in their own format; None
            leaves all as they are. Files that links lead to are not written.
        depth: what black and white are, as `depth=` of the bunch; None for the whole range of uint8 or uint16.
        embed: returns features of files that can be read; None to look for no near-duplicates and outliers.
        max_ratio: of distances of near-duplicates to others, see `learnkit.neighbors.near_duplicates`.

    Returns:
        columns path (relative to the folder, with /), problem and detail, all str, sorted by path and problem; no rows
        when all is well.

    Raises:
        UsageError: an argument out of its range.
        MissingFileError: no such folder.
        DataError: no images below it.
    """
    import pandas as pd
    from PIL import Image

    _check_arguments(min_side, max_aspect, channels, num_threads, delete, max_size)
    root = existing_folder(path)
    files = get_image_files(root)
    if not files:
        kinds = " ".join(sorted(EXTENSIONS))
        raise DataError(f"no images ({kinds}) under {root}", fix="Pass the folder that holds the images.")

    Image.init()  # here, so that no two threads load Pillow's file formats at once
    sizes = Counter(map(_n_bytes, files))
    repeated = {n_bytes for n_bytes, count in sizes.items() if count > 1}
    with ThreadPoolExecutor(num_threads or usable_cpus()) as pool:
        look = partial(
            _look, channels=channels, depth=check_depth(depth), repeated=repeated, delete=delete, max_size=max_size
        )
        seen = list(pool.map(look, files))

    problems: list[Problem] = []
    copies: dict[str, list[str]] = {}  # digest: the files of that content, in order
    for file, item in zip(files, seen, strict=True):
        name = file.relative_to(root).as_posix()
        problems += [(name, problem, detail) for problem, detail in _own_problems(item, min_side, max_aspect)]
        if item.digest:
            copies.setdefault(item.digest, []).append(name)
    where = _places(file.relative_to(root).parts for file in files)
    for names in copies.values():
        problems += _copy_problems(names, where)
    if embed is not None:
        different = _different(zip(files, seen, strict=True), root, where)
        problems += alike_problems(embed, different, {name: split for name, (split, _) in where.items()}, max_ratio)
    columns = ["path", "problem", "detail"]
    return pd.DataFrame(sorted(problems), columns=columns, dtype=object)  # a file's name need not be valid UTF-8


class _Facts(NamedTuple):
    """What is kept about one file, never its pixels."""

    width: int = 0
    height: int = 0
    digest: str = ""  # empty if no other file has the same size
    error: str = ""  # why it cannot be read
    shrunk: str = ""  # from which size to which
    lacks_depth: bool = False  # it can, once a depth is declared


def _look(
    file: Path, channels: int, depth: Depth | None, repeated: set[int], delete: bool, max_size: int | None
) -> _Facts:
    try:
        if file.exists() and not file.is_file():  # opening a pipe would block forever
            raise ImageError(f"{file} is not a regular file", fix="Remove or replace it.")
        height, width = shape_of(open_image(file, channels, depth=depth))
        digest = sha256_of(file) if _n_bytes(file) in repeated else ""  # of the file as it was: copies stay copies
        is_large = max_size is not None and max(width, height) > max_size
        return _Facts(width, height, digest, shrunk=_shrunk(file, width, height, max_size or 0) if is_large else "")
    except WriteError:
        raise
    except ImageError as error:
        if error.fix.startswith(DECLARE):
            return _Facts(error=str(error), lacks_depth=True)
        why = str(error)
    except Exception as error:  # damaged bytes or a vanishing file can raise anything
        why = f"{file} cannot be read ({type(error).__name__}: {error})"
    if delete and (file.is_file() or file.is_symlink()):
        file.unlink()
        why = f"deleted: {why}"
    return _Facts(error=why)


def _shrunk(file: Path, width: int, height: int, max_size: int) -> str:
    """Shrink a file, and say from which size to which, or why not."""
    before = f"{width} x {height} pixels"
    if file.is_symlink():
        return f"{before}, not shrunk: a link"
    try:
        width, height = shrink_file(file, max_size)
    except ImageError as error:
        return f"{before}, not shrunk: {error.what}"
    return f"{before}, now {width} x {height}"


def _n_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1  # `_look` finds out why


def _own_problems(item: _Facts, min_side: int, max_aspect: float) -> Iterator[tuple[str, str]]:
    """(problem, detail) of a file by itself."""
    if item.error:
        yield ("undeclared depth" if item.lacks_depth else "unreadable"), item.error
        return
    shorter, longer = sorted((item.width, item.height))
    if item.shrunk:
        yield "large", item.shrunk
    if shorter < min_side:
        yield "tiny", f"{item.width} x {item.height} pixels"
    if longer / shorter > max_aspect:
        yield "extreme aspect", f"{longer / shorter:.1f}"


def _copy_problems(names: Sequence[str], where: Mapping[str, tuple[str, str]]) -> Iterator[Problem]:
    """The problems of files with the same content, in order; `where` is the split and the class of each."""
    splits: dict[str, dict[str, str]] = {}  # split: class: its first file, in the order they are met
    for name in names:
        split, label = where[name]
        firsts = splits.setdefault(split, {})
        clash = next((first for other, first in firsts.items() if label and other and other != label), None)
        if clash is not None:
            yield name, "conflict", clash
        elif firsts:
            yield name, "duplicate", next(iter(firsts.values()))
        firsts.setdefault(label, name)
    first_of_split = [next(iter(firsts.values())) for firsts in splits.values()]
    for earlier, later in combinations(first_of_split, 2):
        yield later, "leak", earlier


def _different(
    files: Iterable[tuple[Path, _Facts]], root: Path, where: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[Path, str]]:
    """{relative path: (file, digest)} of the files that can be read, of copies the first of each split."""
    found: dict[tuple[str, str], tuple[str, tuple[Path, str]]] = {}
    for file, item in files:
        name = file.relative_to(root).as_posix()
        if not item.error:
            found.setdefault((where[name][0], item.digest or name), (name, (file, item.digest)))
    return dict(found.values())


def _places(files: Iterable[tuple[str, ...]]) -> dict[str, tuple[str, str]]:
    """{relative path: (split, class)}; "" outside all split folders, or without a class folder."""
    parts = list(files)
    splits, depth = split_folders(parts).splits, 0
    if not splits and len({part[0] for part in parts}) == 1:
        splits, depth = split_folders(part[1:] for part in parts if len(part) > 1).splits, 1
    places = {}
    for part in parts:
        *folders, _ = part
        split = splits.get(folders[depth], "") if folders[depth:] else ""
        below = folders[depth + 1 :] if split else folders
        places["/".join(part)] = split, below[0] if below else ""
    return places


def _check_arguments(
    min_side: Any, max_aspect: Any, channels: Any, num_threads: Any, delete: Any, max_size: Any
) -> None:
    check_int("min_side", min_side, 1)
    if not is_number(max_aspect) or not max_aspect >= 1:  # nan is not; inf is
        raise UsageError("max_aspect", got=max_aspect, expected="longer / shorter side, a number of 1 or more")
    if not is_int(channels) or channels not in (1, 3):
        raise UsageError("channels", got=channels, expected="3 or 1")
    if num_threads is not None:
        check_int("num_threads", num_threads, 1, expected="an integer, 1 or more, or None")
    check_kind("delete", delete, bool, "True or False")
    if max_size is not None:
        check_int("max_size", max_size, 1, expected="pixels, 1 or more, or None")
