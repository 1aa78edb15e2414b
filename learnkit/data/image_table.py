"""Images in a table of samples: the bunch that every factory of images ends in, and others made of its table."""

import math
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
from torch import Tensor

from learnkit.arguments import checks_keywords
from learnkit.checks import check_int
from learnkit.data.build import ImageLoaders, Table, build_loaders, build_table, empty_loaders, empty_table
from learnkit.data.bunch import DataBunch
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.draw import draw_items
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.loading.batch_size import AUTO
from learnkit.data.loading.loaders import ImageLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.options import ImageOptions, ImageSettings, takes_options
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.stream.dataset import StreamDataset
from learnkit.data.table.edit import dropped, relabeled
from learnkit.data.table.folds import Folds, fold_numbers
from learnkit.data.table.held_images import item_sources, with_held_images
from learnkit.data.table.labels import name_change
from learnkit.data.table.summary import DataSummary, summarize
from learnkit.data.table.weights import WEIGHTS
from learnkit.data.tasks import Task
from learnkit.device import resolve_device
from learnkit.errors import UsageError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from learnkit.plots.layout import FigSize

__all__ = ["ImageTable"]


class ImageTable(DataBunch):
    """A bunch of images made of a table of samples; `ImageDataBunch` has the factories and describes the attributes."""

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
        return cls._from_table(samples, path, names, **options)

    @classmethod
    def _from_table(
        cls,
        samples: "pd.DataFrame",
        path: PathLike,
        names: Sequence[str],
        label: Callable[[str], Any] | None = None,
        linked: Set[str] | None = None,
        **options: Unpack[ImageOptions],
    ) -> Self:
        """From a table of samples, as `from_samples`; for `label` and `linked` see `build_table`."""
        settings = ImageSettings(**options)
        samples = with_held_images(samples)
        table = build_table(samples, settings, Path(path), names, label, linked)
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

        Raises:
            UsageError: the images of a stream, whose items are known only once they are read.
        """
        if self.is_stream:
            raise UsageError(
                "samples: a stream has no table of its items", fix="Make the bunch from files, and pack it again."
            )
        return self._samples

    @property
    def is_stream(self) -> bool:
        """Whether the training images are those of a stream, which has no table."""
        return isinstance(self.train_ds, StreamDataset)

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

    @checks_keywords
    def show_augmented(self, i: int = 0, n: int = 9, figsize: "FigSize" = None) -> "Figure":
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
        x = x if normalize is None else normalize.undo(x)
        return draw_items(x, y, self.task, math.ceil(n**0.5), figsize)

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
        return summarize(self.samples, self.task, self.skipped, self.preprocess)

    def folds(self, k: int = 5, *, stratify: bool = True, group: str | None = None, seed: int = 42) -> Folds[Self]:
        """k bunches in which every row of training and validation is validated once; the test set is in all of them.

        Args:
            k: number of folds.
            stratify: spread every class evenly over the folds, as far as groups allow.
            group: a column of `samples`; its groups (patients, cameras) stay together.
            seed: seed of the draw.
        """
        rows = self.samples[self.samples["split"] != "test"]
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
                `samples` and in `label_issues()`, of which `issues.assign(label=issues["suggestion"])` takes the
                suggestions.
            label_delim: what separates several labels in a cell.

        Raises:
            DataError: a file that is not in `samples`, a missing label, or one that is not a class.
        """
        change = name_change(self.settings.normalize_labels)
        return self._again(relabeled(self.samples, table, self.path, self.task, label_delim, change))

    def drop(self, rows: Any) -> Self:
        """A bunch like this one without some rows.

        Args:
            rows: files, such as `issues["path"]`; or numbers of rows of `samples`; or True or False for each of them.

        Raises:
            DataError: a file that is not in `samples`.
            UsageError: a number out of range.
        """
        return self._again(dropped(self.samples, rows, self.path))

    def _again(self, samples: "pd.DataFrame") -> Self:
        """A bunch of a modified table, otherwise like this one."""
        sampler = self.settings.sampler if isinstance(self.settings.sampler, str | None) else WEIGHTS
        bs = AUTO if self.batch_size_is == "due" else self.batch_size or self.settings.bs
        settings = replace(
            self.settings, valid_pct=None, split=None, test=None, task=self.task, classes=None,
            normalize_labels=False, sampler=sampler, on_error="raise", bs=bs,
        )  # fmt: skip
        options: ImageOptions = {name: getattr(settings, name) for name in settings.__dataclass_fields__}  # type: ignore[assignment]
        bunch = type(self).from_samples(samples, self.path, names=self._names, **options)
        bunch.skipped = self.skipped
        bunch.settings = replace(settings, normalize_labels=self.settings.normalize_labels)
        return bunch
