"""Loaders of batches with named entries, such as the dicts of Hugging Face datasets, as (inputs..., target)."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from learnkit.data.loading.batch_parts import Keys
from learnkit.data.loading.loaders import OrderedLoader
from learnkit.data.loading.stream_loader import StreamLoader
from learnkit.data.loading.torch_internals import forget_workers

__all__ = ["KeyedLoader", "Picking", "keyed"]

Pick = Callable[[Any], tuple[Any, ...]]  # a batch -> (inputs..., target)


class Picking:
    """Collates items to a batch, and picks its entries; at the top of a module, so that workers can be sent it."""

    def __init__(self, collate: Callable[[Any], Any], pick: Pick) -> None:
        self.collate, self.pick = collate, pick

    def __call__(self, items: Any) -> tuple[Any, ...]:
        return self.pick(self.collate(items))


class KeyedLoader:
    """A loader that is not torch's, its batches picked by keys; everything else is that of the loader."""

    def __init__(self, loader: Any, pick: Pick) -> None:
        self.loader: Any = loader
        self.pick: Pick = pick

    def of(self, loader: Any) -> "KeyedLoader":
        """Another loader, its batches picked alike."""
        return KeyedLoader(loader, self.pick)

    def __len__(self) -> int:
        return len(self.loader)  # TypeError without one, as for any loader

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.loader:
            yield self.pick(batch)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)


def keyed(loader: Any, keys: Keys | None, *, needs_target: bool = True, needs_names: bool = True) -> Any:
    """A loader of named entries as one of (inputs..., target); torch's remains a DataLoader of the same dataset.

    learnkit's loaders, and those that are keyed already, are returned as they are; the flags are those of `Keys.pick`.
    """
    is_torch = isinstance(loader, DataLoader)
    reads = loader.collate_fn if is_torch else loader
    if loader is None or keys is None or isinstance(reads, Picking | KeyedLoader | OrderedLoader | StreamLoader):
        return loader
    pick = partial(keys.pick, needs_target=needs_target, needs_names=needs_names)
    if not is_torch:
        return KeyedLoader(loader, pick)
    other = copy.copy(loader)
    forget_workers(other)
    other.collate_fn = Picking(loader.collate_fn, pick)
    return other
