"""From datasets of a user to loaders: each is checked before anything is trained."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate

from learnkit.checks import check_int
from learnkit.data.loading.batch_parts import Keys
from learnkit.data.loading.batch_size import AUTO, BatchSize, check_batch_size
from learnkit.data.loading.dict_batches import Picking
from learnkit.data.loading.loaders import DatasetLoader
from learnkit.data.loading.peek import first_part
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.loading.stream_loader import StreamLoader
from learnkit.data.loading.targets import SET_NAMES, TargetCheck, check_dataset
from learnkit.data.tasks import Task
from learnkit.errors import DataError, UsageError, WrongTypeError, warn

__all__ = [
    "HF_FIX",
    "Loaders",
    "check_inputs",
    "check_loader",
    "check_set",
    "check_yields_batches",
    "dataset_loaders",
    "is_hf",
]

IMAGES = "ImageDataBunch.from_datasets resizes, augments and normalizes images"


HF_FIX = "ImageDataBunch.from_hf takes datasets of Hugging Face, by their columns."


class Loaders(NamedTuple):
    """The loaders of a bunch, in the order of its arguments."""

    train: Any
    valid: Any
    test: Any
    fix: Any


def dataset_loaders(
    sets: Mapping[str, Any],
    task: Task | None,
    device: torch.device,
    collate_fn: Callable[[Any], Any],
    keys: Keys | None,
    *,
    bs: BatchSize,
    seed: int,
    num_workers: int,
) -> Loaders:
    """Loaders of datasets.

    Args:
        sets: "train", "valid" and "test": map-style datasets or IterableDatasets; None for none.
        task: what the targets mean, which are checked; None if unknown.
        device: where batches go.
        collate_fn: makes a batch of a list of items.
        keys: the inputs and the target of items that are dicts; None for tuples.
        bs: items per batch, or "auto".
        seed: seed of the training order.
        num_workers: processes that read items.

    Raises:
        WrongTypeError: something that is not a dataset.
        DataError: an empty set, targets that do not fit the task, or inputs that are not numbers.
    """
    for name, dataset in sets.items():
        if dataset is not None or name == "train":
            check_set(name, dataset)
            if collate_fn is default_collate:  # a custom one may make anything of the items
                check_dataset(task, name, dataset)
    train = sets["train"]
    if collate_fn is default_collate:
        check_inputs("train", first_part(train, 0 if keys is None else keys.inputs[0]))
    finds_size = bs == AUTO
    if finds_size and any(isinstance(dataset, IterableDataset) for dataset in sets.values()):
        raise UsageError(
            "bs: the batches of an IterableDataset cannot change their size", got=bs, expected="an integer, 1 or more"
        )
    size = check_int("bs", bs, 1) if isinstance(train, IterableDataset) else check_batch_size(bs, len(train))

    def loader(name: str, *, shuffle: bool = False) -> Any:
        dataset, check = sets[name], TargetCheck(task, name)
        if dataset is None:
            return None
        collate = collate_fn if keys is None else Picking(collate_fn, partial(keys.pick, needs_target=name != "test"))
        if isinstance(dataset, IterableDataset):
            return StreamLoader(dataset, size, device, num_workers, collate_fn=collate, check=check, drop_last=shuffle)
        order = BatchOrder(len(dataset), size, shuffle=shuffle, seed=seed, finds_size=finds_size)
        return DatasetLoader(dataset, order, device, num_workers, collate_fn=collate, check=check)

    return Loaders(loader("train", shuffle=True), loader("valid"), loader("test"), loader("train"))


def check_set(name: str, dataset: Any) -> None:
    """Refuse what is not a dataset, or has no items.

    Raises:
        WrongTypeError: neither items by number and a length, nor an IterableDataset.
        DataError: no items.
    """
    if isinstance(dataset, IterableDataset):
        return
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")) or isinstance(dataset, str | Mapping):
        raise WrongTypeError(
            f"{name}: got {type(dataset).__name__}",
            expected="a dataset: with __getitem__ and __len__, or an IterableDataset",
            fix=HF_FIX if is_hf(dataset) else "Loaders of batches go to from_loaders.",
        )
    if not len(dataset):
        raise DataError(f"the {SET_NAMES.get(name, name)} set is empty", fix="Add at least one item, or leave it out.")


def is_hf(dataset: Any) -> bool:
    """Whether a dataset, or several by split, is of the package datasets."""
    is_named_so = any(kind.__module__.partition(".")[0] == "datasets" for kind in type(dataset).__mro__)
    return is_named_so and hasattr(dataset, "column_names")


def check_loader(name: str, loader: Any) -> None:
    """Refuse what does not yield batches in every epoch.

    Raises:
        UsageError: an iterator, which would be exhausted after one epoch, or something that cannot be iterated.
    """
    check_yields_batches(name, loader)
    if isinstance(loader, Iterator):
        raise UsageError(
            f"{name} is an iterator, exhausted after one epoch", got=loader, fix="Pass a list or a DataLoader."
        )
    if not isinstance(loader, Iterable):
        raise UsageError(name, got=loader, expected="something that yields batches (x, y) when iterated")


def check_yields_batches(name: str, loader: Any) -> None:
    """Refuse one batch, or its inputs, in place of a loader: to iterate it would take it apart.

    Raises:
        UsageError: a dict, a tensor or an array.
    """
    if isinstance(loader, Mapping | Tensor | np.ndarray):
        fix = "Pass [batch] for a single one."
        raise UsageError(f"{name}: got a {type(loader).__name__}", expected="a loader, which yields batches", fix=fix)


def check_inputs(name: str, x: Any) -> None:
    """Refuse images as inputs of a bunch that does not prepare images; warn about pixels.

    Args:
        name: of the set, for errors.
        x: one input, or None if unknown.

    Raises:
        DataError: a PIL image.
    """
    from PIL import Image

    if isinstance(x, Image.Image):
        raise DataError(
            f"{name}: items are PIL images", expected="tensors or arrays",
            fix=f"{IMAGES}; a DataBunch needs a transform of the dataset that makes tensors.",
        )  # fmt: skip
    if isinstance(x, Tensor) and x.dtype == torch.uint8 and x.ndim == 3 and x.shape[0] in (1, 3):
        warn(f"{name}: inputs are uint8 of shape {tuple(x.shape)}, which the model gets as they are; {IMAGES}")
