"""Structures of tensors: tuples, named tuples, lists, dicts and dataclasses, nested; one walk for all of them.

Inputs, targets and outputs may be such structures. A leaf is anything else: a tensor, a number, a text, None.

A structure for n items usually is one of columns: every tensor in it has n rows. A list of n entries may also hold one
entry per item, such as names, or images of different sizes.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor

from learnkit.errors import DataError

__all__ = ["concatenate", "count_items", "cut", "items_of_batch", "leaves", "map_tensors"]


def map_tensors(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same structure with `change` of every tensor in it; other leaves are unchanged."""
    if isinstance(tree, Tensor):
        return change(tree)
    if type(tree) is tuple:  # the usual batch, (x, y)
        return tuple([change(part) if isinstance(part, Tensor) else map_tensors(change, part) for part in tree])
    parts = _parts(tree)
    return tree if parts is None else _rebuilt(tree, [map_tensors(change, part) for part in parts])


def leaves(tree: Any) -> Iterator[Any]:
    """Every leaf, in order."""
    parts = _parts(tree)
    if parts is None:
        yield tree
    else:
        for part in parts:
            yield from leaves(part)


def count_items(*trees: Any) -> int:
    """The number of items: the first axis of tensors or arrays in the first of these structures that has any.

    Pass the targets before the inputs: a pair of images is two inputs, but one item. A list of tensors holds either
    columns or one entry per item; the other structures tell which.

    >>> import torch
    >>> count_items(torch.zeros(16), ((torch.zeros(16, 3), torch.zeros(16, 3)),))
    16
    >>> count_items([torch.zeros(5, 4), torch.zeros(1, 4)], torch.zeros(2, 3, 8, 8))  # boxes of two images
    2
    >>> count_items(["cat", "dog"])
    2
    >>> count_items(torch.tensor(1.0))
    1
    """
    if isinstance(trees[0], Tensor) and trees[0].ndim:
        return len(trees[0])
    counts = [found for tree in trees if (found := _possible_counts(tree))]
    if not counts:
        return next((len(names) for tree in trees for names in _lists_of_leaves(tree)), 1)
    first, *others = counts
    return next((count for count in first if any(count in other for other in others)), first[0])


def items_of_batch(batch: Any) -> int:
    """The number of items in a batch: by its target, the last entry, if there is one."""
    if not isinstance(batch, tuple | list):
        return count_items(batch)
    return count_items(batch[-1], tuple(batch[:-1])) if len(batch) > 1 else count_items(tuple(batch))


def _possible_counts(tree: Any) -> list[int]:
    """How many items the tensors of a structure may be for, the likeliest first; none without tensors."""
    rows = _rows(tree)
    agreed = rows[:1] if len(set(rows)) == 1 else []
    if isinstance(tree, list):
        return [*agreed, len(tree)] if rows else []
    return [*agreed, *(count for part in _children(tree) for count in _possible_counts(part))]


def _lists_of_leaves(tree: Any) -> Iterator[list[Any]]:
    """Every list in a structure, and every tuple of leaves that are not tensors, such as names."""
    parts = _children(tree)
    are_leaves = all(_parts(part) is None and not isinstance(part, Tensor) for part in parts)
    if isinstance(tree, list) or (isinstance(tree, tuple) and tree and are_leaves):
        yield parts
    else:
        for part in parts:
            yield from _lists_of_leaves(part)


def cut(tree: Any, start: int, stop: int, n: int) -> Any:
    """Items `start` to `stop` of a structure for n items; a leaf without one entry per item is unchanged.

    A list or tuple of n entries that are not columns holds one entry per item.

    Raises:
        DataError: a list of n tensors, each of n rows, which may be n columns or n items.

    >>> import torch
    >>> cut((torch.arange(4), {"names": list("abcd"), "scale": 2.0}), 1, 3, 4)
    (tensor([1, 2]), {'names': ['b', 'c'], 'scale': 2.0})
    """
    parts = _parts(tree)
    if parts is None:
        return tree[start:stop] if getattr(tree, "ndim", 0) and len(tree) == n else tree
    if type(tree) in (list, tuple) and len(tree) == n > 1:
        rows = _rows(tree)
        if not rows or set(rows) != {n}:
            return tree[start:stop]
        if type(tree) is list and all(_rows(part) for part in parts):
            raise DataError(
                f"a list of {n} tensors of {n} rows each, in a batch of {n} items: it may hold columns or items",
                fix="Make the batch a tuple or a dict of columns, or of another size.",
            )
    return _rebuilt(tree, [cut(part, start, stop, n) for part in parts])


def concatenate(trees: Sequence[Any], sizes: Sequence[int] = ()) -> Any:
    """One structure of the items of several: tensors are joined along their first axis.

    Tensors without an axis, and leaves that are not tensors, are those of the first structure; a list of leaves is
    continued.

    Args:
        trees: of one type.
        sizes: the number of items in each, to continue lists that hold one entry per item.

    >>> import torch
    >>> concatenate([{"logits": torch.zeros(2, 3)}, {"logits": torch.ones(1, 3)}])["logits"].shape
    torch.Size([3, 3])
    """
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(list(trees)) if first.ndim else first
    parts = _parts(first)
    if parts is None:
        return first
    if type(first) in (list, tuple) and not _are_columns(trees, sizes):
        return type(first)(entry for tree in trees for entry in tree)
    columns = zip(*map(_children, trees), strict=True)
    return _rebuilt(first, [concatenate(column, sizes) for column in columns])


def _are_columns(trees: Sequence[Any], sizes: Sequence[int]) -> bool:
    """Whether each of these lists or tuples holds columns, not an entry per item."""
    if not any(_parts(part) is not None or isinstance(part, Tensor) for part in trees[0]):
        return isinstance(trees[0], tuple) and [len(tree) for tree in trees] != list(sizes)
    if [len(tree) for tree in trees] != list(sizes):
        return True
    return all(set(_rows(tree)) == {size} for tree, size in zip(trees, sizes, strict=True))


def _rows(tree: Any) -> list[int]:
    """The lengths of the first axes of all tensors and arrays that have one."""
    return [len(leaf) for leaf in leaves(tree) if getattr(leaf, "ndim", 0)]


def _parts(tree: Any) -> list[Any] | None:
    """The parts of a structure in order; None for a leaf."""
    if isinstance(tree, Mapping):
        return list(tree.values())
    if isinstance(tree, tuple | list):
        return list(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [getattr(tree, field.name) for field in dataclasses.fields(tree) if field.init]
    return None


def _children(tree: Any) -> list[Any]:
    return _parts(tree) or []


def _rebuilt(tree: Any, parts: list[Any]) -> Any:
    """A structure of the same type with other parts."""
    if type(tree) is dict or (isinstance(tree, Mapping) and not isinstance(tree, MutableMapping)):
        return dict(zip(tree, parts, strict=True))
    if isinstance(tree, MutableMapping):  # such as an OrderedDict, or the outputs of transformers
        other = copy.copy(tree)
        for key, part in zip(tree, parts, strict=True):
            other[key] = part
        return other
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named tuple
        return type(tree)(*parts)
    if isinstance(tree, tuple | list):
        return type(tree)(parts)
    fields = [field.name for field in dataclasses.fields(tree) if field.init]
    return dataclasses.replace(tree, **dict(zip(fields, parts, strict=True)))
