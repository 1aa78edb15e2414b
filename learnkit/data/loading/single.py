"""One item of a loader, as it stands in its batch."""

from typing import Any

from torch.utils.data import DataLoader, SequentialSampler, default_collate

from learnkit.data.loading.loaders import DatasetLoader, TensorLoader
from learnkit.errors import UsageError

__all__ = ["checked_item", "input_of"]


def checked_item(i: int, n: int) -> int:
    """i, which has to be the number of one of n items.

    Raises:
        UsageError: it is not.
    """
    if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < n:
        raise UsageError("i", got=i, expected=f"the number of an item, from 0 to {n - 1}")
    return i


def input_of(loader: Any, i: int) -> Any:
    """Input i of a loader in order, as a batch of one; a loader that only gives batches is gone through up to it.

    Raises:
        UsageError: there is no such item.
    """
    if isinstance(loader, TensorLoader):
        number = checked_item(i, loader.n_items)
        return loader.tensors[0][number : number + 1].clone()  # a model may write into its input
    if isinstance(loader, DatasetLoader):
        return _input(default_collate([loader.dataset[checked_item(i, loader.n_items)]]))
    is_plain = isinstance(loader, DataLoader) and loader.batch_size is not None  # without a batch sampler of its own
    if is_plain and isinstance(loader.sampler, SequentialSampler):
        return _input(loader.collate_fn([loader.dataset[checked_item(i, len(loader.sampler))]]))
    seen = 0
    for batch in loader:
        x = _input(batch)
        if isinstance(i, int) and seen <= i < seen + len(x):
            return x[i - seen : i - seen + 1]
        seen += len(x)
    raise UsageError("i", got=i, expected=f"the number of an item, from 0 to {seen - 1}")


def _input(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple | list) else batch
