"""Predictions of several processes, each of its share of the items, put together in every one of them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from learnkit.distributed.exchange import gathered_rows, in_order
from learnkit.distributed.world import world
from learnkit.errors import DataError, UsageError
from learnkit.tree import concatenate, leaves, map_tensors

__all__ = ["gathered_batch", "gathered_set"]


def gathered_batch(rows: Any, n: int | None) -> Any:
    """The rows of a batch of all processes, from those of this one's share; alone, the same rows.

    Args:
        rows: a tensor, a structure of tensors, or None.
        n: how many of them count; None for all.
    """
    if world.size == 1:
        return rows
    return map_tensors(lambda part: gathered_rows(part, len(part)), _counted(rows, n))


def gathered_set(batches: Iterable[tuple[tuple[Any, ...], int, int]], out: Tensor | None = None) -> tuple[Any, ...]:
    """What each process has computed of its items, in the order of the set, on the CPU.

    Args:
        batches: of each batch: tensors (N, ...), structures of these, or None; the place of the first item in the set;
            and how many items count. Each process has as many batches.
        out: where the first of these is written.

    Raises:
        DataError: no items, rows of different shapes, or something else than one row per item.
        UsageError: an `out` of another shape.
    """
    columns: list[list[Any]] = []
    places, sizes = [], []
    for parts, start, n in batches:
        columns = columns or [[] for _ in parts]
        for column, part in zip(columns, parts, strict=True):
            column.append(map_tensors(lambda rows: rows.to("cpu", copy=True), _counted(part, n)))
        places.append(torch.arange(start, start + n))
        sizes.append(n)
    (n_items,) = world.sums(sum(sizes))
    if not n_items or not columns:
        raise DataError("this set has no items to predict")
    order = torch.cat(places)
    found = [
        None if column[0] is None else map_tensors(lambda rows: in_order(rows, order), concatenate(column, sizes))
        for column in columns
    ]
    if out is None:
        return tuple(found)
    preds, *others = found
    assert isinstance(preds, Tensor)  # the first are the outputs
    if out.shape != preds.shape:
        raise UsageError("out", got=tuple(out.shape), expected=f"the shape of the outputs, {tuple(preds.shape)}")
    return out.copy_(preds), *others


def _counted(rows: Any, n: int | None) -> Any:
    """The rows that count, of a structure of one row per item.

    Raises:
        DataError: anything else, such as names, or a list of boxes per item.
    """
    if rows is None or n is None:
        return rows
    n_rows = max(n, 1)
    for leaf in leaves(rows):
        if not isinstance(leaf, Tensor) or not leaf.ndim or len(leaf) != n_rows:
            got = f"a tensor {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__
            raise DataError(
                "outputs and targets in several processes", got=got, expected=f"tensors of {n_rows} rows, one per item",
                fix="Predict in one process: with world.alone() of learnkit.distributed each does everything.",
            )  # fmt: skip
    return map_tensors(lambda part: part[:n], rows)
