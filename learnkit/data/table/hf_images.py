"""The images in a column of a Hugging Face dataset, each read from its table when it is needed, and never decoded."""

from collections.abc import Sequence
from typing import Any

from learnkit.data.image.sources import HeldImage, Source
from learnkit.errors import DataError, ImageError

__all__ = ["hf_sources", "inner_feature", "is_image_feature"]

WHAT = "images, encoded bytes or arrays"


class _Rows:
    """A column by row.

    Args:
        alone: a dataset of this column alone.
        column: its name.
        name: what an item is called.
    """

    def __init__(self, alone: Any, column: str, name: str) -> None:
        self._alone, self._column, self._name = alone, column, name

    def __getitem__(self, row: int) -> Any:
        """The encoded bytes, the path of the file that the dataset refers to, or an array.

        Raises:
            ImageError: nothing is there.
        """
        value = self._alone[row][self._column]
        if isinstance(value, dict):
            value = value["path"] if value["bytes"] is None else value["bytes"]
        if value is None:
            raise ImageError(f"{self._name}[{row}]: column {self._column!r} is empty")
        return value


def is_image_feature(feature: Any) -> bool:
    """Whether a column holds image files: the feature Image, or a struct of bytes and path as Parquet files have it."""
    return type(feature).__name__ == "Image" or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def inner_feature(feature: Any) -> Any:
    """What the lists of a column hold; None for a column of something else than lists."""
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", None)


def hf_sources(dataset: Any, column: str, name: str) -> Sequence[Source]:
    """Where the image of each row comes from: its file, if the dataset refers to files, or else a HeldImage.

    Args:
        dataset: a datasets.Dataset.
        column: the column of the images.
        name: what an item is called, such as "train" for "train[3]".

    Raises:
        DataError: a column of something else, or of addresses in the internet.
    """
    import datasets

    feature = dataset.features[column]
    alone = dataset.select_columns([column]).with_format(None)
    if is_image_feature(feature):
        alone = alone.cast_column(column, datasets.Image(decode=False))
        flat = alone.flatten()
        if flat.data.column(f"{column}.bytes").null_count == flat.data.num_rows:
            return _files(flat.select_columns([f"{column}.path"])[:][f"{column}.path"], column, name)
    elif (dtype := _array_type(feature)) is not None:
        alone = alone.with_format("numpy", dtype=dtype)
    elif getattr(feature, "dtype", None) not in ("binary", "large_binary"):
        is_text = getattr(feature, "dtype", None) in ("string", "large_string")
        fix = f"dataset.cast_column({column!r}, datasets.Image()) reads the files that text names." if is_text else ""
        raise DataError(
            f"{name}: the column {column!r} holds {feature}", expected=WHAT, fix=fix or "Pass image=, another column."
        )
    rows = _Rows(alone, column, name)
    return [HeldImage(rows, row, f"{name}[{row}]") for row in range(len(dataset))]


def _files(paths: Sequence[Any], column: str, name: str) -> Sequence[Source]:
    """The paths of the files of a column without bytes.

    Raises:
        DataError: a row without one, or with an address in the internet.
    """
    for row, path in enumerate(paths):
        if path is None:
            raise DataError(f"{name}[{row}]: column {column!r} is empty", expected="an image in every row")
        if "://" in path:
            fix = "learnkit.download_images fetches addresses into a folder."
            raise DataError(f"{name}[{row}]", got=path, expected="a file on this machine, or its bytes", fix=fix)
    return paths


def _array_type(feature: Any) -> str | None:
    """The type of the numbers of a column of arrays; None for another column."""
    if type(feature).__name__ in ("Array2D", "Array3D"):
        return str(feature.dtype)
    n_axes = 0
    while (inner := inner_feature(feature)) is not None:
        feature, n_axes = inner, n_axes + 1
    dtype = str(getattr(feature, "dtype", ""))
    return dtype if n_axes in (2, 3) and dtype.startswith(("uint", "int", "float", "bool")) else None
