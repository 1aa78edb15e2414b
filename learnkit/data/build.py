"""From a table of samples and settings to the loaders of an ImageDataBunch."""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from learnkit.data.augment.presets import resolve_augment
from learnkit.data.classes import check_same_classes
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.device_store import DeviceStore, check_item_stage, store_on_device
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.loading.batch_size import AUTO, check_batch_size, initial_size
from learnkit.data.loading.loaders import ImageLoader, default_workers
from learnkit.data.loading.sampler import BatchOrder, make_sampling
from learnkit.data.options import ImageSettings
from learnkit.data.places import check_places, warn_if_elsewhere
from learnkit.data.points import Points, label_points
from learnkit.data.segmentation import Segmentation
from learnkit.data.statistics import normalize_by
from learnkit.data.table.check_files import check_files, check_masks, common_size, unreadable, warn_if_dark
from learnkit.data.table.held_out import held_out_samples, label_held_out, report_unlabeled
from learnkit.data.table.labels import label_samples, name_change
from learnkit.data.table.remembered import is_without_validation, remember, resolve_task
from learnkit.data.table.samples import absolute, checked_samples, in_order, split_samples
from learnkit.data.table.splits import ColumnSplit, NoValidation, RandomSplit
from learnkit.data.table.weights import sampler_of, with_weights
from learnkit.data.tasks import Regression, Task
from learnkit.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ImageLoaders", "Table", "build_loaders", "build_table", "empty_loaders", "empty_table"]

DEFAULT_SHARE = 0.2  # for validation, if no split is specified


class Table(NamedTuple):
    """A table of samples that has been checked.

    Attributes:
        samples: one row per item: input, target as the task takes it, split; rows of a split in their final order.
        task: what the targets mean.
        preprocess: from a file to pixels, not yet normalized.
        skipped: the rows left out, with a column `error`.
        has_valid: whether there is to be a validation set.
    """

    samples: "pd.DataFrame"
    task: Task
    preprocess: Preprocess
    skipped: "pd.DataFrame"
    has_valid: bool = True


class ImageLoaders(NamedTuple):
    """The loaders of a bunch, in the order of its arguments."""

    train: ImageLoader
    valid: ImageLoader | None
    test: ImageLoader | None
    fix: ImageLoader


def build_table(
    samples: "pd.DataFrame",
    settings: ImageSettings,
    path: Path,
    names: Sequence[str],
    label: Callable[[str], Any] | None = None,
    linked: Set[str] | None = None,
) -> Table:
    """Split a table, check its files and labels, and sort it.

    Args:
        samples: columns input (paths) and target, and maybe split.
        settings: how to do it.
        path: `test` is relative to it.
        names: names of the regression targets.
        label: the function that labels files by their path, for the test folder.
        linked: if the files of the table have just been listed, those that are links or are reached through one; None
            to ask for each file.

    Raises:
        MissingFileError: files that are not there.
        DataError: labels or files that cannot be used.
        UsageError: an argument that cannot work.
    """
    change = name_change(settings.normalize_labels)
    task = resolve_task(samples, settings.task, settings.classes, change)
    samples = checked_samples(samples, are_masks=isinstance(task, Segmentation))
    asked = None if linked is None else set(map(absolute, linked))
    _check_classes(settings.classes, task)
    split = settings.splitter
    if split is None:
        split = ColumnSplit("split") if "split" in samples else RandomSplit(DEFAULT_SHARE, settings.seed)
        split = NoValidation() if is_without_validation(samples) else split
    samples = with_weights(split_samples(samples, split), settings.sampler)
    if settings.test is not None:
        samples = _with_test(samples, path / settings.test, settings.suffixes)
    skips = settings.on_error == "skip"
    check_files(samples, asked, allow_leak=settings.allow_leak, ignore_missing=skips)
    sides = settings.sides or common_size(samples, settings.reader, ignore_unreadable=skips)
    bare = _preprocess(settings, sides)
    skipped = samples[:0].assign(error=[])
    if skips:
        skipped = unreadable(samples, bare, task)
        if len(skipped) == len(samples):
            raise DataError(f"none of the {len(samples)} files can be read: {skipped['error'].iloc[0]}")
        samples = samples.drop(skipped.index)
    warn_if_dark(samples, bare)
    if isinstance(task, Segmentation):
        check_masks(samples, bare, task)
        meaning: Task = task
    elif isinstance(task, Points):
        samples, meaning = label_points(samples, task), replace(task, size=bare.resize.size)
        warn_if_elsewhere(samples[samples["split"] == "train"], bare)
    else:
        samples, meaning = label_samples(samples, task, settings.classes, names, change)
        if settings.test is not None:
            samples = label_held_out(samples, path / settings.test, meaning, change, label)
    report_unlabeled(samples)
    has_valid = not isinstance(split, NoValidation)
    samples = remember(in_order(samples), meaning, has_valid=has_valid)
    return Table(samples, meaning, bare, skipped.reset_index(drop=True), has_valid)


def _check_classes(classes: Sequence[str] | None, task: Task | str | None) -> None:
    """Refuse `classes=` beside a task that has its own, or none.

    Raises:
        UsageError: naming the task.
    """
    if classes is None:
        return
    if isinstance(task, Segmentation):
        check_same_classes(task.classes, classes, "task=", "classes=", "Pass those of the masks as codes only.")
    elif task == "regression" or isinstance(task, Regression | Points):
        what = "a regression" if task == "regression" else type(task).__name__
        raise UsageError("classes", got=list(classes), expected=f"None: {what} has no classes")


def build_loaders(table: Table, settings: ImageSettings, device: torch.device) -> ImageLoaders:
    """Loaders of the splits of a table.

    Raises:
        DataError: no training or validation rows.
        UsageError: an argument that cannot work.
        ImageError: an image that cannot be read, if all are read (for a cache, or to measure them).
    """
    parts = {str(name): part for name, part in table.samples.groupby("split")}
    for name in ("train", "valid") if table.has_valid else ("train",):
        if name not in parts:
            raise DataError(f"no row of the table is left in split {name!r}", got=sorted(parts))
    train = parts["train"]
    bs = check_batch_size(settings.bs, len(train))
    workers = default_workers(len(train), device) if settings.num_workers is None else settings.num_workers
    workers = 0 if settings.cache is not None and settings.num_workers is None else workers
    size, channels = table.preprocess.resize.size, table.preprocess.channels
    check_places(table.task, train["input"].tolist(), train["target"].tolist(), table.preprocess, settings.augment)
    item_stage, augmentation = resolve_augment(settings.augment, size, channels, table.task)
    normalize = normalize_by(settings.normalize, train["input"].tolist(), table.preprocess)
    preprocess = replace(table.preprocess, normalize=normalize)
    sampling = make_sampling(sampler_of(train, settings.sampler), train["target"].tolist(), table.task)
    datasets = {}
    for name, part in parts.items():
        labels = None if part["target"].isna().any() else part["target"].tolist()  # of a test set
        changes = item_stage if name == "train" else ()
        datasets[name] = ImageDataset(
            part["input"].tolist(), labels, table.task, preprocess, item_stage=changes, rows=part.index.to_numpy()
        )
    stores: dict[str, DeviceStore] = {}
    if settings.cache == "device":
        check_item_stage(item_stage)
        stores = {name: store_on_device(dataset, device) for name, dataset in datasets.items()}
    elif settings.cache is not None:
        for dataset in datasets.values():
            dataset.keep(settings.cache, datasets.values())

    def loader(split: str, order: BatchOrder) -> ImageLoader:
        change, store = augmentation if order.shuffle else None, stores.get(split)
        return ImageLoader(datasets[split], order, device, augmentation=change, num_workers=workers, store=store)

    def ordered(split: str) -> ImageLoader:
        return loader(split, BatchOrder(len(datasets[split]), bs, shuffle=False))

    drawn = BatchOrder(
        len(train), bs, shuffle=True, seed=settings.seed, sampling=sampling, finds_size=settings.bs == AUTO
    )
    valid, test = (ordered(name) if name in parts else None for name in ("valid", "test"))
    return ImageLoaders(loader("train", drawn), valid, test, ordered("train"))


def empty_table(task: Task, settings: ImageSettings) -> Table:
    """The table of a bunch without items.

    Raises:
        UsageError: settings that need files.
    """
    import pandas as pd

    if settings.sides is None:
        raise UsageError("size", got=None, expected="pixels: there are no files to measure")
    if settings.normalize == "data":
        raise UsageError("normalize", got="data", expected="(mean, std): there are no files to measure")
    task = replace(task, size=settings.sides) if isinstance(task, Points) else task
    samples = pd.DataFrame(columns=["input", "target", "split"])
    return Table(samples, task, _preprocess(settings, settings.sides), samples.assign(error=[]))


def empty_loaders(table: Table, settings: ImageSettings, device: torch.device) -> ImageLoaders:
    """Loaders without items that still prepare images."""
    preprocess = replace(table.preprocess, normalize=normalize_by(settings.normalize, [], table.preprocess))
    dataset = ImageDataset([], None, table.task, preprocess)

    def loader() -> ImageLoader:
        return ImageLoader(dataset, BatchOrder(0, initial_size(settings.bs), shuffle=False), device)

    return ImageLoaders(loader(), loader(), None, loader())


def _preprocess(settings: ImageSettings, sides: tuple[int, int]) -> Preprocess:
    resize = Resize(sides, settings.resize, settings.interpolation)
    return Preprocess(resize, None, settings.channels, settings.reader, settings.depth, settings.full_decode)


def _with_test(samples: "pd.DataFrame", folder: Path, suffixes: Sequence[str] | None) -> "pd.DataFrame":
    """The table with the rows of a test folder, and what it remembers."""
    import pandas as pd

    whole = pd.concat([samples, held_out_samples(folder, suffixes)], ignore_index=True)
    whole.attrs = samples.attrs
    return whole
