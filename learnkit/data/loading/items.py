"""Items of a user: several of them, where one alone would be taken apart; the index of one."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from learnkit.checks import check_int
from learnkit.errors import DataError, UsageError

__all__ = ["checked_item", "listed", "several"]


def several(items: Any, *, are_images: bool = False) -> Iterable[Any]:
    """The items of any iterable, a generator included, or of the column `input` of a DataFrame.

    Args:
        items: what a user passed.
        are_images: an array or tensor of up to three axes is one image.

    Raises:
        UsageError: one item: a path, text, bytes, an image; a DataFrame without the column, or a dict.
    """
    one = _as_one(items, are_images=are_images)
    if one:
        raise UsageError(f"items: got {one}", expected="several items, such as a list", fix=_remedy(items))
    if hasattr(items, "columns"):
        if "input" not in items.columns:
            columns = ", ".join(map(str, items.columns))
            raise UsageError(
                f"items: got a table with the columns {columns}", expected="a column input",
                fix="Pass the column of the items: df[name].",
            )  # fmt: skip
        items = items["input"]
    return items  # type: ignore[no-any-return]


def listed(items: Any, *, are_images: bool = False) -> list[Any]:
    """The items of a test set as a list.

    Raises:
        DataError: no items.
    """
    found = list(several(items, are_images=are_images))
    if not found:
        raise DataError("the test set is empty", expected="at least one item")
    return found


def checked_item(i: int, n: int) -> int:
    """i, if it is the index of one of n items.

    Raises:
        UsageError: i is out of range.
    """
    return check_int("i", i, 0, n - 1, expected=f"an item index from 0 to {n - 1}")


def _as_one(items: Any, *, are_images: bool) -> str:
    """What one item alone is; "" for several."""
    if isinstance(items, str | os.PathLike):
        return f"the folder {str(items)!r}" if os.path.isdir(items) else f"one name, {str(items)!r}"
    if isinstance(items, bytes | bytearray | memoryview | Mapping) or not isinstance(items, Iterable):
        return f"one {type(items).__name__}"
    n_axes = getattr(items, "ndim", None)
    if n_axes == 0 or (are_images and n_axes in (2, 3) and not hasattr(items, "columns")):
        return f"one {type(items).__name__} of {n_axes} axes"
    return ""


def _remedy(items: Any) -> str:
    is_folder = isinstance(items, str | os.PathLike) and Path(items).is_dir()
    if is_folder:
        return "Pass get_image_files(folder)."
    return "Pass [item], or list(items) of several." if hasattr(items, "ndim") else "Pass [item], or use predict."
