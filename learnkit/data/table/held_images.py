"""Tables and lists that hold images instead of the names of files."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.data.image.sources import HeldImage, Source, held, is_image
from learnkit.data.loading.items import listed
from learnkit.data.table.columns import column_of, with_column
from learnkit.data.table.label_values import all_text
from learnkit.errors import DataError, MissingFileError, UsageError, WrongTypeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WithImages", "item_sources", "with_held_images"]

MAX_SHOWN = 5


class WithImages:
    """A user's table of which one column may hold images: their names stand in for them while it is read.

    Args:
        table: the table.
        column: the column's name.

    Raises:
        DataError: a column of images and of something else, or several columns of this name.
    """

    def __init__(self, table: "pd.DataFrame", column: Any) -> None:
        cells = column_of(table, column).tolist()
        if any(map(_is_struct, cells)):
            cells = list(map(_unpacked, cells))
            table = with_column(table, column, cells)
        self.images: list[Any] | None = _images_in(cells, str(column))
        self.named: pd.DataFrame = (
            table if self.images is None else table.assign(**{column: [str(one) for one in self.images]})
        )

    def restored(self, samples: "pd.DataFrame") -> "pd.DataFrame":
        """The table of samples made of `named`, its rows in the same order, with the images as its inputs."""
        return samples if self.images is None else with_column(samples, "input", self.images)


def with_held_images(samples: Any) -> Any:
    """A table of samples whose column input holds images, each of them in a HeldImage; any other table unchanged.

    Raises:
        DataError: a column of images and of something else than paths.
    """
    if "input" not in getattr(samples, "columns", ()):
        return samples  # refused where tables are checked
    values = samples["input"].tolist()
    if not _any_held(values):
        return samples
    return with_column(samples, "input", held(values, "input"))


def item_sources(items: Iterable[Any], folder: Path) -> list[Source]:
    """Where each image of a user comes from.

    Args:
        items: paths, PIL images, encoded bytes, arrays or tensors, mixed; or a DataFrame with a column input of these.
        folder: relative paths that are not there are looked for here too.

    Raises:
        UsageError: one item alone, or a relative path that is in both places.
        WrongTypeError: an item that is neither a path nor an image.
        MissingFileError: files that are not there.
        DataError: no items.
    """
    given = listed(items, are_images=True)
    for place, item in enumerate(given):
        if not isinstance(item, str | os.PathLike) and not is_image(item):
            raise WrongTypeError(
                f"item {place}: got {type(item).__name__}",
                expected="a path, PIL image, encoded bytes, array (H, W[, C]) or tensor (C, H, W)",
            )
    sources = [_found(one, folder) if isinstance(one, str | os.PathLike) else one for one in held(given, "item")]
    missing = [one for one in sources if not isinstance(one, HeldImage) and not os.path.exists(one)]
    if missing:
        raise MissingFileError(
            f"{len(missing)} of {len(sources)} files are missing, first {missing[:MAX_SHOWN]}",
            fix=f"Relative paths are looked for in the working directory and in {folder}.",
        )
    return sources


def _found(name: Any, folder: Path) -> str:
    """The absolute path, below `folder` if it is there and not in the working directory."""
    path: str = os.path.abspath(name)
    below = os.path.abspath(os.path.join(folder, name))
    if path == below or not os.path.exists(below):
        return path
    if os.path.exists(path) and not os.path.samefile(path, below):
        raise UsageError(
            f"{str(name)!r} is in the working directory and in {folder}", fix="Pass the whole path of the one you mean."
        )
    return below


def _is_held(value: Any) -> bool:
    """Whether a cell of a table is an image: bytes that hold a NUL are, as no name does and every image file."""
    return is_image(value) and (not isinstance(value, bytes) or b"\0" in value)


def _is_struct(cell: Any) -> bool:
    """Whether a cell is an image as Parquet files of Hugging Face have it: a dict of its bytes and its path."""
    return isinstance(cell, dict) and set(cell) == {"bytes", "path"}


def _unpacked(cell: Any) -> Any:
    """The bytes of such a cell, or else the path; any other cell unchanged."""
    return (cell["path"] if cell["bytes"] is None else cell["bytes"]) if _is_struct(cell) else cell


def _any_held(values: list[Any]) -> bool:
    return not all_text(values) and any(map(_is_held, values))


def _images_in(values: list[Any], column: str) -> list[Any] | None:
    """The images of a column, each held; None for a column of names."""
    if not _any_held(values):
        return None
    others = [row for row, value in enumerate(values) if not _is_held(value)]
    if others:
        raise DataError(
            f"column {column!r} holds images, but not in rows {others[:MAX_SHOWN]}",
            got=values[others[0]], expected="an image in every row",
        )  # fmt: skip
    return held(values, column)
