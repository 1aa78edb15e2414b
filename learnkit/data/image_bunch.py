"""ImageDataBunch: images and their targets, from anything on disk, through one table of samples."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import numpy as np
from torch import Tensor

from learnkit.data.build import ImageLoaders, Table, build_loaders, build_table, empty_loaders, empty_table
from learnkit.data.bunch import DataBunch
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.options import BasicOptions, FolderOptions, ImageOptions, ImageSettings, takes_options
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.columns import column_of
from learnkit.data.table.folders import folder_samples, mask_samples
from learnkit.data.table.folds import Folds, fold_numbers
from learnkit.data.table.from_csv import Column, frame_samples, list_samples, named_samples, pattern_label, read_table
from learnkit.data.table.from_datasets import image_samples
from learnkit.data.table.held_images import WithImages, item_sources, with_held_images
from learnkit.data.table.splits import ColumnSplit
from learnkit.data.table.summary import DataSummary, summarize
from learnkit.data.tasks import Classification, Regression, Task
from learnkit.device import resolve_device
from learnkit.errors import UsageError, WrongTypeError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImageDataBunch", "as_image_bunch"]


class ImageDataBunch(DataBunch):
    """Images and their targets.

    The keywords that every factory takes, such as `size`, `bs`, `augment`, `valid_pct` or `on_error`, are those of
    `learnkit.data.options.ImageSettings`. All factories but `from_folder` and `from_folder_masks` take a fifth of the
    rows at random for validation when no split is specified.

    Attributes:
        preprocess: from a file to what the model sees: one object for training, validation and prediction.
        skipped: the rows left out with on_error="skip", and why (column `error`).
        settings: the keywords the bunch was made with.
    """

    preprocess: Preprocess
    skipped: "pd.DataFrame"
    settings: ImageSettings
    _samples: "pd.DataFrame"
    _names: Sequence[str]

    def __init__(self, *loaders: Any, preprocess: Preprocess | None = None, **options: Any) -> None:
        if preprocess is None:
            raise UsageError("ImageDataBunch: tensors and loaders hold no images to prepare",
                             fix="Use DataBunch, or ImageDataBunch.from_datasets.")  # fmt: skip
        super().__init__(*loaders, preprocess=preprocess, **options)

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
            allow_outside: let names point outside `path`.
            **options: see `learnkit.data.options.ImageSettings`.

        Raises:
            MissingFileError: no such file, or images that are not there, with their rows.
            DataError: no rows, no such column, missing labels (with their rows).
            UnsafeFileError: names that point outside `path`, with their rows.
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
        """Images named in a DataFrame, whose columns are kept in `samples`; arguments as for `from_csv`.

        The column `fn_col` may hold images instead of names: PIL, encoded bytes, arrays (H, W[, C]) or tensors.
        """
        if not hasattr(df, "columns"):
            raise WrongTypeError("df", got=type(df).__name__, expected="a DataFrame", fix="Call from_df(path, df).")
        if valid_col is not None:
            if options.get("split") is not None or options.get("valid_pct") is not None:
                raise UsageError("valid_col", got=valid_col, expected="None with valid_pct or split")
            name: Any = column_of(df, valid_col).name
            options["split"] = ColumnSplit(name)
        task = options.get("task")
        as_numbers = task == "regression" or isinstance(task, Regression)
        table = WithImages(df, column_of(df, fn_col).name)
        samples = frame_samples(
            path,
            table.named,
            folder,
            fn_col,
            label_col,
            label_delim,
            suffix,
            as_numbers=as_numbers,
            allow_outside=allow_outside,
        )
        samples = table.restored(samples)
        if options.get("split") is None and valid_col is None:
            samples = samples.drop(columns="split", errors="ignore")  # a column of that name that was not requested
        names = [] if isinstance(label_col, str | int) else [str(column_of(df, column).name) for column in label_col]
        return cls.from_samples(samples, path, names=names, **options)

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
        is_split = options.get("split") is not None or options.get("valid_pct") is not None
        if valid is not None and is_split:
            raise UsageError("valid", got=type(valid).__name__, expected="None with valid_pct or split")
        if valid is None and not is_split:
            options["valid_pct"] = 0
        task, given = options.get("task"), options.get("classes")
        samples, classes = image_samples(sets, given, task)
        if classes is not None and not hasattr(task, "n_out"):
            options["classes"] = classes
        return cls.from_samples(samples, path, **options)

    @classmethod
    @takes_options
    def from_lists(
        cls, path: PathLike, fnames: Iterable[PathLike], labels: Iterable[Any], **options: Unpack[ImageOptions]
    ) -> Self:
        """Files (absolute, relative to `path`, or from `get_image_files(path)`) and a label for each: the text or
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
            ignore_index: the value of pixels that are neither trained on nor measured.
            valid: the folder of the validation images in `images`.
            **options: see `learnkit.data.options.ImageSettings`; `task` is a Segmentation of `codes`.

        Raises:
            MissingFileError: no such folder, or images without a mask.
            DataError: a mask whose size is not that of its image, or with pixel values without a class.
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

    @classmethod
    @takes_options
    def from_samples(
        cls,
        samples: "pd.DataFrame",
        path: PathLike = ".",
        *,
        names: Sequence[str] = (),
        **options: Unpack[ImageOptions],
    ) -> Self:
        """From a table with the columns input, target and, optionally, split: the last step of every factory.

        So a table can be looked at, filtered, relabeled and used again:
        `ImageDataBunch.from_samples(dls.samples[keep])`.

        Args:
            samples: one row per item; its input is a path, or an image as `from_df` takes it; further columns are kept.
            path: where a learner writes its files; `test` is relative to it.
            names: names of the regression targets.
            **options: see `learnkit.data.options.ImageSettings`. Without `split` or `valid_pct`, the column split
                decides what is for training and validation; without it, a fifth at random is for validation.

        Raises:
            MissingFileError: files that are not there.
            DataError: labels or files that cannot be used; see the messages.
            UsageError: an argument that cannot work.
        """
        settings = ImageSettings(**options)
        samples = with_held_images(samples)
        table = build_table(samples, settings, Path(path), names)
        device = resolve_device(settings.device)
        return cls._of(table, build_loaders(table, settings, device), settings, Path(path), names)

    @classmethod
    def empty(cls, path: Path, task: Task, settings: ImageSettings) -> Self:
        """A bunch without items that has a task and prepares images."""
        table = empty_table(task, settings)
        return cls._of(table, empty_loaders(table, settings, resolve_device(settings.device)), settings, path)

    @classmethod
    def _of(
        cls, table: Table, loaders: ImageLoaders, settings: ImageSettings, path: Path, names: Sequence[str] = ()
    ) -> Self:
        fix = loaders.fix
        bunch = cls(*loaders, task=table.task, device=fix.device, path=path, preprocess=fix.preprocess)
        bunch._samples, bunch.skipped, bunch.settings, bunch._names = table.samples, table.skipped, settings, names
        return bunch

    @property
    def samples(self) -> "pd.DataFrame":
        """One row per image: input (path), target, split, and the columns of the table it came from.

        The rows of a split are in the order of its `get_preds`.
        """
        return self._samples

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return (self.preprocess.channels, *self.preprocess.resize.size)

    def prepare(self, item: Any) -> Tensor:
        """One image as a batch of one on the device, as the model sees it.

        Args:
            item: a path, PIL image, encoded bytes, array (H, W[, C]) or tensor (C, H, W) of pixels.

        Raises:
            ImageError: an image that cannot be read.
        """
        return self.preprocess.batch(self.preprocess.item(item)[None].to(self.device))

    def test_dl_from(self, items: Iterable[Any]) -> ImageLoader:
        """A loader of unlabeled images, in their order.

        Args:
            items: paths (relative ones to the working directory, or to the `path` of the bunch), PIL images, encoded
                bytes, arrays (H, W[, C]) or tensors (C, H, W), mixed; or a DataFrame with a column input of these.

        Raises:
            UsageError: one path, one folder or one image.
            MissingFileError: files that are not there.
            DataError: no items.
        """
        dataset = ImageDataset(item_sources(items, self.path), None, None, self.preprocess)
        return ImageLoader(dataset, BatchOrder(len(dataset), self.batch_size or 64, shuffle=False), self.device)

    def summary(self) -> DataSummary:
        """Counts of every class in every split, sizes of the files, imbalance, and the rows left out."""
        return summarize(self._samples, self.task, self.skipped, self.preprocess)

    def folds(self, k: int = 5, *, stratify: bool = True, group: str | None = None, seed: int = 42) -> Folds[Self]:
        """k bunches in which every row of training and validation is validated once; the test set is in all of them.

        Args:
            k: number of folds.
            stratify: spread every class evenly over the folds.
            group: a column of `samples`; its groups (patients, cameras) stay together.
            seed: seed of the draw.
        """
        rows = self._samples[self._samples["split"] != "test"]
        stratify = stratify and not isinstance(self.task, Segmentation)
        numbers = fold_numbers(rows, k, stratify=stratify, group=group, seed=seed)

        def split_at(number: int) -> "pd.DataFrame":
            samples = self._samples.copy()
            samples.loc[rows.index, "split"] = np.where(numbers == number, "valid", "train")
            return samples

        return Folds(rows, numbers, lambda number: self._again(split_at(number)))

    def _again(self, samples: "pd.DataFrame") -> Self:
        """A bunch of a modified table, otherwise like this one."""
        settings = replace(
            self.settings,
            valid_pct=None,
            split=None,
            test=None,
            task=self.task,
            on_error="raise",
            bs=self.batch_size or self.settings.bs,
        )
        options: ImageOptions = {name: getattr(settings, name) for name in settings.__dataclass_fields__}  # type: ignore[assignment]
        bunch = type(self).from_samples(samples, self.path, names=self._names, **options)
        bunch.skipped = self.skipped
        return bunch


def as_image_bunch(dls: DataBunch) -> ImageDataBunch | None:
    """The bunch if it holds images, which have a `preprocess`; None for other data."""
    return cast(ImageDataBunch, dls) if dls.preprocess is not None else None
