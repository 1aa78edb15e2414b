"""A torch loader of the user's own, in the order of its items."""

from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = ["in_order"]


def in_order(loader: Any) -> Any:
    """The items of a loader in their order, each once, with the last batch that `drop_last` leaves out.

    Items are those of the data set, or of a SubsetRandomSampler those of its indices, in their order. What is no loader
    of torch's, or has a sampler that is none of torch's, is taken to be in order.
    """
    if not isinstance(loader, DataLoader):
        return loader
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler:
        return loader
    sampler = batches.sampler
    if isinstance(sampler, RandomSampler | WeightedRandomSampler):
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
