"""ImageDataBunch: images and their targets, from anything on disk, through one table of samples."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from learnkit.data.build import DEFAULT_SHARE
from learnkit.data.bunch import DataBunch
from learnkit.data.classes import Classes
from learnkit.data.image_table import ImageTable
from learnkit.data.options import (
    BasicOptions,
    FolderOptions,
    ImageOptions,
    ImageSettings,
    add_default_split,
    takes_options,
)
from learnkit.data.segmentation import MaskReader, masks_task
from learnkit.data.stream.build import check_settings, stream_loaders, stream_parts, stream_table
from learnkit.data.stream.items import Key, open_streams
from learnkit.data.table.columns import column_of
from learnkit.data.table.folders import folder_samples, mask_samples
from learnkit.data.table.from_csv import frame_samples, read_table, without_split_columns
from learnkit.data.table.from_datasets import image_samples
from learnkit.data.table.from_hf import hf_samples
from learnkit.data.table.from_lists import list_samples, named_samples, pattern_label
from learnkit.data.table.held_images import WithImages
from learnkit.data.table.hf_splits import hf_splits
from learnkit.data.table.label_columns import FALSE_VALUES, TRUE_VALUES, Column, column_list
from learnkit.data.table.labels import task_kind
from learnkit.data.table.splits import ColumnSplit
from learnkit.data.tasks import task_of_classes
from learnkit.device import resolve_device
from learnkit.errors import UsageError, WrongTypeError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImageDataBunch", "as_image_bunch"]


class ImageDataBunch(ImageTable):
    """Images and their targets.

    The keywords that every factory takes, such as `size`, `bs`, `augment`, `valid_pct` or `on_error`, are those of
    `learnkit.data.options.ImageSettings`. All factories but `from_folder` and `from_folder_masks` take a fifth of the
    rows at random for validation when no split is specified.

    Attributes:
        preprocess: from a file to what the model sees: one object for training, validation and prediction.
        skipped: the rows left out with on_error="skip", and why (column `error`).
        settings: the keywords the bunch was made with.
    """

    @classmethod
    @takes_options
    def from_folder(
        cls,
        path: PathLike,
        train: str = "train",
        valid: str | None = "valid",
        test: str | None = None,
        **options: Unpack[FolderOptions],
    ) -> Self:
        """Images in one folder per class.

        Args:
            path: holds train/<class>/... and valid/<class>/..., or, with `valid_pct` or `split`, <class>/... directly.
            train: the folder of the training images; "training" is used if there is no "train".
            valid: the folder of the validation images; "val" or "validation" is used if there is no "valid". None to
                train without a validation set.
            test: the folder of the test images, labeled (test/<class>/...) or not (test/...). With `valid_pct`, a
                folder test stays out of training whether it is named or not. A folder train or valid is then a split
                where it stands beside another one and holds class folders, else a class.
            **options: see `learnkit.data.options.ImageSettings`.

        Raises:
            MissingFileError: no such folder.
            DataError: no images, one class, a class without training images.
            UsageError: an argument that cannot work.
        """
        settings = ImageSettings(**options)
        by_folder = settings.splitter is None
        linked: set[str] = set()
        samples = folder_samples(
            path, train, valid, test, by_folder=by_folder, suffixes=settings.suffixes,
            classes=settings.classes or (), linked=linked,
        )  # fmt: skip
        if by_folder and valid is None:
            options["valid_pct"] = 0
        return cls._from_table(samples, path, (), linked=linked, test=test, **options)

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
        true_values: Sequence[str] = TRUE_VALUES,
        false_values: Sequence[str] = FALSE_VALUES,
        allow_outside: bool = False,
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Images named in a CSV file.

        Args:
            path: holds the CSV file; the names in it are relative to this.
            csv_labels: the CSV file.
            folder: below `path`, where the images are.
            fn_col: the column of the names, by name or number. Names and labels are read as they stand: 0001 is not 1.
            label_col: the column of the labels. Several columns of yes and no, in every row, are a class each; of other
                numbers, a regression (with task="regression"); of text, labels. With a Segmentation task, the paths of
                the masks, relative to `path`.
            valid_col: a column that is true for validation, or names the split: train, valid (val), test.
            label_delim: what separates several labels in a cell; an empty cell is an item without labels.
            suffix: what to add to the names, such as ".jpg".
            delimiter: the character that separates the columns, or "\\s+" for spaces; None for a comma (a tab in .tsv).
            header: None for a file without column names; a first line that names an image is refused without it.
            true_values: what means yes in several columns of labels, in any case.
            false_values: what means no.
            allow_outside: let names point outside `path`.
            **options: see `learnkit.data.options.ImageSettings`.

        Raises:
            MissingFileError: no such file, or images that are not there, with their rows.
            DataError: no rows, no such column, missing labels (with their rows).
            UnsafeFileError: names that point outside `path`, with their rows.
        """
        kind = task_kind(options.get("task"))
        table = read_table(
            Path(path) / csv_labels,
            delimiter,
            header,
            empty_is_none=label_delim is not None,
            text_columns=[fn_col, *([] if kind == "regression" and label_delim is None else column_list(label_col))],
            images=(Path(path) / folder, fn_col, suffix),
        )
        return cls.from_df(
            path,
            table,
            folder,
            fn_col,
            label_col,
            valid_col,
            label_delim,
            suffix,
            true_values=true_values,
            false_values=false_values,
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
        true_values: Sequence[str] = TRUE_VALUES,
        false_values: Sequence[str] = FALSE_VALUES,
        allow_outside: bool = False,
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Images named in a DataFrame `df`, whose columns are kept in `samples`; other arguments as for `from_csv`.

        The column `fn_col` may hold images instead of names: PIL, encoded bytes, arrays (H, W[, C]) or tensors.

        Raises:
            WrongTypeError: `df` is not a DataFrame.
            UsageError, DataError: as `from_csv`.
        """
        if not hasattr(df, "columns"):
            raise WrongTypeError("df", got=type(df).__name__, expected="a DataFrame", fix="Call from_df(path, df).")
        if valid_col is not None:
            if options.get("split") is not None or options.get("valid_pct") is not None:
                raise UsageError("valid_col", got=valid_col, expected="None with valid_pct or split")
            name: Any = column_of(df, valid_col).name
            options["split"] = ColumnSplit(name)
        table = WithImages(df, column_of(df, fn_col).name)
        samples = frame_samples(
            path, table.named, folder, fn_col, label_col, label_delim, suffix, kind=task_kind(options.get("task")),
            true_values=true_values, false_values=false_values, allow_outside=allow_outside,
        )  # fmt: skip
        samples = table.restored(samples)
        if options.get("split") is None and valid_col is None:
            samples = without_split_columns(samples, is_split=options.get("valid_pct") is not None)
        labels = [] if isinstance(label_col, str | int) else column_list(label_col)
        return cls.from_samples(samples, path, names=[str(column_of(df, one).name) for one in labels], **options)

    @classmethod
    @takes_options
    def from_datasets(  # type: ignore[override]
        cls, train: Any, valid: Any = None, test: Any = None, path: PathLike = ".", **options: Unpack[FolderOptions]
    ) -> Self:
        """Images of datasets of (image, label), such as those of torchvision, a Subset, or a list of pairs.

        An image is PIL, an array (H, W, C), a uint8 tensor (C, H, W) or encoded bytes; the datasets have no transform
        that makes float tensors. Labels that are whole numbers are indices into the classes, which are those that the
        datasets name (`dataset.classes`), or else `classes=`; without either, each number is the name of a class.

        Args:
            train: the training items.
            valid: those to validate on; None to take `valid_pct` or `split` of the training items, or else to train
                without a validation set.
            test: those to predict: (image, label), or images alone.
            path: where a learner writes its files.
            **options: see `learnkit.data.options.ImageSettings`.

        Raises:
            DataError: an empty set, items of another form, or datasets with different classes.
            UsageError: an argument that cannot work.
        """
        sets = {"train": train, "valid": valid, "test": test}
        add_default_split(options, None if valid is None else type(valid).__name__, 0)
        task, given = options.get("task"), options.get("classes")
        samples, classes = image_samples(sets, given, task)
        if classes is not None and not hasattr(task, "n_out"):
            options["classes"] = classes
        return cls.from_samples(samples, path, **options)

    @classmethod
    @takes_options
    def from_hf(
        cls,
        dataset: Any,
        image: str = "image",
        label: str | Sequence[str] = "label",
        splits: Mapping[str, str] | None = None,
        path: PathLike = ".",
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Images of a Hugging Face dataset, on the path of files.

        Args:
            dataset: a datasets.Dataset, or a DatasetDict with the splits train and maybe validation (valid, val, dev)
                and test; a fifth of train is taken for a missing validation set, unless `options` say otherwise.
            image: the column of the images: the feature Image, encoded bytes, or arrays (H, W[, C]).
            label: the column of the labels, or several, as for `from_df`: a ClassLabel (its names are the classes, -1
                is none), text, numbers, lists of these, or masks. Numbers are indices into `classes`, if passed.
            splits: which key of the DatasetDict is "train", "valid" and "test", if its keys do not say so.
            path: where a learner writes its files.
            **options: see `learnkit.data.options.ImageSettings`.

        Raises:
            DataError: no such column, labels that cannot be used, or splits that are not known.
            WrongTypeError, UsageError: a streaming dataset or an argument that cannot work; no package datasets.
        """
        parts = hf_splits(dataset, splits, options.get("test"))
        add_default_split(options, parts["valid"].name if "valid" in parts else None, DEFAULT_SHARE)
        table = hf_samples(parts, image, label, options.get("task"), options.get("classes"))
        options["classes"] = table.classes
        return cls.from_samples(table.samples, path, names=table.names, **options)

    @classmethod
    @takes_options
    def from_stream(
        cls,
        train: Any,
        valid: Any = None,
        test: Any = None,
        path: PathLike = ".",
        *,
        image: Key | None = None,
        label: Key | None = None,
        **options: Unpack[FolderOptions],
    ) -> Self:
        """Images of streams of litdata, in folders or at URLs (s3://, gs://, ...), on the same path as files.

        Training batches are drawn chunk by chunk, by (seed, epoch): they do not depend on the number of workers, and
        a fit that was killed goes on to the same bits. A stream has no table: `samples`, `folds` and what is made of
        them are refused.

        Args:
            train: the folder or URL that `learnkit.pack` wrote, with its validation and test sets; or that of one
                stream; or a litdata StreamingDataset.
            valid: the stream to validate on, likewise; None to train without one.
            test: that to predict, with labels or without.
            path: where a learner writes its files.
            image: the key (of a dict) or place (in a tuple) of the image in an item: PIL, encoded bytes, an array
                (H, W[, C]) or a uint8 tensor (C, H, W). None for that of a packed stream, or else "image".
            label: that of its label, likewise, or else "label": the name of a class, or its index into `classes`;
                names, or a 0 or 1 for each class (task="multilabel"); numbers (task="regression" or Points); the bytes
                of a mask's file (a Segmentation).
            **options: see `learnkit.data.options.ImageSettings`. A packed stream knows its classes; others need
                `classes` or `task`.

        Raises:
            MissingFileError: no stream there.
            DataError: items without these parts, or labels that do not fit the task.
            UsageError: an argument that cannot work, or the package litdata is not installed.
        """
        settings = ImageSettings(**options)
        check_settings(settings)
        streams = open_streams(train, valid, test)
        parts = stream_parts(streams, image, label)
        table = stream_table(streams, parts, settings)
        loaders = stream_loaders(table, streams, parts, settings, resolve_device(settings.device))
        return cls._of(table, loaders, settings, Path(path))

    @classmethod
    @takes_options
    def from_lists(
        cls, path: PathLike, fnames: Iterable[PathLike], labels: Iterable[Any], **options: Unpack[ImageOptions]
    ) -> Self:
        """Files `fnames` (absolute, relative to `path`, or of `get_image_files(path)`) and a label each: the text or
        number of a class, a list of labels, or (with task="regression") numbers.
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
        """Files labeled by `func` of their whole POSIX path; `fnames` None for all images below `path` but those in
        a folder test.

        The function is called here, once per file, so it need not be picklable. The images of `test` are labeled by it
        too; those for which it fails, or returns no class, have no label.
        """
        settings = ImageSettings(**options)
        linked: set[str] | None = set() if fnames is None else None
        samples = named_samples(path, fnames, func, settings.test, settings.suffixes, linked=linked)
        return cls._from_table(samples, path, (), func, linked, **options)

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
        """`from_name_func` with group 1 of the regular expression `pat`, searched in the whole POSIX path."""
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
        ignore_index: Any = None,
        valid: str | None = "valid",
        binary: bool = False,
        threshold: float | None = None,
        border: str | None = None,
        mask_reader: MaskReader | None = None,
        **options: Unpack[ImageOptions],
    ) -> Self:
        """Images and a mask for each, for segmentation.

        Args:
            path: holds the folder of the images.
            images: the folder of the images, with folders train and valid (or val, validation) in it, and maybe test;
                or, with `valid_pct` or `split`, without. A folder test is then left out, as by `from_folder`.
            masks: path of an image -> path of its mask, next to the image's or relative to `path`.
            codes, ignore_index, binary, threshold, border, mask_reader: see `Segmentation`: the names of the classes,
                pixel value 0 the first, or {pixel value: name}; the value of pixels that are neither trained on nor
                measured; one output for two classes; soft masks; the class of padding; a reader of masks.
            valid: the folder of the validation images in `images`; None to train without a validation set.
            **options: see `learnkit.data.options.ImageSettings`; `task` is a Segmentation of `codes`.

        Raises:
            UsageError: `masks` is not a function.
            MissingFileError: no such folder, or images without a mask.
            DataError: a mask whose size is not that of its image, or with pixel values without a class.
        """
        if masks is None or not callable(masks):
            raise UsageError("masks", got=masks, expected="a function: path of an image -> path of its mask")
        options["task"] = masks_task(
            options.get("task"), codes, ignore_index, binary=binary, threshold=threshold, border=border,
            mask_reader=mask_reader,
        )  # fmt: skip
        settings = ImageSettings(**options)
        by_folder = settings.splitter is None
        test = None if settings.test is None else str(settings.test)
        samples = mask_samples(
            path, images, masks, valid, by_folder=by_folder, test=test, suffixes=settings.suffixes
        )  # fmt: skip
        if by_folder and valid is None:
            options["valid_pct"] = 0
        return cls.from_samples(samples, path, **options)

    @classmethod
    @takes_options
    def single_from_classes(cls, path: PathLike, classes: Sequence[str], **options: Unpack[BasicOptions]) -> Self:
        """A bunch without items, for predictions of a model that was trained elsewhere: `predict` and `test_dl_from`.

        The task is a Classification of the classes, or with task="multilabel" a MultiLabel. normalize="data" cannot be
        measured here; give (mean, std).
        """
        settings = ImageSettings(**options)
        return cls.empty(Path(path), task_of_classes(settings.task, Classes(classes)), settings)


def as_image_bunch(dls: DataBunch) -> ImageDataBunch | None:
    """The bunch if it holds images, which have a `preprocess`; None for other data."""
    return cast(ImageDataBunch, dls) if dls.preprocess is not None else None
