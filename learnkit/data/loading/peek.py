"""Inspecting data without training on it: its items in order, its first item, one item."""

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from learnkit.data.loading.batch_parts import Keys, parts_of
from learnkit.data.loading.dict_batches import KeyedLoader, Picking
from learnkit.data.loading.items import checked_item
from learnkit.data.loading.loaders import DatasetLoader, ImageLoader, OrderedLoader, TensorLoader
from learnkit.data.loading.tensors import ItemForm
from learnkit.errors import DataError, UsageError
from learnkit.losses.outputs import names_of
from learnkit.seeds import preserve_all_rng
from learnkit.tree import cut, items_of_batch

__all__ = [
    "first_input",
    "first_part",
    "first_target",
    "in_order",
    "input_of",
    "inputs_of_items",
    "name_of",
    "size_of",
]


def in_order(loader: Any) -> Any:
    """The items of a loader in their order, each once, with the last batch that `drop_last` leaves out.

    Items are those of the dataset, or for a SubsetRandomSampler those of its indices, in their order. A loader that is
    not torch's, or whose sampler is not, is taken to be in order.
    """
    if isinstance(loader, KeyedLoader):
        return loader.of(in_order(loader.loader))
    if not isinstance(loader, DataLoader):
        return loader
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler:
        return loader
    sampler = batches.sampler
    if isinstance(loader.dataset, IterableDataset):
        if not batches.drop_last:
            return loader
        items = None
    elif isinstance(sampler, RandomSampler | WeightedRandomSampler):
        items = None
    elif isinstance(sampler, SubsetRandomSampler):
        items = list(sampler.indices)
    elif isinstance(sampler, SequentialSampler) and batches.drop_last:
        items = None
    else:
        return loader
    return DataLoader(
        loader.dataset,
        batches.batch_size,
        sampler=items,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
    )


def input_of(loader: Any, i: int) -> Any:
    """Input i of a loader in order, as a batch of one; a loader that only yields batches is iterated up to it.

    Raises:
        UsageError: i is out of range.
    """
    if isinstance(loader, TensorLoader):
        number = checked_item(i, loader.n_items)
        return loader.tensors[0][number : number + 1].clone()  # a model may write into its input
    if isinstance(loader, ImageLoader):
        pixels, *_ = loader.dataset[checked_item(i, loader.n_items)]
        return loader.preprocess.batch(pixels[None].to(loader.device))
    if isinstance(loader, DatasetLoader):
        return _input(loader.collate_fn([loader.dataset[checked_item(i, loader.n_items)]]))
    is_plain = isinstance(loader, DataLoader) and loader.batch_size is not None  # without a batch sampler
    if is_plain and isinstance(loader.sampler, SequentialSampler):
        return _input(loader.collate_fn([loader.dataset[checked_item(i, len(loader.sampler))]]))
    seen = 0
    for batch in loader:
        n = items_of_batch(batch)
        if isinstance(i, int) and seen <= i < seen + n:
            return cut(_input(batch), i - seen, i - seen + 1, n)
        seen += n
    raise UsageError("i", got=i, expected=f"an item index from 0 to {seen - 1}")


def name_of(loader: Any, i: int) -> str:
    """The name of item i of a loader in order: the path of an image, the index of any other item."""
    return loader.dataset.names[i] if isinstance(loader, ImageLoader) else str(i)


def size_of(loader: Any) -> str:
    """How many items and batches a loader has, as far as that is known, as text."""
    dataset, size = getattr(loader, "dataset", None), getattr(loader, "batch_size", None)
    items = f"{len(dataset):,} items" if isinstance(dataset, Sized) else type(loader).__name__
    return items if size is None else f"{items} in batches of {size}"


def _input(batch: Any) -> Any:
    return parts_of(batch)[0]


def first_input(loader: Any) -> Tensor | None:
    """The first training input of a model that takes one tensor, if no batch has to be drawn to get it; else None."""
    inputs = _first_item(loader)[0]
    return inputs[0] if len(inputs) == 1 and isinstance(inputs[0], Tensor) else None


def first_target(loader: Any) -> Any:
    """The first training target, a tensor or a number, likewise."""
    return _first_item(loader)[1]


def inputs_of_items(loader: Any, keys: Keys | None) -> tuple[str, ItemForm | None]:
    """What an item gives the model, if no batch has to be drawn to know; one item is read.

    Args:
        loader: for training.
        keys: those that pick inputs from batches with names; None for other batches.

    Returns:
        That in words if it is not one tensor, such as "2 inputs" or "a dict of a, b", else ""; and what one input looks
        like, None if unknown. Only in memory all have one shape.
    """
    parts = _first_parts(loader)
    inputs = parts[:-1] or parts
    if isinstance(loader, TensorLoader):
        form: ItemForm | None = loader.item_form
    else:
        first = _first_row(inputs[0]) if len(inputs) == 1 else None
        form = ItemForm(None, first.dtype) if isinstance(first, Tensor) else None
    return _several(inputs, keys), form


def _several(inputs: tuple[Any, ...], keys: Keys | None) -> str:
    """These inputs, or those of the keys, in words, unless they are one tensor."""
    if keys is not None:
        return f"{len(keys.of_items)} inputs ({', '.join(keys.of_items)})" if len(keys.of_items) > 1 else ""
    if len(inputs) > 1:
        return f"{len(inputs)} inputs"
    return names_of(inputs[0]) if inputs and isinstance(inputs[0], tuple | list | Mapping) else ""


def _first_item(loader: Any) -> tuple[tuple[Any, ...], Any]:
    """The inputs and the target of the first item, without the axis of a batch; None for what is not known."""
    rows = tuple(_first_row(part) for part in _first_parts(loader))
    return (rows[:-1], rows[-1]) if len(rows) > 1 else (rows, None)


def _first_parts(loader: Any) -> tuple[Any, ...]:
    """The parts of a batch that begins with the first item; none if one would have to be drawn."""
    batch = loader.tensors if isinstance(loader, TensorLoader) else _first_batch(loader)
    try:
        return () if batch is None else parts_of(batch)
    except DataError:  # of named entries: the first batch will show
        return ()


def _first_batch(loader: Any) -> Any:
    """A batch that begins with the first item, if none has to be drawn; else None."""
    if isinstance(loader, KeyedLoader):
        batch = _first_batch(loader.loader)
        return None if batch is None else loader.pick(batch)
    if isinstance(loader, list | tuple):  # of batches
        return loader[0] if len(loader) else None
    collate = getattr(loader, "collate_fn", default_collate)
    collates_plainly = (collate.collate if isinstance(collate, Picking) else collate) is default_collate
    if not isinstance(loader, DataLoader | OrderedLoader) or not collates_plainly:
        return None
    item = _first_of(loader.dataset)
    try:
        return None if item is None else collate([item])
    except (TypeError, ValueError, RuntimeError):  # not for torch, or without a key: the first batch will show
        return None


def _first_row(part: Any) -> Any:
    """The first entry of a column, a tensor or a number; None of a structure of columns, which has no shape."""
    if isinstance(part, Tensor | np.ndarray) and part.ndim:
        return part[0] if len(part) else part.new_empty(part.shape[1:]) if isinstance(part, Tensor) else None
    are_numbers = isinstance(part, list | tuple) and len(part) and isinstance(part[0], int | float)
    return part[0] if are_numbers else None


def first_part(dataset: Any, position: int | str) -> Any:
    """One part of the first item of a map-style dataset, 0 or a key for its input; None for other ones."""
    item = _first_of(dataset)
    if isinstance(position, str):
        return item.get(position) if isinstance(item, Mapping) else None
    return item[position] if isinstance(item, tuple | list) and position < len(item) else None


def _first_of(dataset: Any) -> Any:
    """The first item of a map-style dataset; None for other ones, and without items."""
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return None
    with preserve_all_rng():  # looking must not advance what a dataset draws from
        return dataset[0] if len(dataset) else None
