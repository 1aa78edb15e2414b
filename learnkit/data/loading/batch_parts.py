"""A batch as inputs and target: by their places, or by the names of its entries."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from learnkit.errors import DataError, UsageError

__all__ = ["Keys", "chosen_keys", "parts_of"]

_NO_INPUTS = (type(None), str, bytes, int, float, set, frozenset)  # alone; a part of a batch may be one of them


def parts_of(batch: Any, of: str = "") -> tuple[Any, ...]:
    """A batch as a tuple, (inputs..., target) or (inputs,): one that is not a tuple or a list is the one input.

    Args:
        batch: what a loader yields.
        of: the loader, for errors: " of the training loader".

    Raises:
        DataError: a batch with named entries, such as a dict: nothing says which of them are inputs; nothing at all, or
            text; a NumPy array as an input.
    """
    is_plain = isinstance(batch, tuple | list)
    names = None if is_plain else _entries(batch)
    parts = tuple(batch) if is_plain else (batch,)
    if parts if is_plain else names is None and not isinstance(batch, _NO_INPUTS):
        for part in parts[:-1] or parts:
            if isinstance(part, np.ndarray):
                what = f"an input in a batch{of} is a NumPy array"
                raise DataError(what, expected="a tensor", fix="Use torch.from_numpy.")
        return parts
    what, expected = f"a batch{of} is a {type(batch).__name__}", "a tuple (inputs..., targets)"
    if names is not None:
        fix = f"Name its entries: DataBunch.from_loaders(..., inputs=, target=), of {', '.join(map(str, names))}."
        raise DataError(what, expected=expected, fix=fix)
    raise DataError(what if parts else f"{what} of 0", expected=expected, fix="Look at what the loader yields.")


def _entries(batch: Any) -> Mapping[Any, Any] | None:
    """The entries of a dict, a named tuple or a dataclass by their names; None for anything else."""
    if isinstance(batch, Mapping):
        return batch
    if isinstance(batch, tuple) and hasattr(batch, "_asdict"):
        return batch._asdict()  # type: ignore[no-any-return]
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return None


class Keys:
    """Which entries of a batch are the inputs of the model, in the order of its arguments, and which the target.

    Args:
        inputs: a key of a dict, or the name of a field of a named tuple or a dataclass; or several.
        target: a key; None for batches without labels.
    """

    def __init__(self, inputs: str | Sequence[str], target: str | None) -> None:
        self.inputs: tuple[str, ...] = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        self.target = target
        if not self.inputs or not all(isinstance(key, str) for key in (*self.inputs, target or "")):
            raise UsageError("inputs and target", got=(inputs, target), expected="keys of the batches, as text")

    @property
    def of_items(self) -> tuple[str, ...]:
        """The inputs that an item to predict has: all but a target, for a model that computes its own loss."""
        return self.inputs[:-1] if self.inputs[-1] == self.target else self.inputs

    def item(self, item: Any) -> Any:
        """The input of an item with named entries; other items, and those of several inputs, as they are.

        Raises:
            DataError: such an item without its key.
        """
        entries = _entries(item)
        if entries is None or len(self.of_items) > 1:
            return item
        (key,) = self.of_items
        if key not in entries:
            raise DataError(f"an item has no {key!r}", got=list(entries), expected=f"the key {key}")
        return entries[key]

    def pick(self, batch: Any, *, needs_target: bool = True, needs_names: bool = True) -> tuple[Any, ...]:
        """The batch as (inputs..., target); as (inputs,) or (inputs..., None) where a target is not needed, nor there.

        Args:
            batch: a dict, a named tuple or a dataclass.
            needs_target: refuse a batch without the target.
            needs_names: refuse other batches, which else are taken to be (inputs..., target).

        Raises:
            DataError: such a batch, or one without one of the keys.
        """
        entries = _entries(batch)
        if entries is None and not needs_names:
            return parts_of(batch)
        if entries is None:
            raise DataError(
                f"inputs={list(self.inputs)} names keys, but a batch is a {type(batch).__name__}",
                fix="Leave inputs= and target= out for batches (inputs..., target).",
            )
        has_target = self.target is not None and (needs_target or self.target in entries)
        keys = (*self.inputs, self.target or "") if has_target else self.inputs
        if missing := [key for key in keys if key not in entries]:
            raise DataError(f"a batch has no {missing[0]!r}", got=list(entries), expected=f"the keys {', '.join(keys)}")
        picked = tuple(entries[key] for key in keys)
        return picked if has_target or len(picked) == 1 else (*picked, None)  # the last of several would be the target


def chosen_keys(inputs: str | Sequence[str] | None, target: str | None) -> Keys | None:
    """The keys of batches with named entries; None for other batches.

    Raises:
        UsageError: a target without inputs.
    """
    if inputs is None and target is not None:
        raise UsageError("inputs", got=None, expected="the keys of the inputs, with target=")
    return None if inputs is None else Keys(inputs, target)
