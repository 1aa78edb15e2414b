"""Inspecting data without training on it: its items in order, its first item, one item."""

from collections.abc import Mapping, Sequence, Sized
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

from learnkit.data.loading.dict_batches import KeyedLoader, Picking
from learnkit.data.loading.items import checked_item
from learnkit.data.loading.loaders import DatasetLoader, ImageLoader, TensorLoader
from learnkit.errors import UsageError
from learnkit.losses.outputs import names_of
from learnkit.seeds import preserve_all_rng

__all__ = [
    "first_input",
    "first_part",
    "first_target",
    "in_order",
    "input_of",
    "name_of",
    "several_inputs",
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
        x = _input(batch)
        if isinstance(i, int) and seen <= i < seen + len(x):
            return x[i - seen : i - seen + 1]
        seen += len(x)
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
    return batch[0] if isinstance(batch, tuple | list) else batch


def first_input(loader: Any) -> Any:
    """The first training input, if no batch has to be drawn to get it; else None."""
    return _first(loader, 0)


def first_target(loader: Any) -> Any:
    """The first training target, likewise."""
    return _first(loader, 1)


def several_inputs(loader: Any) -> str:
    """What an item gives the model if that is not one tensor, such as "2 inputs" or "a dict of a, b"; else "".

    "" too if a batch would have to be drawn to find out.
    """
    keys = getattr(loader, "keys", None) if isinstance(loader, KeyedLoader) else None
    collate = getattr(loader, "collate_fn", default_collate)
    keys = collate.keys if isinstance(collate, Picking) else keys
    if keys is not None:
        return f"{len(keys.inputs)} inputs ({', '.join(keys.inputs)})" if len(keys.inputs) > 1 else ""
    if not isinstance(loader, DataLoader | DatasetLoader | list | tuple) or collate is not default_collate:
        return ""
    n, item = _item(loader)
    if n > 2:
        return f"{n - 1} inputs"
    return names_of(item) if isinstance(item, tuple | list | Mapping) else ""


def _item(loader: Any) -> tuple[int, Any]:
    """How many parts the first item, or batch of a list of them, has; and the first part."""
    dataset: Any = loader if isinstance(loader, list | tuple) else getattr(loader, "dataset", None)
    if not _is_map_style(dataset):
        return 0, None
    with preserve_all_rng():
        first = dataset[0] if len(dataset) else ()
    return (len(first), first[0]) if isinstance(first, tuple | list) and len(first) else (0, None)


def _first(loader: Any, position: int) -> Any:
    if isinstance(loader, TensorLoader):
        if position >= len(loader.tensors):
            return None
        rows = loader.tensors[position]
        return rows[0] if len(rows) else rows.new_empty(rows.shape[1:])  # without items, the shape is still known
    if isinstance(loader, list | tuple):  # of batches
        batch = loader[0] if len(loader) else ()
        part = batch[position] if isinstance(batch, tuple | list) and position < len(batch) else None
        return part[0] if isinstance(part, Sequence | Tensor | np.ndarray) and len(part) else None
    collates_plainly = getattr(loader, "collate_fn", default_collate) is default_collate
    return first_part(getattr(loader, "dataset", None), position) if collates_plainly else None


def _is_map_style(dataset: Any) -> bool:
    has_items = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    return has_items and not isinstance(dataset, IterableDataset)


def first_part(dataset: Any, position: int | str) -> Any:
    """One part of the first item of a map-style dataset, 0 or a key for its input; None for other ones."""
    if not _is_map_style(dataset):
        return None
    with preserve_all_rng():  # looking must not advance what a dataset draws from
        item = dataset[0] if len(dataset) else None
    if isinstance(position, str):
        return item.get(position) if isinstance(item, Mapping) else None
    return item[position] if isinstance(item, tuple | list) and position < len(item) else None
