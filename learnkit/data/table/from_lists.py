"""Tables of samples from lists: names with labels, or names that contain their label."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.data.table.files import existing_folder, image_names, no_images, text_below
from learnkit.data.table.samples import file_name
from learnkit.data.table.split_folders import held_out
from learnkit.errors import DataError, LearnkitError, UsageError, WrongTypeError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["list_samples", "named_samples", "pattern_label"]


def list_samples(path: PathLike, fnames: Iterable[PathLike], labels: Iterable[Any]) -> "pd.DataFrame":
    """Names (absolute, relative to `path`, or from `get_image_files(path)`) and their labels.

    Raises:
        DataError: no names, or not as many labels as names.
    """
    inputs = _paths(existing_folder(path), fnames)
    if isinstance(labels, str | bytes | Mapping | Set) or not isinstance(labels, Iterable):
        raise WrongTypeError("labels", got=labels, expected="a list: one label for each name, in their order")
    targets = labels.tolist() if hasattr(labels, "tolist") else list(labels)  # an array, a tensor, a Series
    if len(inputs) != len(targets):
        raise DataError(f"got {len(inputs)} names and {len(targets)} labels", expected="as many labels as names")
    return _table(inputs, targets)


def named_samples(
    path: PathLike,
    fnames: Iterable[PathLike] | None,
    label: Callable[[str], Any],
    test: PathLike | None = None,
    suffixes: Sequence[str] | None = None,
    *,
    linked: set[str] | None = None,
) -> "pd.DataFrame":
    """Files labeled by a function of their whole POSIX path.

    Args:
        path: the names are relative to this.
        fnames: the files; None for all images below `path` but those in a folder test, or in the one named by `test`.
        label: path -> label.
        test: the test folder, relative to `path`.
        suffixes: as for `get_image_files`, with `fnames` None.
        linked: with `fnames` None, takes up the files that are links or are reached through one.

    Raises:
        DataError: no files, or a file whose label cannot be made.
        UsageError: not a function, or a label that contains the path of the data.
    """
    if not callable(label):
        raise UsageError("func", got=label, expected="a function: path of a file, as text -> label")
    root = existing_folder(path)
    files = _images(root, test, suffixes, linked) if fnames is None else _paths(root, fnames)
    return _table(files, [_label(label, file.replace(os.sep, "/"), root) for file in files])


def pattern_label(pattern: str | re.Pattern[str]) -> Callable[[str], str]:
    """A label function: group 1 of a regular expression found in the path.

    Raises:
        UsageError: not a regular expression, or one without a group.

    >>> pattern_label(r"/([^/]+)_\\d+.jpg$")("images/great_pyrenees_173.jpg")
    'great_pyrenees'
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UsageError("pat", got=pattern, expected=f"a regular expression ({error})") from error
    if isinstance(compiled.pattern, bytes):
        raise UsageError("pat", got=pattern, expected="a pattern of text, not of bytes")
    if not compiled.groups:
        raise UsageError("pat", got=compiled.pattern, expected="a group in parentheses around the label")

    def label(path: str) -> str:
        match = compiled.search(path)
        if match is None:
            raise DataError(
                f"the pattern {compiled.pattern!r} is not found in {path!r}", fix="The whole path is searched."
            )
        return match.group(1)

    return label


def _label(label: Callable[[str], Any], file: str, root: Path) -> Any:
    try:
        found = label(file)
    except LearnkitError:
        raise
    except Exception as error:  # of the user's function
        raise DataError(
            f"the label of {file}: the function failed with {type(error).__name__} ({error})",
            fix="It is called with the whole path as text: Path(file).parent.name is the name of the folder.",
        ) from error
    start = file.find(found) if isinstance(found, str) and "/" in found else -1
    if 0 <= start < len(root.as_posix()) and root.as_posix() != ".":
        raise UsageError(
            f"the label of {file}", got=found, expected=f"a name, not a part of the path of {root}",
            fix=r"A group that leaves out slashes, as in r'([^/]+)_\d+\.jpg$', keeps to the name of the file.",
        )  # fmt: skip
    return found


def _images(root: Path, test: PathLike | None, suffixes: Sequence[str] | None, linked: set[str] | None) -> list[str]:
    names = image_names(root, suffixes=suffixes, linked=linked)
    out = held_out({name.partition("/")[0] for name in names if "/" in name})
    if test is not None and (root / test).is_relative_to(root):
        out.add((root / test).relative_to(root).as_posix())
    starts = tuple(f"{folder}/" for folder in out - {"."})
    used = [name for name in names if not name.startswith(starts)] if "." not in out else []
    if not used:
        raise no_images(root, suffixes)
    return text_below(root, used)


def _table(inputs: list[str], targets: list[Any]) -> "pd.DataFrame":
    import pandas as pd

    columns = {"input": inputs, "target": targets}  # names need not be valid UTF-8
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def _paths(root: Path, fnames: Iterable[PathLike]) -> list[str]:
    if isinstance(fnames, str | bytes | Mapping | Set) or not isinstance(fnames, Iterable):
        raise WrongTypeError("fnames", got=fnames, expected="a list of names")
    path_of = _Joined(root)
    files = [path_of(file_name(name, row)) for row, name in enumerate(fnames)]
    if not files:
        raise DataError(f"0 files under {root}", expected="at least 2, one for training and one for validation")
    return files


class _Joined:
    """The path of a name below a root, `str(root / name)`; each folder is joined once.

    A name that begins with a relative root and is not there below it is from `get_image_files`, and unchanged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._starts: dict[str, tuple[str, bool]] = {}  # folder of a name: its path, and whether it has the root

    def __call__(self, name: str) -> str:
        folder, last = os.path.split(name)
        if folder not in self._starts:
            is_below = not self.root.is_absolute() and Path(folder).is_relative_to(self.root)
            self._starts[folder] = str(self.root / folder), is_below
        start, is_below = self._starts[folder]
        path = os.path.join(start, last) if last not in ("", ".") and start != "." else str(self.root / name)
        return name if is_below and not os.path.exists(path) else path
