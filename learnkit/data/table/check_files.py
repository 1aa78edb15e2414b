"""Checking the files of a table before training: missing, repeated, leaking, unreadable, of one size, with masks."""

import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from learnkit.data.image.depth import BITS
from learnkit.data.image.preprocess import Preprocess, Reader
from learnkit.data.image.read import EXTENSIONS, is_sixteen_bit, open_mask, read_with
from learnkit.data.image.resize import shape_of
from learnkit.data.image.sources import HeldImage, image_size, opened
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.files import ARRAYS, PICTURES
from learnkit.data.table.listings import real_paths
from learnkit.data.table.samples import rows_text
from learnkit.device import usable_cpus
from learnkit.errors import DataError, ImageError, MissingFileError, warn
from learnkit.text import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_files", "check_masks", "common_size", "unreadable", "warn_if_dark"]

MAX_MASKS = 200  # evenly spaced; the others are checked when they are read
MAX_LOOKED_AT = 20  # images whose brightest pixel is looked at
MAX_SHOWN = 5


def check_files(
    samples: "pd.DataFrame", asked: set[str] | None = None, *, allow_leak: bool, ignore_missing: bool = False
) -> None:
    """Every file exists, and none is in training and in another split; duplicates within a split are warned about.

    Args:
        samples: columns input and split.
        asked: the paths to ask for: all others are known to be there, and to lead through no link. None for all.
        allow_leak: accept files in several splits.
        ignore_missing: do not check for missing files.

    Raises:
        MissingFileError: missing files, with the first of their rows.
        DataError: a file in training and in validation or test.
    """
    import pandas as pd

    names = samples["input"].tolist()
    wanted = names if asked is None else asked.intersection(names)
    files = {name for name in wanted if not isinstance(name, HeldImage)}
    are_files = [place for place, name in enumerate(names) if name in files] if files else []
    found, gone = real_paths([names[place] for place in are_files])
    if gone and not ignore_missing:
        missing = samples.index[[are_files[one] for one in gone]]
        raise MissingFileError(
            f"{len(missing)} of {len(names)} files are missing, first {rows_text(samples, missing)}",
            fix=_remedy(samples["input"][missing[0]]),
        )
    for place, file in zip(are_files, found, strict=True):
        names[place] = file
    if len(set(names)) == len(names):
        return
    real = pd.Series(names, index=samples.index, dtype=object)
    per_file = samples["split"].groupby(real, sort=False).agg(set)
    leaks = per_file[per_file.map(lambda splits: "train" in splits and len(splits) > 1)]
    if len(leaks) and not allow_leak:
        rows = samples.index[real == leaks.index[0]].tolist()
        raise DataError(
            f"{counted(len(leaks), 'file is', 'files are')} in the training set and in another one, "
            f"first {leaks.index[0]} (rows {rows})",
            fix="Remove them from one of the two; allow_leak=True accepts results that are too good.",
        )
    repeated = samples.index[samples.assign(input=real).duplicated(["input", "split"])].tolist()
    if repeated:
        warn(
            f"{counted(len(repeated), 'row repeats', 'rows repeat')} a file of the split, "
            f"first {rows_text(samples, repeated)}"
        )


def unreadable(samples: "pd.DataFrame", preprocess: Preprocess, task: object) -> "pd.DataFrame":
    """Read every file once: the rows that cannot be read, with a column `error`; a warning lists them."""

    def why(row: tuple[str, object]) -> str | None:
        file, target = row
        mask = target if isinstance(task, Segmentation) and _is_mask(target) else None
        try:
            preprocess.decode(opened(file), mask, task=task, where=f", {file}" if isinstance(file, HeldImage) else "")
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(usable_cpus()) as threads:
        errors = list(threads.map(why, zip(samples["input"], samples["target"], strict=True)))
    skipped = samples[[error is not None for error in errors]].assign(
        error=[error for error in errors if error is not None]
    )
    if len(skipped):
        lines = "".join(f"\n  {error}" for error in skipped["error"][:MAX_SHOWN])
        more = f"\n  and {len(skipped) - MAX_SHOWN} more: see `skipped`" if len(skipped) > MAX_SHOWN else ""
        warn(f"{len(skipped)} of {len(samples)} items cannot be read and are left out:{lines}{more}")
    return skipped


def common_size(
    samples: "pd.DataFrame", reader: Reader | None = None, *, ignore_unreadable: bool = False
) -> tuple[int, int]:
    """(height, width) of all files.

    Args:
        samples: column input.
        reader: reads the files instead of Pillow.
        ignore_unreadable: leave out files that cannot be read.

    Raises:
        DataError: they differ.
        ImageError: a file that cannot be read.
    """

    def look(file: str) -> tuple[int, int] | None:
        try:
            return image_size(file) if reader is None or isinstance(file, HeldImage) else _size_read(reader, file)
        except ImageError:
            if not ignore_unreadable:
                raise
            return None

    with ThreadPoolExecutor(usable_cpus()) as threads:
        found = zip(threads.map(look, samples["input"]), samples["input"], strict=True)
        readable = [(size, file) for size, file in found if size is not None]
    if not readable:
        raise DataError("size=None: none of the files can be read", fix="Look at verify_images(folder).")
    counts = Counter(size for size, _ in readable).most_common()
    if len(counts) > 1:
        first = dict(reversed(readable))
        sizes = [f"{size[1]}×{size[0]} ×{count} e.g. {first[size]}" for size, count in counts[:MAX_SHOWN]]
        more = f", and {len(counts) - MAX_SHOWN} more" if len(counts) > MAX_SHOWN else ""
        raise DataError(f"size=None, but sizes differ: {', '.join(sizes)}{more}", fix="Pass size=.")
    return counts[0][0]


def _size_read(reader: Reader, file: str) -> tuple[int, int]:
    pixels = read_with(reader, file)
    if pixels.ndim not in (2, 3):
        got = f"{pixels.dtype} {pixels.shape}"
        raise ImageError(f"{file}: the reader returned", got=got, expected="an array (H, W, channels)")
    return shape_of(pixels)


def warn_if_dark(samples: "pd.DataFrame", preprocess: Preprocess) -> None:
    """Warn about files of 16 bits none of which uses the upper ones, without a declared depth."""
    if preprocess.depth is not None or preprocess.reader is not None or samples.empty:
        return
    files = samples["input"].iloc[:: max(1, len(samples) // MAX_LOOKED_AT)].tolist()
    try:
        if not is_sixteen_bit(files[0]):
            return
        brightest = max(int(open_mask(file).max(initial=0)) for file in files)
    except ImageError:  # it is named where the file is needed
        return
    bits = next((bits for bits in BITS if brightest < 2**bits), 16)
    if bits < 16:
        warn(
            f"the brightest pixel of {len(files)} images of 16 bits is {brightest}, so they look almost black: pass "
            f"depth={bits} if they hold {bits} bits, depth=16 if they are right"
        )


def check_masks(samples: "pd.DataFrame", preprocess: Preprocess, task: Segmentation) -> None:
    """Masks are other files than their images, have their size, and only pixel values with a class; up to 200 are read.

    Raises:
        DataError: naming the first mask that does not fit, or a training row without one.
    """
    missing = samples[samples["target"].isna() & (samples["split"] != "test")]
    if len(missing):
        raise DataError(
            f"{counted(len(missing), 'row has', 'rows have')} no mask, first {rows_text(samples, missing.index)}"
        )
    labeled = samples[samples["target"].notna()]
    others = [(row, mask) for row, mask in labeled["target"].items() if not _is_mask(mask)]
    if others:
        raise DataError(
            f"the mask of row {others[0][0]}", got=others[0][1], expected="the path of a file",
            fix="Save masks as PNG; mask_reader= of the Segmentation reads other files.",
        )  # fmt: skip
    are_files = labeled[["input", "target"]].map(lambda value: isinstance(value, str | os.PathLike)).all(axis=1)
    pairs = ([os.fspath(file) for file in labeled.loc[are_files, name]] for name in ("input", "target"))
    inputs, masks = (real_paths(files)[0] for files in pairs)
    same = labeled[are_files][[file == mask for file, mask in zip(inputs, masks, strict=True)]]
    if len(same):
        raise DataError(
            f"{counted(len(same), 'image is its own mask', 'images are their own masks')}, "
            f"first {rows_text(samples, same.index)}",
            fix="Correct what masks= returns, or the column of the masks.",
        )
    some = labeled.iloc[:: max(1, math.ceil(len(labeled) / MAX_MASKS))]

    def look(row: tuple[int, str, str]) -> None:
        number, file, mask = row
        preprocess.decode(opened(file), mask, task=task, where=f" (row {number})")

    with ThreadPoolExecutor(usable_cpus()) as threads:
        list(threads.map(look, zip(some.index, some["input"], some["target"], strict=True)))


def _is_mask(target: object) -> bool:
    return isinstance(target, str | os.PathLike | HeldImage)


def _remedy(missing: str) -> str:
    """What to do about a missing file, by what is there in its place."""
    if "\\" in missing and os.sep != "\\":
        return r"Backslashes do not separate folders here: df[column].str.replace('\\', '/') writes slashes."
    if os.path.islink(missing):
        return f"It is a link to {os.readlink(missing)!r}, which is not there: correct or remove it."
    folder, name = os.path.split(missing)
    there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for other in there:
        if other.lower() == name.lower():
            return f"There is {other!r}: upper and lower case differ."
        stem, suffix = os.path.splitext(other)
        if stem == name and suffix.lower() in EXTENSIONS | PICTURES | ARRAYS:
            return f"There is {other!r}: pass suffix={suffix!r}."
    return "Check path, folder=, suffix= and the column, fn_col=; on_error='skip' leaves them out."
