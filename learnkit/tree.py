"""Structures of tensors: tuples, named tuples, lists, dicts and dataclasses, nested; one walk for all of them.

Inputs, targets and outputs may be such structures. A leaf is anything else: a tensor, a number, a text, None.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor

__all__ = ["concatenate", "count_items", "cut", "leaves", "map_tensors"]


def map_tensors(change: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same structure with `change` of every tensor in it; other leaves are unchanged."""
    if isinstance(tree, Tensor):
        return change(tree)
    if type(tree) is tuple:  # the usual batch, (x, y)
        return tuple([map_tensors(change, part) for part in tree])
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
    """The number of items: the first axis of the first tensor or array in these structures that has one.

    Pass the targets before the inputs: a pair of images is two inputs, but one item.

    >>> import torch
    >>> count_items(torch.zeros(16), ((torch.zeros(16, 3), torch.zeros(16, 3)),))
    16
    >>> count_items(["cat", "dog"])
    2
    >>> count_items(torch.tensor(1.0))
    1
    """
    for tree in trees:
        for leaf in leaves(tree):
            if getattr(leaf, "ndim", 0):
                return len(leaf)
    for tree in trees:
        if isinstance(tree, Sized) and not isinstance(tree, str | Mapping | Tensor):
            return len(tree)
    return 1


def cut(tree: Any, start: int, stop: int, n: int) -> Any:
    """Items `start` to `stop` of a structure for n items; a leaf without one entry per item is unchanged.

    A list of n leaves that are not tensors of n rows, such as names, holds one entry per item.

    >>> import torch
    >>> cut((torch.arange(4), {"names": list("abcd"), "scale": 2.0}), 1, 3, 4)
    (tensor([1, 2]), {'names': ['b', 'c'], 'scale': 2.0})
    """
    parts = _parts(tree)
    if parts is None:
        return tree[start:stop] if getattr(tree, "ndim", 0) and len(tree) == n else tree
    are_columns = any(getattr(part, "ndim", 0) and len(part) == n for part in parts)
    if type(tree) in (list, tuple) and len(tree) == n and not are_columns:
        return tree[start:stop]
    return _rebuilt(tree, [cut(part, start, stop, n) for part in parts])


def concatenate(trees: Sequence[Any]) -> Any:
    """One structure of the items of several: tensors are joined along their first axis.

    Tensors without an axis, and leaves that are no tensors, are those of the first structure; a list of leaves is
    continued.

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
    if isinstance(first, list) and not any(_parts(part) is not None or isinstance(part, Tensor) for part in parts):
        return [leaf for tree in trees for leaf in tree]
    return _rebuilt(first, [concatenate(column) for column in zip(*map(_children, trees), strict=True)])


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
