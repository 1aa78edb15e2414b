"""The table of samples: one row an image, with its path, its target and its split."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from learnkit.data.images import EXTENSIONS
from learnkit.errors import DataError, LearnkitWarning, MissingFileError, UsageError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_classes", "folder_samples", "image_files", "random_split"]

SPLIT_NAMES = {"train", "valid", "val"}  # folders that say which split an image is in, never its class


def folder_samples(
    path: PathLike, train: str, valid: str, test: str | None, *, valid_pct: float | None, seed: int
) -> "pd.DataFrame":
    """Samples of a tree of class folders; the label is the first folder below the split's.

    Args:
        path: holds train/<class>/... and valid/<class>/..., or, with `valid_pct`, <class>/... directly.
        train: the folder of the training images.
        valid: the folder of the validation images; "val" is found when "valid" is not there.
        test: the folder of the test images, with or without class folders.
        valid_pct: take this share of all images at random for validation, whatever folder they are in; the test folder
            stays out.
        seed: of the random split.

    Returns:
        columns input (str), target (str; None in an unlabelled test set) and split, sorted by path within a split.

    Raises:
        MissingFileError: no such folder.
        DataError: no images, no validation set, or fewer than two classes.
    """
    import pandas as pd

    root = existing_folder(path)
    rows: list[tuple[str, str | None, str]] = []
    if valid_pct is None:
        valid = "val" if valid == "valid" and not (root / valid).is_dir() and (root / "val").is_dir() else valid
        for split, folder in (("train", train), ("valid", valid)):
            rows += [(file, label, split) for file, label in _labelled(root / folder, set())]
        _require(root, rows, train, valid)
    else:
        left_out = {test or "test"}
        items = _labelled(root, left_out, strip=SPLIT_NAMES | {train, valid})
        if not items:
            raise _nothing(root, "CLASS")
        in_valid = random_split(len(items), valid_pct, seed)
        for number, (file, label) in enumerate(items):
            rows.append((file, label, "valid" if number in in_valid else "train"))
        rows.sort(key=lambda row: row[2])  # stable: paths stay sorted within a split
    if test is not None:
        rows += _test_rows(existing_folder(root / test), {label for _, label, _ in rows})
    return pd.DataFrame(rows, columns=["input", "target", "split"])


def existing_folder(path: PathLike) -> Path:
    """The folder, or an error that says where the path stops being right."""
    folder = Path(path)
    if folder.is_dir():
        return folder
    there = next((parent for parent in folder.absolute().parents if parent.is_dir()), Path("/"))
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


def random_split(n: int, valid_pct: float, seed: int) -> set[int]:
    """Which of n sorted items are for validation: the first int(valid_pct * n), at least one, of a seeded permutation.

    Raises:
        UsageError: a share that is not between 0 and 1, or fewer than two items.
    """
    if isinstance(valid_pct, bool) or not isinstance(valid_pct, int | float) or not 0 < valid_pct < 1:
        raise UsageError(
            "valid_pct", got=valid_pct, expected="a share in (0, 1)", fix="Pass for example valid_pct=0.2."
        )
    if n < 2:
        raise DataError("valid_pct", got=f"{n} items", expected="at least 2, one for training and one for validation")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return set(order[: max(1, int(valid_pct * n))])


def check_classes(samples: "pd.DataFrame", classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """The classes of the training set in order, or those given.

    Raises:
        DataError: fewer than two classes, or a class of the validation set that is not known.
        UsageError: given classes that leave out one of the training set.
    """
    labels = {split: Counter(part["target"].dropna()) for split, part in samples.groupby("split")}
    train, valid = labels.get("train", Counter()), labels.get("valid", Counter())
    if classes is not None and (unknown := sorted(train.keys() - set(classes))):
        raise UsageError("classes", got=list(classes), expected=f"all labels of the training set, also {unknown[0]!r}")
    known = tuple(sorted(train)) if classes is None else tuple(classes)
    strangers = [
        f"{name!r} ({count} {'file' if count == 1 else 'files'})" for name, count in valid.items() if name not in known
    ]
    if strangers:
        raise DataError(
            f"{', '.join(sorted(strangers))} of the validation set is not in train", fix="Move or rename the folder."
        )
    if len(known) < 2:
        raise DataError(
            f"only class {known[0]!r}" if known else "no classes", expected="two or more", fix="Add a class folder."
        )
    if valid and (missing := [name for name in known if name not in valid]):
        warnings.warn(
            f"no validation item of class {', '.join(missing)}: nothing is measured on it",
            LearnkitWarning,
            stacklevel=4,
        )
    return known


def _labelled(folder: Path, left_out: set[str], strip: Iterable[str] = ()) -> list[tuple[str, str]]:
    """(file, label) of every image in a class folder below `folder`."""
    items = []
    for file in image_files(folder) if folder.is_dir() else []:
        parts = file.relative_to(folder).parts[:-1]
        if parts and parts[0] in left_out:
            continue
        if parts and parts[0] in set(strip):
            parts = parts[1:]
        if parts:
            items.append((str(file), parts[0]))
    return items


def _test_rows(folder: Path, classes: set[str | None]) -> list[tuple[str, str | None, str]]:
    files = image_files(folder)
    if not files:
        raise _nothing(folder, "CLASS")
    tops = [file.relative_to(folder).parts[0] for file in files]
    is_labelled = all(top in classes for top in tops)
    return [(str(file), top if is_labelled else None, "test") for file, top in zip(files, tops, strict=True)]


def _require(root: Path, rows: list[tuple[str, str | None, str]], train: str, valid: str) -> None:
    splits = {split for _, _, split in rows}
    if "train" not in splits:
        raise _nothing(root, f"{train}/CLASS")
    if "valid" not in splits:
        raise DataError(
            f"no images under {root / valid}", expected=f"{root / valid}/<class>/...",
            fix="Pass valid_pct=0.2 to take a fifth at random.",
        )  # fmt: skip


def _nothing(root: Path, layout: str) -> DataError:
    kinds = " ".join(sorted(EXTENSIONS))
    n_files = sum(1 for entry in root.rglob("*") if entry.is_file()) if root.is_dir() else 0
    return DataError(
        f"no images ({kinds}) under {root}: found {n_files} files, none of them an image in a class folder",
        expected=f"{root}/{layout.replace('CLASS', '<class>')}/...",
        fix="Images directly below need valid_pct=0.2." if layout != "CLASS" else "Give each class a folder.",
    )
