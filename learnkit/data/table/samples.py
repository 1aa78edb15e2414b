"""The table of samples: one row an item, with its path, its target, its split and whatever else is known of it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.checks import check_kind, nearest_folder
from learnkit.data.image.read import EXTENSIONS
from learnkit.data.table.splits import Split, split_names
from learnkit.errors import DataError, MissingFileError, warn
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SPLITS", "check_files", "existing_folder", "image_files", "in_order", "rows_text", "split_samples"]

SPLITS = ("train", "valid", "test")
SHOWN = 5  # rows named in an error


def existing_folder(path: PathLike) -> Path:
    """The folder, or an error that says where the path stops being right."""
    check_kind("path", path, str | os.PathLike, "the path of a folder")
    folder = Path(path)
    if os.path.isdir(folder):  # False, too, for a name no file system takes
        return folder
    there = nearest_folder(folder)
    names = sorted(entry.name for entry in there.iterdir() if not entry.name.startswith("."))[:10]
    raise MissingFileError(f"no folder {folder}; the nearest there is, {there}, holds {', '.join(names) or 'nothing'}")


def image_files(folder: Path) -> list[Path]:
    """Every image below a folder, sorted, whatever order the file system lists them in.

    Hidden files and folders are left out; links to folders are followed, each real folder once.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()  # a link back up
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(where, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS
        ]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def split_samples(samples: "pd.DataFrame", split: Split) -> "pd.DataFrame":
    """The table with a column `split`; rows that are in the test set already (column `split` is "test") stay there."""
    is_test = samples["split"] == "test" if "split" in samples else None
    if is_test is None or not is_test.any():
        return samples.assign(split=split_names(samples, split))
    rest = samples[~is_test]
    samples = samples.copy()
    samples.loc[~is_test, "split"] = split_names(rest, split)
    return samples


def in_order(samples: "pd.DataFrame") -> "pd.DataFrame":
    """Rows of training, validation and test in this order, otherwise as they stood, numbered from 0.

    The columns input, target and split come first.
    """
    places = samples["split"].map({name: place for place, name in enumerate(SPLITS)})
    ordered = samples.iloc[places.argsort(kind="stable")].reset_index(drop=True)
    others = [name for name in ordered.columns if name not in ("input", "target", "split")]
    return ordered[["input", "target", "split", *others]]


def check_files(samples: "pd.DataFrame", *, allow_leak: bool, ignore_missing: bool = False) -> None:
    """Every file is there, and none is in training and in another split; one listed twice in a split is told of.

    Args:
        samples: columns input and split.
        allow_leak: accept a file in several splits.
        ignore_missing: leave files that are not there to what reads them.

    Raises:
        MissingFileError: files that are not there, with the first rows of them.
        DataError: a file in training and in validation or test.
    """
    names = samples["input"].tolist()
    if not ignore_missing:
        missing = [row for row, name in zip(samples.index, names, strict=True) if not os.path.exists(name)]
        if missing:
            raise MissingFileError(
                f"{len(missing)} of {len(names)} files are missing, first {rows_text(samples, missing)}",
                fix="Check path, folder= and suffix=; on_error='skip' goes on without them.",
            )
    real = _real_paths(samples["input"])
    twice = real.duplicated(keep=False)
    if not twice.any():
        return
    per_file = samples["split"].groupby(real).agg(set)
    leaks = per_file[per_file.map(lambda splits: "train" in splits and len(splits) > 1)]
    if len(leaks) and not allow_leak:
        rows = samples.index[real == leaks.index[0]].tolist()
        raise DataError(
            f"{len(leaks)} files are in the training set and in another one, first {leaks.index[0]} (rows {rows})",
            fix="Take them out of one of the two; allow_leak=True goes on with results that are too good.",
        )
    repeated = samples.index[samples.assign(input=real).duplicated(["input", "split"])].tolist()
    if repeated:
        warn(f"{len(repeated)} rows name a file that their split has already, first {rows_text(samples, repeated)}")


def rows_text(samples: "pd.DataFrame", rows: Iterable[Any]) -> str:
    """The first rows as text: their numbers and files.

    >>> import pandas as pd
    >>> rows_text(pd.DataFrame({"input": ["a.jpg", "b.jpg"]}), [1])
    "'b.jpg' (row 1)"
    """
    return ", ".join(f"{samples['input'][row]!r} (row {row})" for row in list(rows)[:SHOWN])


def _real_paths(files: "pd.Series[str]") -> "pd.Series[Any]":
    """The files with their links resolved; a folder is looked at once however many files it holds."""
    import pandas as pd

    folders: dict[str, str] = {}

    def real(file: str) -> str:
        if os.path.islink(file):
            return os.path.realpath(file)
        folder, name = os.path.split(file)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return os.path.join(folders[folder], name)

    return pd.Series([real(file) for file in files], index=files.index, dtype=object)
