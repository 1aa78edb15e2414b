"""From a table of samples to batches of images, and what can be asked of them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from torch import Tensor

from learnkit.checks import check_int, check_kind
from learnkit.data.augment.pipeline import stages
from learnkit.data.bunch import DataBunch
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.draw import draw_items, drawable
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.loading.loaders import ImageLoader, check_batch_size, default_workers
from learnkit.data.loading.peek import checked_item
from learnkit.data.loading.sampler import BatchOrder, make_sampling
from learnkit.data.options import ImageOptions, ImageSettings, takes_options
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.folders import held_out_samples
from learnkit.data.table.folds import Folds
from learnkit.data.table.inspect import check_masks, common_size, unreadable
from learnkit.data.table.labels import label_samples
from learnkit.data.table.samples import check_files, existing_folder, in_order, split_samples
from learnkit.data.table.splits import ColumnSplit, RandomSplit, fold_numbers
from learnkit.data.table.summary import DataSummary, summarize
from learnkit.data.tasks import Task
from learnkit.device import resolve_device
from learnkit.errors import DataError, UsageError, WrongTypeError
from learnkit.types import DatasetType, PathLike

if TYPE_CHECKING:
    import pandas as pd

    from learnkit.plots.figure import Figure

__all__ = ["ImageData"]

DEFAULT_SHARE = 0.2  # for validation, where nothing says how to split


class ImageData(DataBunch):
    """Images and their targets, made from a table of samples.

    Attributes:
        skipped: the rows left out with on_error="skip", and why (column `error`).
        settings: the keywords the bunch was made with.
    """

    _samples: "pd.DataFrame"
    skipped: "pd.DataFrame"
    settings: ImageSettings
    _names: Sequence[str]

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
        """The way every factory goes: from a table with the columns input (paths) and target, and maybe split.

        So a table can be looked at, filtered, relabelled and used again:
        `ImageDataBunch.from_samples(dls.samples[keep])`.

        Args:
            samples: one row an item; further columns are kept.
            path: where a learner writes its files; `test` is relative to it.
            names: of the numbers of a regression.
            **options: see `learnkit.data.options.ImageSettings`. Without `split` or `valid_pct`, the column split says
                what is for training and validation; without this, a fifth at random is for validation.

        Raises:
            MissingFileError: files that are not there.
            DataError: labels or files that cannot be used; see the messages.
            UsageError: an argument that cannot work.
        """
        settings = ImageSettings(**options)
        if not hasattr(samples, "columns"):
            raise WrongTypeError("samples", got=samples, expected="a DataFrame with the columns input and target")
        if missing := {"input", "target"} - set(samples.columns):
            raise DataError(f"no column {sorted(missing)[0]!r}; columns are {', '.join(map(str, samples.columns))}")
        split = settings.splitter
        if split is None:
            split = ColumnSplit("split") if "split" in samples else RandomSplit(DEFAULT_SHARE, settings.seed)
        samples = split_samples(samples, split)
        if settings.test is not None:
            check_kind("test", settings.test, str | os.PathLike, "the path of a folder")
            samples = _with_test(samples, Path(path) / settings.test)
        check_files(samples, allow_leak=settings.allow_leak, ignore_missing=settings.on_error == "skip")
        skips = settings.on_error == "skip"
        resize = Resize(
            settings.sides or common_size(samples, settings.reader, ignore_unreadable=skips),
            settings.resize,
            settings.interpolation,
        )
        bare = Preprocess(resize, None, settings.channels, settings.reader)
        skipped = samples[:0].assign(error=[])
        if settings.on_error == "skip":
            skipped = unreadable(samples, bare, settings.task)
            if len(skipped) == len(samples):
                raise DataError(f"not one of {len(samples)} files can be read: {skipped['error'].iloc[0]}")
            samples = samples.drop(skipped.index)
        if isinstance(settings.task, Segmentation):
            task: Task = settings.task
            check_masks(samples, bare, settings.task)
        else:
            samples, task = label_samples(samples, settings.task, settings.classes, names)
        bunch = cls._built(in_order(samples), task, bare, settings, Path(path))
        bunch.skipped, bunch._names = skipped.reset_index(drop=True), names
        return bunch

    @classmethod
    def _built(cls, samples: "pd.DataFrame", task: Task, bare: Preprocess, settings: ImageSettings, path: Path) -> Self:
        where = resolve_device(settings.device)
        parts = {str(name): part for name, part in samples.groupby("split")}
        for name in ("train", "valid"):
            if name not in parts:
                raise DataError(f"no row of the table is left in split {name!r}", got=sorted(parts))
        train = parts["train"]
        bs = check_batch_size(settings.bs, len(train))
        workers = default_workers(len(train), where) if settings.num_workers is None else settings.num_workers
        workers = 0 if settings.cache is not None and settings.num_workers is None else workers
        item_stage, augmentation = stages(settings.augment, bare.resize.size)
        preprocess = replace(bare, normalize=settings.normalization(train["input"].tolist(), bare))
        sampling = make_sampling(settings.sampler, train["target"].tolist(), task)
        datasets = {}
        for name, part in parts.items():
            labels = None if part["target"].isna().all() else part["target"].tolist()
            changes = item_stage if name == "train" else ()
            datasets[name] = ImageDataset(
                part["input"].tolist(), labels, task, preprocess, item_stage=changes, rows=part.index.tolist()
            )
            if settings.cache is not None:
                datasets[name].keep(settings.cache)

        def loader(split: str, order: BatchOrder) -> ImageLoader:
            change = augmentation if order.shuffle else None
            return ImageLoader(datasets[split], order, where, augmentation=change, num_workers=workers)

        def ordered(split: str) -> ImageLoader:
            return loader(split, BatchOrder(len(datasets[split]), bs, shuffle=False))

        drawn = BatchOrder(len(train), bs, shuffle=True, seed=settings.seed, sampling=sampling)
        test_dl = ordered("test") if "test" in parts else None
        bunch = cls(
            loader("train", drawn), ordered("valid"), test_dl, ordered("train"), task=task, device=where, path=path
        )
        bunch._samples, bunch.settings = samples, settings
        return bunch

    @classmethod
    def empty(cls, path: Path, task: Task, settings: ImageSettings) -> Self:
        """A bunch without items, that knows its task and how pictures are prepared."""
        import pandas as pd

        if settings.sides is None:
            raise UsageError("size", got=None, expected="pixels: there are no files to see it by")
        if settings.normalize == "data":
            raise UsageError("normalize", got="data", expected="(mean, std): there are no files to measure")
        where = resolve_device(settings.device)
        bare = Preprocess(
            Resize(settings.sides, settings.resize, settings.interpolation), None, settings.channels, settings.reader
        )
        dataset = ImageDataset([], None, task, replace(bare, normalize=settings.normalization([], bare)))

        def loader() -> ImageLoader:
            return ImageLoader(dataset, BatchOrder(0, settings.bs, shuffle=False), where)

        bunch = cls(loader(), loader(), None, loader(), task=task, device=where, path=path)
        bunch._samples = pd.DataFrame(columns=["input", "target", "split"])
        bunch.settings, bunch._names, bunch.skipped = settings, (), bunch._samples.assign(error=[])
        return bunch

    @property
    def samples(self) -> "pd.DataFrame":
        """One row an image: input (path), target, split, and the columns of the table it came from.

        Rows stand in the order of `get_preds` of their split.
        """
        return self._samples

    @property
    def preprocess(self) -> Preprocess:
        """From a file to what the model sees: one object for training, validation and prediction."""
        return self.fix_dl.preprocess  # type: ignore[no-any-return]

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

    def test_dl_from(self, items: Sequence[Any]) -> ImageLoader:
        """A loader of unlabelled image files, in their order."""
        if not len(items):
            raise DataError("the test set is empty", expected="at least one file")
        dataset = ImageDataset([str(item) for item in items], None, None, self.preprocess)
        return ImageLoader(dataset, BatchOrder(len(dataset), self.batch_size or 64, shuffle=False), self.device)

    def one_input(self, ds_type: DatasetType, i: int) -> Tensor:
        """Image i of a part as the model sees it, as a batch of one on the device.

        Raises:
            UsageError: there is no such image.
        """
        dataset = self.ordered_dl(ds_type).dataset
        pixels, *_ = dataset[checked_item(i, len(dataset))]
        return self.preprocess.batch(pixels[None].to(self.device))

    def augmented_dl(self, ds_type: DatasetType) -> ImageLoader:
        """The images of a part in their order, changed at random as in training; `seed_epoch` says by which draw.

        Raises:
            UsageError: the bunch augments nothing.
        """
        loader: ImageLoader = self.ordered_dl(ds_type)
        return loader.augmented_as(self.train_dl)

    def item_name(self, ds_type: DatasetType, i: int) -> str:
        """The path of an image."""
        return str(self.ordered_dl(ds_type).dataset.inputs[i])

    def picture(self, ds_type: DatasetType, i: int) -> "np.ndarray[Any, Any]":
        """Image i of a part as the model is shown it, before normalisation: uint8 (H, W, 3)."""
        pixels, *_ = self.ordered_dl(ds_type).dataset[i]
        return drawable(self.preprocess.scale(pixels[None]))[0]

    def show_batch(self, rows: int = 3) -> "Figure":
        """rows x rows training images as the model sees them, augmented, with their targets."""
        check_int("rows", rows, 1)
        x, y = (part[: rows * rows].cpu() for part in self.one_batch())
        normalize = self.preprocess.normalize
        assert self.task is not None
        return draw_items(x if normalize is None else normalize.undo(x), y, self.task, columns=min(rows, len(x)))

    def summary(self) -> DataSummary:
        """Counts of every class in every split, sizes of the files, imbalance, and what was left out."""
        return summarize(self._samples, self.task, self.skipped, self.preprocess)

    def folds(self, k: int = 5, *, stratify: bool = True, group: str | None = None, seed: int = 42) -> Folds[Self]:
        """k bunches in which every row of training and validation is validated once; the test set is in all of them.

        Args:
            k: number of folds.
            stratify: spread every class evenly over the folds.
            group: a column of `samples`; its groups (patients, cameras) stay together.
            seed: of the draw.
        """
        is_test = self._samples["split"] == "test"
        rows = self._samples[~is_test]
        if isinstance(self.task, Segmentation):
            stratify = False
        numbers = fold_numbers(rows, k, stratify=stratify, group=group, seed=seed)

        def split_at(number: int) -> "pd.DataFrame":
            samples = self._samples.copy()
            samples.loc[rows.index, "split"] = np.where(numbers == number, "valid", "train")
            return samples

        return Folds(rows, numbers, lambda number: self._again(split_at(number)))

    def _again(self, samples: "pd.DataFrame") -> Self:
        """A bunch of a changed table, otherwise like this one."""
        settings = replace(self.settings, valid_pct=None, split=None, test=None, task=self.task, on_error="raise")
        options: ImageOptions = {name: getattr(settings, name) for name in settings.__dataclass_fields__}  # type: ignore[assignment]
        bunch = type(self).from_samples(samples, self.path, names=self._names, **options)
        bunch.skipped = self.skipped
        return bunch


def _with_test(samples: "pd.DataFrame", folder: Path) -> "pd.DataFrame":
    import pandas as pd

    labels = {str(label) for label in samples["target"] if isinstance(label, str | int)}
    return pd.concat([samples, held_out_samples(existing_folder(folder), labels)], ignore_index=True)
