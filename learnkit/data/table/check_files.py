"""Checking the files of a table before training: missing, repeated, leaking, unreadable, of one size, with masks."""

import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from learnkit.data.image.preprocess import Preprocess, Reader
from learnkit.data.image.read import read_size
from learnkit.data.image.resize import shape_of
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.samples import rows_text
from learnkit.device import usable_cpus
from learnkit.errors import DataError, ImageError, MissingFileError, warn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_files", "check_masks", "common_size", "unreadable"]

CHECKED_MASKS = 200  # at the start, evenly spaced; the others are checked when they are read
SHOWN = 5


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


def unreadable(samples: "pd.DataFrame", preprocess: Preprocess, task: object) -> "pd.DataFrame":
    """Read every file once: the rows that cannot be read, with a column `error`; a warning lists them."""

    def why(row: tuple[str, object]) -> str | None:
        file, target = row
        mask = target if isinstance(task, Segmentation) and isinstance(target, str | os.PathLike) else None
        try:
            preprocess.stored(file, mask, task=task)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(usable_cpus()) as threads:
        errors = list(threads.map(why, zip(samples["input"], samples["target"], strict=True)))
    skipped = samples[[error is not None for error in errors]].assign(
        error=[error for error in errors if error is not None]
    )
    if len(skipped):
        lines = "".join(f"\n  {error}" for error in skipped["error"][:SHOWN])
        more = f"\n  and {len(skipped) - SHOWN} more: see `skipped`" if len(skipped) > SHOWN else ""
        warn(f"{len(skipped)} of {len(samples)} items cannot be read and are left out:{lines}{more}")
    return skipped


def common_size(
    samples: "pd.DataFrame", reader: Reader | None = None, *, ignore_unreadable: bool = False
) -> tuple[int, int]:
    """(height, width) of all files.

    Args:
        samples: column input.
        reader: reads the files instead of Pillow.
        ignore_unreadable: go by the files that can be read.

    Raises:
        DataError: they differ.
        ImageError: a file that cannot be read.
    """

    def look(file: str) -> tuple[int, int] | None:
        try:
            return read_size(file) if reader is None else shape_of(np.asarray(reader(file)))
        except ImageError:
            if not ignore_unreadable:
                raise
            return None

    with ThreadPoolExecutor(usable_cpus()) as threads:
        found = zip(threads.map(look, samples["input"]), samples["input"], strict=True)
        readable = [(size, file) for size, file in found if size is not None]
    if not readable:
        raise DataError("size=None: not one file can be read", fix="Look at verify_images(folder).")
    counts = Counter(size for size, _ in readable).most_common()
    if len(counts) > 1:
        first = dict(reversed(readable))
        told = [f"{size[1]}×{size[0]} ×{count} e.g. {first[size]}" for size, count in counts[:SHOWN]]
        more = f", and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
        raise DataError(f"size=None, but sizes differ: {', '.join(told)}{more}", fix="Pass size=.")
    return counts[0][0]


def check_masks(samples: "pd.DataFrame", preprocess: Preprocess, task: Segmentation) -> None:
    """Masks have the size of their picture and only pixel values with a class; up to 200 are looked at.

    Raises:
        DataError: naming the first pair, or mask, for which that is not so; or a row for training without a mask.
    """
    missing = samples[samples["target"].isna() & (samples["split"] != "test")]
    if len(missing):
        raise DataError(f"{len(missing)} rows have no mask, first {rows_text(samples, missing.index)}")
    labelled = samples[samples["target"].notna()]
    some = labelled.iloc[:: max(1, math.ceil(len(labelled) / CHECKED_MASKS))]

    def look(row: tuple[int, str, str]) -> None:
        number, file, mask = row
        preprocess.stored(file, mask, task=task, where=f" (row {number})")

    with ThreadPoolExecutor(usable_cpus()) as threads:
        list(threads.map(look, zip(some.index, some["input"], some["target"], strict=True)))


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
