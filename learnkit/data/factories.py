"""Every way from what is on disk to a bunch of images: each makes a table of samples, and a bunch of the table."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from learnkit.data.options import BasicOptions, FolderOptions, ImageOptions, ImageSettings, takes_options
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.columns import column_of
from learnkit.data.table.folders import folder_samples, mask_samples
from learnkit.data.table.from_csv import Column, frame_samples, list_samples, named_samples, pattern_label, read_table
from learnkit.data.table.splits import ColumnSplit
from learnkit.data.tasks import Classification, Regression, Task
from learnkit.errors import UsageError, WrongTypeError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImageFactories"]


class ImageFactories(ABC):
    """The factories of `ImageDataBunch`, all by way of its `from_samples`."""

    @classmethod
    @abstractmethod
    def from_samples(
        cls,
        samples: "pd.DataFrame",
        path: PathLike = ".",
        *,
        names: Sequence[str] = (),
        **options: Unpack[ImageOptions],
    ) -> Self:
        """A bunch of a table of samples."""

    @classmethod
    @abstractmethod
    def empty(cls, path: Path, task: Task, settings: ImageSettings) -> Self:
        """A bunch without items."""

    @classmethod
    @takes_options
    def from_folder(
        cls,
        path: PathLike,
        train: str = "train",
        valid: str = "valid",
        test: str | None = None,
        **options: Unpack[FolderOptions],
    ) -> Self:
        """Images in one folder per class.

        Args:
            path: holds train/<class>/... and valid/<class>/..., or, with `valid_pct` or `split`, <class>/... directly.
            train: the folder of the training images.
            valid: the folder of the validation images; "val" is used if there is no "valid".
            test: the folder of the test images, labeled (test/<class>/...) or not (test/...). With `valid_pct`, a
                folder test stays out of training whether it is named or not.
            **options: see `learnkit.data.options.ImageSettings`.

        Raises:
            MissingFileError: no such folder.
            DataError: no images, one class, a class without training images.
            UsageError: an argument that cannot work.
        """
        by_folder = ImageSettings(**options).splitter is None
        samples = folder_samples(path, train, valid, test, by_folder=by_folder)
        return cls.from_samples(samples, path, test=test, **options)

    @classmethod
    @takes_options
    def from_csv(
        cls,
        path: PathLike,
        csv_labels: str = "labels.csv",
        folder: str = "",
        fn_col: Column = 0,
        label_col: Column | Sequence[Column] = 1,
        valid_col: Column | None = None,
        label_delim: str | None = None,
        suffix: str = "",
        *,
        delimiter: str | None = None,
        header: Any = "infer",
        allow_outside: bool = False,
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Images named in a CSV file.

        Args:
            path: holds the CSV file; the names in it are relative to this.
            csv_labels: the CSV file.
            folder: below `path`, where the images are.
            fn_col: the column of the names, by name or number.
            label_col: the column of the labels. Several columns of 0 and 1 are yes/no per class; of other numbers, a
                regression (with task="regression").
            valid_col: a column that is true for validation, or names the split: train, valid (val), test.
            label_delim: what separates several labels in a cell; an empty cell is an item without labels.
            suffix: what to add to the names, such as ".jpg".
            delimiter: what separates the columns; None for a comma (a tab in .tsv).
            header: None for a file without column names.
            allow_outside: let names lead out of `path`.
            **options: see `learnkit.data.options.ImageSettings`.

        Raises:
            MissingFileError: no such file, or images that are not there, with their rows.
            DataError: no rows, no such column, missing labels (with their rows).
            UnsafeFileError: names that lead out of `path`, with their rows.
        """
        table = read_table(Path(path) / csv_labels, delimiter, header, empty_is_none=label_delim is not None)
        return cls.from_df(
            path,
            table,
            folder,
            fn_col,
            label_col,
            valid_col,
            label_delim,
            suffix,
            allow_outside=allow_outside,
            **options,
        )

    @classmethod
    @takes_options
    def from_df(
        cls,
        path: PathLike,
        df: "pd.DataFrame",
        folder: str = "",
        fn_col: Column = 0,
        label_col: Column | Sequence[Column] = 1,
        valid_col: Column | None = None,
        label_delim: str | None = None,
        suffix: str = "",
        *,
        allow_outside: bool = False,
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Images named in a DataFrame, whose columns are kept in `samples`; arguments as for `from_csv`."""
        if not hasattr(df, "columns"):
            raise WrongTypeError("df", got=type(df).__name__, expected="a DataFrame", fix="Call from_df(path, df).")
        if valid_col is not None:
            if options.get("split") is not None or options.get("valid_pct") is not None:
                raise UsageError("valid_col", got=valid_col, expected="None with valid_pct or split")
            name: Any = column_of(df, valid_col).name
            options["split"] = ColumnSplit(name)
        task = options.get("task")
        as_numbers = task == "regression" or isinstance(task, Regression)
        samples = frame_samples(
            path, df, folder, fn_col, label_col, label_delim, suffix, as_numbers=as_numbers, allow_outside=allow_outside
        )
        if options.get("split") is None and valid_col is None:
            samples = samples.drop(columns="split", errors="ignore")  # a column of that name which nobody asked for
        names = [] if isinstance(label_col, str | int) else [str(column_of(df, column).name) for column in label_col]
        return cls.from_samples(samples, path, names=names, **options)

    @classmethod
    @takes_options
    def from_lists(
        cls, path: PathLike, fnames: Iterable[PathLike], labels: Iterable[Any], **options: Unpack[ImageOptions]
    ) -> Self:
        """Files, absolute or relative to `path`, and a label for each: the text or number of a class, a list of labels,
        or (with task="regression") numbers.
        """
        return cls.from_samples(list_samples(path, fnames, labels), path, **options)

    @classmethod
    @takes_options
    def from_name_func(
        cls,
        path: PathLike,
        fnames: Iterable[PathLike] | None,
        func: Callable[[str], Any],
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Files labeled by a function of their whole POSIX path; `fnames` None for all images below `path`.

        The function is called here, once per file, so it need not be picklable.
        """
        return cls.from_samples(named_samples(path, fnames, func), path, **options)

    from_path_func = from_name_func

    @classmethod
    @takes_options
    def from_name_re(
        cls,
        path: PathLike,
        fnames: Iterable[PathLike] | None,
        pat: str | re.Pattern[str],
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Files labeled by group 1 of a regular expression searched in their whole POSIX path."""
        return cls.from_name_func(path, fnames, pattern_label(pat), **options)

    @classmethod
    @takes_options
    def from_folder_masks(
        cls,
        path: PathLike,
        images: str = "images",
        masks: Callable[[Path], PathLike] | None = None,
        codes: Sequence[str] | Mapping[Any, str] | None = None,
        *,
        ignore_index: int | None = None,
        valid: str = "valid",
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Images and a mask for each, for segmentation.

        Args:
            path: holds the folder of the images.
            images: the folder of the images, with folders train and valid (or val) in it; or, with `valid_pct` or
                `split`, without.
            masks: path of an image -> path of its mask, next to the image's or relative to `path`.
            codes: the names of the classes, pixel value 0 the first; or {pixel value: name}, as in {0: "ground",
                255: "building"}.
            ignore_index: the pixel value of what is neither trained on nor measured.
            valid: the folder of the validation images in `images`.
            **options: see `learnkit.data.options.ImageSettings`; `task` is a Segmentation of `codes`.

        Raises:
            MissingFileError: no such folder, or images without a mask.
            DataError: a mask of another size than its image, or with pixel values without a class.
        """
        task: Task | str | None = options.get("task")
        if masks is None or not callable(masks):
            raise UsageError("masks", got=masks, expected="a function: path of an image -> path of its mask")
        if not isinstance(task, Segmentation):
            if codes is None or task is not None:
                raise UsageError("codes", got=codes, expected="names of the classes, or {pixel value: name}")
            task = Segmentation(codes, ignore_index)
        by_folder = ImageSettings(**options).splitter is None
        samples = mask_samples(path, images, masks, valid, by_folder=by_folder)
        options["task"] = task
        return cls.from_samples(samples, path, **options)

    @classmethod
    @takes_options
    def single_from_classes(cls, path: PathLike, classes: Sequence[str], **options: Unpack[BasicOptions]) -> Self:
        """A bunch without items, for predictions of a model that was trained elsewhere: `predict` and `test_dl_from`.

        normalize="data" cannot be measured here; give (mean, std).
        """
        task = Classification(tuple(str(name) for name in classes))
        return cls.empty(Path(path), task, ImageSettings(**options))
