"""ImageDataBunch: images and their targets, made from a table of samples."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from torch import Tensor

from learnkit.data.build import ImageLoaders, Table, build_loaders, build_table, empty_loaders, empty_table
from learnkit.data.bunch import DataBunch
from learnkit.data.factories import ImageFactories
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.options import ImageOptions, ImageSettings, takes_options
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.folds import Folds, fold_numbers
from learnkit.data.table.summary import DataSummary, summarize
from learnkit.data.tasks import Task
from learnkit.device import resolve_device
from learnkit.errors import DataError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImageDataBunch"]


class ImageDataBunch(ImageFactories, DataBunch):
    """Images and their targets.

    The keywords that every factory takes, such as `size`, `bs`, `augment`, `valid_pct` or `on_error`, are those of
    `learnkit.data.options.ImageSettings`. All factories but `from_folder` and `from_folder_masks` take a fifth of the
    rows at random for validation when nothing else says how to split.

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

        So a table can be looked at, filtered, relabeled and used again:
        `ImageDataBunch.from_samples(dls.samples[keep])`.

        Args:
            samples: one row per item; further columns are kept.
            path: where a learner writes its files; `test` is relative to it.
            names: of the numbers of a regression.
            **options: see `learnkit.data.options.ImageSettings`. Without `split` or `valid_pct`, the column split
                decides what is for training and validation; without it, a fifth at random is for validation.

        Raises:
            MissingFileError: files that are not there.
            DataError: labels or files that cannot be used; see the messages.
            UsageError: an argument that cannot work.
        """
        settings = ImageSettings(**options)
        table = build_table(samples, settings, Path(path), names)
        device = resolve_device(settings.device)
        return cls._of(table, build_loaders(table, settings, device), settings, Path(path), names)

    @classmethod
    def empty(cls, path: Path, task: Task, settings: ImageSettings) -> Self:
        """A bunch without items, which knows its task and how images are prepared."""
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

        Rows stand in the order of `get_preds` of their split.
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

    def test_dl_from(self, items: Sequence[Any]) -> ImageLoader:
        """A loader of unlabeled image files, in their order."""
        if not len(items):
            raise DataError("the test set is empty", expected="at least one file")
        dataset = ImageDataset([str(item) for item in items], None, None, self.preprocess)
        return ImageLoader(dataset, BatchOrder(len(dataset), self.batch_size or 64, shuffle=False), self.device)

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
        rows = self._samples[self._samples["split"] != "test"]
        stratify = stratify and not isinstance(self.task, Segmentation)
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
