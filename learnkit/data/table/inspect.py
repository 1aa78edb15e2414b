"""Looking at the files of a table before anything is trained on them: which cannot be read, and what size they are."""

import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from learnkit.data.image.preprocess import Preprocess, Reader
from learnkit.data.image.read import read_size
from learnkit.data.image.resize import shape_of
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.samples import rows_text
from learnkit.device import usable_cpus
from learnkit.errors import DataError, ImageError, warn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_masks", "common_size", "unreadable"]

CHECKED_MASKS = 200  # at the start, evenly spaced; the others are checked when they are read
SHOWN = 5


def unreadable(samples: "pd.DataFrame", preprocess: Preprocess, task: object) -> "pd.DataFrame":
    """Read every file once: the rows that cannot be read, with a column `error`; a warning lists them."""

    def why(row: tuple[str, object]) -> str | None:
        file, target = row
        mask = target if isinstance(task, Segmentation) and isinstance(target, str | os.PathLike) else None
        try:
            preprocess.decode(file, mask, task=task)
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
        preprocess.decode(file, mask, task=task, where=f" (row {number})")

    with ThreadPoolExecutor(usable_cpus()) as threads:
        list(threads.map(look, zip(some.index, some["input"], some["target"], strict=True)))
