"""ImageDataBunch: images and their targets, from anything on disk, through one table of samples."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import numpy as np
from torch import Tensor

from learnkit.checks import check_int
from learnkit.data.build import ImageLoaders, Table, build_loaders, build_table, empty_loaders, empty_table
from learnkit.data.bunch import DataBunch
from learnkit.data.classes import Classes
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.draw import draw_items
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.options import BasicOptions, FolderOptions, ImageOptions, ImageSettings, takes_options
from learnkit.data.points import Points
from learnkit.data.segmentation import MaskReader, Segmentation
from learnkit.data.table.columns import column_of
from learnkit.data.table.edit import dropped, relabeled
from learnkit.data.table.folders import folder_samples, mask_samples
from learnkit.data.table.folds import Folds, fold_numbers
from learnkit.data.table.from_csv import frame_samples, read_table
from learnkit.data.table.from_datasets import image_samples
from learnkit.data.table.from_lists import list_samples, named_samples, pattern_label
from learnkit.data.table.held_images import WithImages, item_sources, with_held_images
from learnkit.data.table.label_columns import FALSE_VALUES, TRUE_VALUES, Column, column_list
from learnkit.data.table.labels import name_change, task_kind
from learnkit.data.table.splits import ColumnSplit
from learnkit.data.table.summary import DataSummary, summarize
from learnkit.data.table.weights import WEIGHTS
from learnkit.data.tasks import Classification, Task
from learnkit.device import resolve_device
from learnkit.errors import UsageError, WrongTypeError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

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
        samples = folder_samples(
            path, train, valid, test, by_folder=by_folder, suffixes=settings.suffixes, classes=settings.classes or ()
        )
        if by_folder and valid is None:
            options["valid_pct"] = 0
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
            delimiter: what separates the columns; None for a comma (a tab in .tsv).
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
        table = WithImages(df, column_of(df, fn_col).name)
        samples = frame_samples(
            path, table.named, folder, fn_col, label_col, label_delim, suffix, kind=task_kind(options.get("task")),
            true_values=true_values, false_values=false_values, allow_outside=allow_outside,
        )  # fmt: skip
        samples = table.restored(samples)
        if options.get("split") is None and valid_col is None:
            samples = samples.drop(columns="split", errors="ignore")  # a column of that name that was not requested
        labels = [] if isinstance(label_col, str | int) else column_list(label_col)
        names = [str(column_of(df, column).name) for column in labels]
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
        """Files labeled by a function of their whole POSIX path; `fnames` None for all images below `path` but those in
        a folder test.

        The function is called here, once per file, so it need not be picklable.
        """
        samples = named_samples(path, fnames, func, options.get("test"), options.get("suffixes"))
        return cls.from_samples(samples, path, **options)

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
            MissingFileError: no such folder, or images without a mask.
            DataError: a mask whose size is not that of its image, or with pixel values without a class.
        """
        task: Task | str | None = options.get("task")
        if masks is None or not callable(masks):
            raise UsageError("masks", got=masks, expected="a function: path of an image -> path of its mask")
        given = [codes, ignore_index, binary or None, threshold, border, mask_reader]
        if task is not None and (not isinstance(task, Segmentation) or any(one is not None for one in given)):
            raise UsageError("task", got=task, expected="a Segmentation, and no codes= beside it, or None")
        if task is None and codes is None:
            raise UsageError("codes", got=codes, expected="names of the classes, or {pixel value: name}")
        if task is None and codes is not None:
            task = Segmentation(
                codes, ignore_index, binary=binary, threshold=threshold, border=border, mask_reader=mask_reader
            )
        settings = ImageSettings(**options)
        by_folder = settings.splitter is None
        test = None if settings.test is None else str(settings.test)
        samples = mask_samples(
            path, images, masks, valid, by_folder=by_folder, test=test, suffixes=settings.suffixes
        )  # fmt: skip
        if by_folder and valid is None:
            options["valid_pct"] = 0
        options["task"] = task
        return cls.from_samples(samples, path, **options)

    @classmethod
    @takes_options
    def single_from_classes(cls, path: PathLike, classes: Sequence[str], **options: Unpack[BasicOptions]) -> Self:
        """A bunch without items, for predictions of a model that was trained elsewhere: `predict` and `test_dl_from`.

        normalize="data" cannot be measured here; give (mean, std).
        """
        task = Classification(Classes(classes))
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
        `ImageDataBunch.from_samples(dls.samples[keep])`. A table from `samples` remembers its task and its classes (in
        `samples.attrs`), so these are the same and in the same order, unless `task` or `classes` say otherwise.

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
        """One row per image: input (absolute path), target, split, and the columns of the table it came from.

        Targets are the names of classes, lists of them, or numbers; the rows of a split are in the order of its
        `get_preds`. `attrs` holds the task and its classes.
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

    def show_augmented(self, i: int = 0, n: int = 9, figsize: tuple[float, float] | None = None) -> "Figure":
        """Training image i as the first n epochs change it, with its target.

        Args:
            i: the item, in the order of `samples`.
            n: number of epochs.
            figsize: width and height in inches.

        Raises:
            UsageError: i or n out of range, or a bunch that does not augment.
        """
        x, y = self.train_dl.augmented(i, check_int("n", n, 1))
        normalize = self.preprocess.normalize
        assert self.task is not None
        figure = draw_items(x if normalize is None else normalize.undo(x), y, self.task, columns=math.ceil(n**0.5))
        if figsize is not None:
            figure.set_size_inches(*figsize)
        return figure

    def task_of(self, item: Any) -> Task | None:
        return self.task.of(self.preprocess.view(item)) if isinstance(self.task, Points) else self.task

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
            stratify: spread every class evenly over the folds, as far as groups allow.
            group: a column of `samples`; its groups (patients, cameras) stay together.
            seed: seed of the draw.
        """
        rows = self._samples[self._samples["split"] != "test"]
        stratify = stratify and not isinstance(self.task, Segmentation | Points)
        numbers = fold_numbers(rows, k, stratify=stratify, group=group, seed=seed)

        def split_at(number: int) -> "pd.DataFrame":
            samples = self._samples.copy()
            samples.loc[rows.index, "split"] = np.where(numbers == number, "valid", "train")
            return samples

        return Folds(rows, numbers, lambda number: self._again(split_at(number)))

    def relabel(self, table: "PathLike | pd.DataFrame", *, label_delim: str | None = None) -> Self:
        """A bunch like this one in which some files have other labels, of the same classes.

        Args:
            table: a DataFrame or a CSV file: files in a column input or path, their labels in target or label, as in
                `samples` and in `label_issues()`.
            label_delim: what separates several labels in a cell.

        Raises:
            DataError: a file that is not in `samples`, a missing label, or one that is no class.
        """
        change = name_change(self.settings.normalize_labels)
        return self._again(relabeled(self._samples, table, self.path, self.task, label_delim, change))

    def drop(self, rows: Any) -> Self:
        """A bunch like this one without some rows.

        Args:
            rows: files, such as `issues["path"]`; or numbers of rows of `samples`; or True or False for each of them.

        Raises:
            DataError: a file that is not in `samples`.
            UsageError: a number out of range.
        """
        return self._again(dropped(self._samples, rows, self.path))

    def _again(self, samples: "pd.DataFrame") -> Self:
        """A bunch of a modified table, otherwise like this one."""
        sampler = self.settings.sampler if isinstance(self.settings.sampler, str | None) else WEIGHTS
        has_valid = self.valid_dl is not None or "valid" in set(samples["split"])
        settings = replace(
            self.settings, valid_pct=None if has_valid else 0, split=None, test=None, task=self.task, classes=None,
            normalize_labels=False, sampler=sampler, on_error="raise", bs=self.batch_size or self.settings.bs,
        )  # fmt: skip
        options: ImageOptions = {name: getattr(settings, name) for name in settings.__dataclass_fields__}  # type: ignore[assignment]
        bunch = type(self).from_samples(samples, self.path, names=self._names, **options)
        bunch.skipped = self.skipped
        bunch.settings = replace(settings, normalize_labels=self.settings.normalize_labels)
        return bunch


def as_image_bunch(dls: DataBunch) -> ImageDataBunch | None:
    """The bunch if it holds images, which have a `preprocess`; None for other data."""
    return cast(ImageDataBunch, dls) if dls.preprocess is not None else None
