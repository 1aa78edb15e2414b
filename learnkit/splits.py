"""Splits for `split=`: which rows of a table of samples are for validation."""

from learnkit.data.table.splits import (
    ColumnSplit,
    FileListSplit,
    FolderSplit,
    GroupSplit,
    RandomSplit,
    Split,
    StratifiedGroupSplit,
    StratifiedSplit,
)

__all__ = [
    "ColumnSplit",
    "FileListSplit",
    "FolderSplit",
    "GroupSplit",
    "RandomSplit",
    "Split",
    "StratifiedGroupSplit",
    "StratifiedSplit",
]
