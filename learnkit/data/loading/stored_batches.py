"""Batches of a set that is on the device: its order and what is drawn for it are copied for many batches at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from learnkit.data.augment.pipeline import Augmentation, Plan
from learnkit.data.image.device_store import DeviceStore
from learnkit.data.loading.sampler import BatchOrder
from learnkit.device import to_device

__all__ = ["stored_batches"]

PLANNED = 2**14  # items whose augmentation is drawn at once


def stored_batches(
    store: DeviceStore, order: BatchOrder, augmentation: Augmentation
) -> Iterator[tuple[Plan, tuple[Tensor, ...]]]:
    """Each batch of the epoch that begins now, with the plan of its augmentation."""
    batches, seed, epoch = order.begin()
    if not batches:
        return
    rows = iter(torch.split(to_device(torch.cat(batches), store.device), [len(batch) for batch in batches]))
    n_planned = max(1, PLANNED // order.batch_size)
    for first in range(0, len(batches), n_planned):
        block = batches[first : first + n_planned]
        plan = augmentation.plan(seed, epoch, torch.cat(block).numpy(), *store.size)
        plan = plan._replace(table=to_device(plan.table, store.device))
        stop = 0
        for batch in block:
            start, stop = stop, stop + len(batch)
            yield plan.part(slice(start, stop)), store.batch(next(rows))
