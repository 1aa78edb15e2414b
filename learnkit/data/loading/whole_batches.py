"""Datasets that return whole batches, seeded by the coordinates of each batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from learnkit.data.augment.pipeline import Augmentation, Plan
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.loading.sampler import Draw
from learnkit.errors import DataError, LearnkitError
from learnkit.seeds import Stream, derive, preserve_all_rng, seed_all

__all__ = ["Collate", "Failure", "SeededItems", "WholeBatches", "identity_collate"]


@dataclass(frozen=True)
class Failure:
    """Replaces a batch that cannot be read: the error, to be raised in the main process with all of its parts."""

    error: LearnkitError


class WholeBatches(Dataset[Any]):
    """An image dataset that returns a batch at a time, with the plan of its augmentation.

    Args:
        dataset: the images.
        augmentation: what will be done to the batch.
    """

    def __init__(self, dataset: ImageDataset, augmentation: Augmentation) -> None:
        self.dataset = dataset
        self.augmentation = augmentation

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getitems__(self, draw: Draw) -> tuple[Plan, tuple[Tensor, ...]] | Failure:
        try:
            batch = self.dataset.batch(draw.numbers, draw.seed if draw.is_training else None, draw.epoch)
        except LearnkitError as error:
            return Failure(error)
        height, width = batch[0].shape[-2:]
        return self.augmentation.plan(draw.seed, draw.epoch, np.array(draw.numbers), height, width), batch


class SeededItems(Dataset[Any]):
    """Any dataset; Python's, NumPy's and torch's global generators are seeded by the coordinates of each training item.

    So an item that is augmented with any library is the same for any number of workers and after a restart, and the
    caller's generators do not change.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __getitems__(self, draw: Draw) -> Any:
        try:
            with preserve_all_rng():
                if hasattr(self.dataset, "__getitems__"):
                    seed_all(derive(draw.seed, Stream.ITEM, draw.epoch, draw.numbers[0]))
                    return self.dataset.__getitems__(draw.numbers)
                return [self._item(number, draw) for number in draw.numbers]
        except LearnkitError as error:
            return Failure(error)

    def _item(self, number: int, draw: Draw) -> Any:
        if draw.is_training:
            seed_all(derive(draw.seed, Stream.ITEM, draw.epoch, number))
        return self.dataset[number]


class Collate:
    """Makes a batch of a list of items; a failure, also to make it, is passed on."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, items: Any) -> Any:
        if isinstance(items, Failure):
            return items
        try:
            return self.collate_fn(items)
        except LearnkitError as error:
            return Failure(error)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:  # of other types or shapes
            return Failure(
                DataError(
                    f"items cannot be made a batch ({str(error).splitlines()[0]})",
                    fix="Return tensors or numbers of one shape from the dataset, or pass collate_fn=.",
                )
            )


def identity_collate(batch: Any) -> Any:
    """Replaces torch's collation for a dataset that returns whole batches."""
    return batch
