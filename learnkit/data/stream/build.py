"""From streams and settings to the loaders of an ImageDataBunch."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from learnkit.checks import plain
from learnkit.data.augment.presets import resolve_augment
from learnkit.data.build import ImageLoaders, Table, empty_table
from learnkit.data.classes import Classes, check_same_classes
from learnkit.data.image.sources import HeldImage
from learnkit.data.loading.batch_size import AUTO, check_batch_size
from learnkit.data.loading.loaders import ImageLoader, default_workers
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.options import ImageSettings
from learnkit.data.places import check_places
from learnkit.data.statistics import MAX_MEASURED, normalize_by
from learnkit.data.stream.dataset import PACKED, Parts, StreamDataset
from learnkit.data.stream.items import Key, StreamItems
from learnkit.data.stream.order import ChunkOrder
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, UsageError

__all__ = ["check_settings", "stream_loaders", "stream_parts", "stream_table"]

# What needs the table of samples that a stream does not have, and what to do instead.
NEEDS_TABLE = {
    "valid_pct": "Split when packing, or with litdata.train_test_split.",
    "split": "Split when packing, or with litdata.train_test_split.",
    "sampler": "Repeat rare items when packing, or weigh the loss: class_weights=[...].",
    "cache": "litdata keeps a copy of a remote stream on this disk.",
    "on_error": "learnkit.pack(..., on_error='skip') leaves out what cannot be read.",
    "allow_leak": "Leaks are looked for when packing.",
    "suffixes": "They choose files when packing.",
    "normalize_labels": "Pack with it.",
    "reader": "It reads files, and a stream holds their bytes. Pack what it returns as PNG.",
}
N_RUNS = 10  # places of a stream that are measured
MAX_LOOKED_AT = 100  # items whose labels are compared with the sizes of images


def check_settings(settings: ImageSettings) -> None:
    """Refuse what a stream cannot do.

    Raises:
        UsageError: with what to do instead.
    """
    defaults = {field.name: field.default for field in fields(ImageSettings)}
    for name, fix in NEEDS_TABLE.items():
        if (got := getattr(settings, name)) != defaults[name]:
            raise UsageError(
                f"{name}: a stream has no table of its items", got=got, expected=repr(defaults[name]), fix=fix
            )


def stream_parts(streams: Mapping[str, StreamItems], image: Key | None, label: Key | None) -> dict[str, Parts]:
    """Which part of the items of each stream is what: as `pack` wrote them, or as named.

    Args:
        streams: those of each split.
        image: None for that of a packed stream, or else "image".
        label: None for that of a packed stream, or else "label", which the items of a test set may lack.

    Raises:
        UsageError: names for packed streams, which have none.
        DataError: an item without the part.
    """
    found = {}
    for split, items in streams.items():
        if items.index is not None:
            if image is not None or label is not None:
                got = {"image": image, "label": label}
                raise UsageError("image=, label=", got=got, expected="None: this stream is packed, its parts are known")
            found[split] = PACKED if items.index.is_labeled else PACKED._replace(label=None)
            continue
        parts = Parts("image" if image is None else image, "label" if label is None else label)
        first = items[0]
        items.part(first, parts.image)
        try:
            items.part(first, parts.label or "")
        except DataError:
            if split != "test" or label is not None:
                raise
            parts = parts._replace(label=None)
        found[split] = parts
    return found


def stream_table(streams: Mapping[str, StreamItems], parts: Mapping[str, Parts], settings: ImageSettings) -> Table:
    """What is known of the items before they are read: the task, and how they are decoded; no rows.

    Raises:
        UsageError: a task that is not known, or other classes than those of a packed stream.
        DataError: splits that were packed for different tasks.
    """
    indices = {split: items.index for split, items in streams.items() if items.index is not None}
    packed = next(iter(indices.values()), None)
    for split, index in indices.items():
        if packed is not None and index.task != packed.task:
            raise DataError(
                f"the {split} stream was packed for {index.task}, the {packed.split} stream for {packed.task}"
            )
    if packed is not None:
        task = _checked_task(packed.task, settings)
    else:
        train = streams["train"]
        task = _named_task(settings, train.part(train[0], parts["train"].label or ""))
    return empty_table(task, replace(settings, normalize=None))


def _checked_task(packed: Task, settings: ImageSettings) -> Task:
    """The task of a packed stream, or the one passed if it is alike."""
    if settings.classes is not None:
        check_same_classes(packed.classes, settings.classes, "the packed stream", "classes=", "Leave classes= out.")
    task = settings.task
    if task is None:
        return packed
    if isinstance(task, str):
        if task != type(packed).__name__.lower():
            raise UsageError("task", got=task, expected=f"that of the packed stream, {type(packed).__name__}")
        return packed
    if type(task) is not type(packed) or task.n_out != packed.n_out:
        raise UsageError("task", got=task, expected=f"that of the packed stream, {packed}")
    check_same_classes(packed.classes, task.classes, "the packed stream", "task=", "Leave task= out.")
    return task


def _named_task(settings: ImageSettings, label: Any) -> Task:
    """The task of a stream that says nothing about its labels."""
    task, classes = settings.task, settings.classes
    if task == "regression":
        n = int(np.size(plain(label)))
        return Regression() if n == 1 else Regression(tuple(f"value {i}" for i in range(n)))
    if task is not None and not isinstance(task, str):
        if classes is not None:
            check_same_classes(task.classes, classes, "task=", "classes=", "Pass them once.")
        return task
    if classes is None:
        raise UsageError(
            "classes", got=None, expected="their names: a stream is not read to find them",
            fix="Pass classes=, in the order of the indices, or task=. A stream of learnkit.pack knows its classes.",
        )  # fmt: skip
    return MultiLabel(Classes(classes)) if task == "multilabel" else Classification(Classes(classes))


def stream_loaders(
    table: Table,
    streams: Mapping[str, StreamItems],
    parts: Mapping[str, Parts],
    settings: ImageSettings,
    device: torch.device,
) -> ImageLoaders:
    """Loaders of the splits. Training batches are drawn chunk by chunk; the others are in the order of the stream.

    Raises:
        UsageError: an argument that cannot work.
        ImageError: an image that cannot be read, of those that are measured.
    """
    train = streams["train"]
    bs = check_batch_size(settings.bs, len(train))
    workers = default_workers(len(train), device) if settings.num_workers is None else settings.num_workers
    item_stage, augmentation = resolve_augment(
        settings.augment, table.preprocess.resize.size, table.preprocess.channels, table.task
    )
    bare = StreamDataset(train, parts["train"], table.task, table.preprocess)
    _check_labels(bare, settings.augment)
    measured = _spread_images(bare) if settings.normalize == "data" else []
    preprocess = replace(table.preprocess, normalize=normalize_by(settings.normalize, measured, table.preprocess))

    def dataset(split: str, stage: Any = ()) -> StreamDataset:
        return StreamDataset(streams[split], parts[split], table.task, preprocess, item_stage=stage)

    def ordered(split: str, images: StreamDataset) -> ImageLoader:
        return ImageLoader(images, BatchOrder(len(images), bs, shuffle=False), device, num_workers=workers)

    images = dataset("train", item_stage)
    chunks, finds_size = ChunkOrder(train.sizes), settings.bs == AUTO
    drawn = BatchOrder(len(train), bs, shuffle=True, seed=settings.seed, sampling=chunks, finds_size=finds_size)
    return ImageLoaders(
        ImageLoader(images, drawn, device, augmentation=augmentation, num_workers=workers),
        ordered("valid", dataset("valid")) if "valid" in streams else None,
        ordered("test", dataset("test")) if "test" in streams else None,
        ordered("train", images),
    )


def _check_labels(images: StreamDataset, augment: Any) -> None:
    """Refuse labels that the task cannot take, and places in the image that would not move with it, by the first items.

    Raises:
        DataError, UsageError: see above.
    """
    if images.labels is None:
        raise DataError(
            "the items of the training stream have no labels", fix="Pass label=, the part that is the label."
        )
    n = min(len(images), MAX_LOOKED_AT)
    if images.targets is not None:
        images.targets[0]
    if isinstance(images.task, Regression):
        check_places(images.task, [images.inputs[0]], [images.labels[i] for i in range(n)], images.preprocess, augment)


def _spread_images(images: StreamDataset) -> list[HeldImage]:
    """Up to 1,000 images, those of ten places of the stream: evenly spaced ones would touch every chunk."""
    length = min(len(images), MAX_MEASURED) // N_RUNS
    if len(images) <= MAX_MEASURED or not length:
        return list(images.inputs)  # type: ignore[arg-type]
    starts = np.linspace(0, len(images) - length, N_RUNS).astype(int).tolist()
    return [images.inputs[i] for start in starts for i in range(start, start + length)]  # type: ignore[misc]
