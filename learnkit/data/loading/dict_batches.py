"""Batches that are dicts, such as those of Hugging Face datasets, as (inputs..., target)."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from learnkit.data.loading.torch_internals import forget_workers
from learnkit.errors import DataError, UsageError

__all__ = ["KeyedLoader", "Keys", "Picking", "chosen_keys", "keyed"]


class Keys:
    """Which entries of a dict are the inputs of the model, in the order of its arguments, and which the target.

    Args:
        inputs: a key, or several.
        target: a key; None for batches without labels.
    """

    def __init__(self, inputs: str | Sequence[str], target: str | None) -> None:
        self.inputs: tuple[str, ...] = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        self.target = target
        if not self.inputs or not all(isinstance(key, str) for key in (*self.inputs, target or "")):
            raise UsageError("inputs and target", got=(inputs, target), expected="keys of the batches, as text")

    def pick(self, batch: Any, *, needs_target: bool = True) -> tuple[Any, ...]:
        """The batch as (inputs..., target); where a target is not needed and not there, (input,) or (inputs..., None).

        Raises:
            DataError: a batch that is not a dict, or without one of the keys.
        """
        if not isinstance(batch, Mapping):
            raise DataError(
                f"inputs={list(self.inputs)} names keys, but a batch is a {type(batch).__name__}",
                fix="Leave inputs= and target= out for batches (inputs..., target).",
            )
        has_target = self.target is not None and (needs_target or self.target in batch)
        keys = (*self.inputs, self.target or "") if has_target else self.inputs
        if missing := [key for key in keys if key not in batch]:
            raise DataError(f"a batch has no {missing[0]!r}", got=list(batch), expected=f"the keys {', '.join(keys)}")
        picked = tuple(batch[key] for key in keys)
        return picked if has_target or len(picked) == 1 else (*picked, None)  # else the last input would be the target


class Picking:
    """Collates items to a dict, and picks its entries; at the top of a module, so that workers can be sent it."""

    def __init__(self, collate: Callable[[Any], Any], keys: Keys, *, needs_target: bool = True) -> None:
        self.collate, self.keys, self.needs_target = collate, keys, needs_target

    def __call__(self, items: Any) -> tuple[Any, ...]:
        return self.keys.pick(self.collate(items), needs_target=self.needs_target)


class KeyedLoader:
    """A loader that is not torch's, its batches picked by keys; everything else is that of the loader."""

    def __init__(self, loader: Any, keys: Keys, *, needs_target: bool = True) -> None:
        self.loader: Any = loader
        self.keys: Keys = keys
        self.needs_target: bool = needs_target

    def of(self, loader: Any) -> "KeyedLoader":
        """Another loader, its batches picked alike."""
        return KeyedLoader(loader, self.keys, needs_target=self.needs_target)

    def __len__(self) -> int:
        return len(self.loader)  # TypeError without one, as for any loader

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.loader:
            yield self.keys.pick(batch, needs_target=self.needs_target)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)


def chosen_keys(inputs: str | Sequence[str] | None, target: str | None) -> Keys | None:
    """The keys of dict batches; None for other batches.

    Raises:
        UsageError: a target without inputs.
    """
    if inputs is None and target is not None:
        raise UsageError("inputs", got=None, expected="the keys of the inputs, with target=")
    return None if inputs is None else Keys(inputs, target)


def keyed(loader: Any, keys: Keys | None, *, needs_target: bool = True) -> Any:
    """A loader of dicts as one of (inputs..., target); torch's remains a DataLoader of the same dataset and order."""
    if loader is None or keys is None:
        return loader
    if not isinstance(loader, DataLoader):
        return KeyedLoader(loader, keys, needs_target=needs_target)
    other = copy.copy(loader)
    forget_workers(other)
    other.collate_fn = Picking(loader.collate_fn, keys, needs_target=needs_target)
    return other
