"""Splits: which rows of a table of samples are for validation, drawn by seeded private generators."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learnkit.checks import check_seed, is_number
from learnkit.data.table.columns import column_of, group_numbers
from learnkit.data.table.draws import by_class, choose_groups, class_counts, class_numbers, permutation
from learnkit.data.table.split_folders import split_named
from learnkit.errors import DataError, MissingFileError, UsageError
from learnkit.text import counted
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ColumnSplit",
    "FileListSplit",
    "FolderSplit",
    "GroupSplit",
    "NoValidation",
    "RandomSplit",
    "Split",
    "StratifiedGroupSplit",
    "StratifiedSplit",
]  # fmt: skip

# table -> per row True (validation) or False, or the name of a split
Split: TypeAlias = Callable[["pd.DataFrame"], Any]


@dataclass(frozen=True)
class RandomSplit:
    """The first int(valid_pct * n) rows, at least one, of a seeded permutation are for validation."""

    valid_pct: float = 0.2
    seed: int = 42

    def __post_init__(self) -> None:
        _check_draw(self.valid_pct, self.seed)

    def __call__(self, samples: "pd.DataFrame") -> npt.NDArray[np.bool_]:
        n = len(samples)
        chosen = np.zeros(n, dtype=bool)
        chosen[permutation(n, self.seed)[: _n_valid(n, self.valid_pct)]] = True
        return chosen


@dataclass(frozen=True)
class StratifiedSplit:
    """The same share of every class (or combination of labels, or part of the range of numbers).

    The count of a class differs from its exact share by at most one.

    Args:
        valid_pct: the share for validation.
        seed: seed of the draw.
        keep_in_train: keep at least one item of every class for training; a class of one item is then not validated.
    """

    valid_pct: float = 0.2
    seed: int = 42
    keep_in_train: bool = False

    def __post_init__(self) -> None:
        _check_draw(self.valid_pct, self.seed)

    def __call__(self, samples: "pd.DataFrame") -> npt.NDArray[np.bool_]:
        n = len(samples)
        n_valid = _n_valid(n, self.valid_pct)
        # Evenly spaced picks out of a list sorted by class take an even share of every class.
        steps = np.arange(1, n + 1) * n_valid // n > np.arange(n) * n_valid // n
        chosen = np.zeros(n, dtype=bool)
        order = by_class(samples["target"], self.seed)
        chosen[order] = steps
        if self.keep_in_train:
            numbers = class_numbers(samples["target"])
            whole = ~np.isin(numbers, numbers[~chosen])
            first = order[np.unique(numbers[order], return_index=True)[1]]  # of each class
            chosen[first[whole[first]]] = False
        return chosen


@dataclass(frozen=True)
class GroupSplit:
    """Whole groups (a patient, a camera, a day), named by a column, are on one side: about `valid_pct` of the rows."""

    column: str
    valid_pct: float = 0.2
    seed: int = 42

    def __post_init__(self) -> None:
        _check_draw(self.valid_pct, self.seed)

    def __call__(self, samples: "pd.DataFrame") -> npt.NDArray[np.bool_]:
        groups = _groups(samples, self.column)
        sizes = np.bincount(groups)
        wanted, taken = self.valid_pct * len(samples), 0
        chosen: list[int] = []
        for group in permutation(len(sizes), self.seed).tolist():
            # A group is taken while it brings the count nearer to the target, and one is left to train on.
            if len(chosen) < len(sizes) - 1 and abs(taken + sizes[group] - wanted) < wanted - taken:
                chosen.append(group)
                taken += sizes[group]
        return np.isin(groups, chosen or [sizes.argmin()])


@dataclass(frozen=True)
class StratifiedGroupSplit:
    """Whole groups, named by a column, are on one side, chosen to take the same share `valid_pct` of every class.

    The shares are as even as the groups allow: see `learnkit.data.table.draws.choose_groups`, which describes the
    algorithm. With several labels per item, each label counts; for numbers, each part of their range.
    """

    column: str
    valid_pct: float = 0.2
    seed: int = 42

    def __post_init__(self) -> None:
        _check_draw(self.valid_pct, self.seed)

    def __call__(self, samples: "pd.DataFrame") -> npt.NDArray[np.bool_]:
        groups = _groups(samples, self.column)
        counts = class_counts(samples["target"], groups, self.seed)
        chosen: npt.NDArray[np.bool_] = choose_groups(counts, self.valid_pct, self.seed)[groups]
        return chosen


@dataclass(frozen=True)
class ColumnSplit:
    """By a column: True/False (or 1/0) for validation, or the names train, valid (val) and test."""

    column: str | int

    def __call__(self, samples: "pd.DataFrame") -> list[Any]:
        return column_of(samples, self.column).tolist()


@dataclass(frozen=True)
class FolderSplit:
    """By folder: files below `valid` are for validation, those below `test` (if it exists) for the test.

    Looked at are the folders below the one that holds all files; the first that names a split counts. "val" and
    "validation" are "valid", if that is the name.
    """

    valid: str = "valid"
    test: str | None = "test"

    def __call__(self, samples: "pd.DataFrame") -> list[str]:
        folders = [os.path.dirname(os.path.abspath(str(file))) for file in samples["input"]]
        root = os.path.commonpath(folders) if folders else ""
        found = {folder: self._split(Path(os.path.relpath(folder, root)).parts) for folder in set(folders)}
        return [found[folder] for folder in folders]

    def _split(self, folders: Iterable[str]) -> str:
        for folder in folders:
            if folder in (self.valid, self.test):
                return "valid" if folder == self.valid else "test"
            named = split_named(folder)
            if named == self.valid or (named == "train" and split_named(self.valid)):
                return str(named)
        return "train"


@dataclass(frozen=True)
class NoValidation:
    """Every row is for training."""

    def __call__(self, samples: "pd.DataFrame") -> list[str]:
        return ["train"] * len(samples)


@dataclass(frozen=True)
class FileListSplit:
    """The listed files are for validation.

    Args:
        files: names, as the last parts of a path ("7.jpg", "cats/7.jpg"), or a text file with one per line.
    """

    files: PathLike | Sequence[str]

    def __call__(self, samples: "pd.DataFrame") -> npt.NDArray[np.bool_]:
        rows_of: dict[str, list[int]] = {}
        files = [str(file) for file in samples["input"].tolist()]
        for row, file in enumerate(files):
            rows_of.setdefault(os.path.basename(file), []).append(row)
        chosen = np.zeros(len(samples), dtype=bool)
        missing = []
        for name in self._names():
            parts = Path(name).parts
            rows = [row for row in rows_of.get(Path(name).name, []) if Path(files[row]).parts[-len(parts) :] == parts]
            chosen[rows] = True
            missing += [] if rows else [name]
        if missing:
            raise DataError(
                f"{len(missing)} of the files listed for validation are not in the data, first {missing[:5]}",
                fix="Use the names on disk, with their suffix.",
            )
        return chosen

    def _names(self) -> list[str]:
        if not isinstance(self.files, str | os.PathLike):
            return [str(name) for name in self.files]
        try:
            lines = Path(self.files).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise MissingFileError(f"no file {self.files} with the names of the validation files") from error
        return [line.strip() for line in lines if line.strip()]


def _check_draw(valid_pct: Any, seed: Any) -> None:
    check_seed(seed)
    if not is_number(valid_pct) or not 0 < valid_pct < 1:
        raise UsageError(
            "valid_pct", got=valid_pct, expected="a share in (0, 1)", fix="Pass for example valid_pct=0.2."
        )


def _groups(samples: "pd.DataFrame", column: str) -> npt.NDArray[np.int64]:
    groups = group_numbers(samples, column)
    if groups.max(initial=-1) < 1:
        raise DataError(f"column {column!r}", got="one group", expected="at least 2, one for each side")
    return groups


def _n_valid(n: int, valid_pct: float) -> int:
    if n < 2:
        raise DataError(
            "valid_pct", got=counted(n, "item"), expected="at least 2, one for training and one for validation"
        )
    return max(1, int(valid_pct * n))
