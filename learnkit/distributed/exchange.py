"""Tensors that differ in length from process to process, put together in every one of them; nothing is pickled."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learnkit.distributed.world import world
from learnkit.errors import DataError, UsageError
from learnkit.tree import leaves, map_tensors

__all__ = ["gathered", "gathered_rows", "in_order", "sent_by_device", "together", "whole_batch"]

MAX_DIMS = 12
# The numbers by which processes name them; what is added goes to the end.
TYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.bool, torch.complex64, torch.complex128,
)  # fmt: skip


def gathered(tensor: Tensor) -> list[Tensor]:
    """The tensor of every process, in their order, on the CPU; alone, a list of this one.

    Args:
        tensor: of any shape and type; each process may have another.
    """
    if world.size == 1:
        return [tensor]
    own = tensor.detach().cpu().contiguous()
    heads = _all_gather(_head(own))
    shapes = [head[2 : 2 + head[1]] for head in (head.tolist() for head in heads)]
    types = [TYPES[int(head[0])] for head in heads]
    sizes = [_n_bytes(shape, dtype) for shape, dtype in zip(shapes, types, strict=True)]
    if not (longest := max(sizes)):
        return [torch.empty(shape, dtype=dtype) for shape, dtype in zip(shapes, types, strict=True)]
    sent = torch.zeros(longest, dtype=torch.uint8)
    if own.numel():
        sent[: own.nbytes] = own.reshape(-1).view(torch.uint8)
    return [
        received[:size].clone().view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
        for received, size, shape, dtype in zip(_all_gather(sent), sizes, shapes, types, strict=True)
    ]


def gathered_rows(rows: Tensor, n: int) -> Tensor:
    """The first n rows of every process, in their order, on the device of these."""
    own = rows[:n].detach()
    if own.is_complex() or not _sends_rows(own.device):
        return torch.cat(gathered(own)).to(own.device)
    return torch.cat(sent_by_device(own))


def whole_batch(what: str, part: Any, n: int) -> Any:
    """The rows of a batch of all processes, in its order: a structure of tensors, from those of each one's share.

    Args:
        what: who asks for it, for the error.
        part: this process's; each tensor has a row per item, and one if it has none.
        n: how many items count, 0 if none.

    Raises:
        UsageError: what has not one row per item, or texts.
    """
    for leaf in leaves(part):
        is_column = not isinstance(leaf, Tensor) or (leaf.ndim and len(leaf) == max(n, 1))
        if not is_column or isinstance(leaf, str | bytes):
            got = f"a tensor {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__
            raise UsageError(
                f"{what}: {got} for {n} items", expected="one row per item",
                fix="In several processes, batches are put together row by row: train in one, or measure it later.",
            )  # fmt: skip
    return map_tensors(lambda rows: gathered_rows(rows, n), part)


def _sends_rows(device: torch.device) -> bool:
    """Whether tensors on this device are sent without the CPU: not through gloo, which only adds them up there."""
    return world.size > 1 and world.backends.get(device.type, "gloo") != "gloo"


def sent_by_device(own: Tensor) -> list[Tensor]:
    """Rows of every process, on their device, which is not waited for; the hosts tell each other only how many.

    Raises:
        DataError: rows of different shapes or types.
    """
    heads = [tuple(head.tolist()) for head in _all_gather(_head(own))]
    kinds = {(number, *shape) for number, n_dims, n_rows, *shape in heads}
    if len(kinds) > 1:
        shapes = sorted({tuple(shape[: n_dims - 1]) for _, n_dims, _, *shape in heads})
        raise DataError("rows of different shapes or types in the processes", got=shapes, expected="one")
    counts = [head[2] for head in heads]
    sent = own.new_zeros((max(counts), *own.shape[1:]))
    if not sent.numel():
        return [own.new_empty((n, *own.shape[1:])) for n in counts]
    sent[: len(own)] = own
    parts = [torch.empty_like(sent) for _ in counts]
    dist.all_gather(parts, sent)
    return [part[:n] for part, n in zip(parts, counts, strict=True)]


def together(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Several tensors of every process: one list per process. Each process may have another number of them."""
    if world.size == 1:
        return [list(tensors)]
    counts = [int(count) for count in _all_gather(torch.tensor([len(tensors)]))]
    nothing = torch.empty(0)
    columns = [gathered(tensors[place] if place < len(tensors) else nothing) for place in range(max(counts))]
    return [[column[rank] for column in columns[:count]] for rank, count in enumerate(counts)]


def in_order(rows: Tensor, places: Tensor) -> Tensor:
    """The rows of all processes, in the order of their places.

    Args:
        rows: (n, ...), this process's.
        places: (n,) int64, the place of each; every place from 0 on is that of one row.

    Raises:
        DataError: rows of different shapes in different processes.
    """
    if world.size == 1:
        return rows
    parts, numbers = gathered(rows), torch.cat(gathered(places))
    shapes = {tuple(part.shape[1:]) for part in parts if len(part)}
    if len(shapes) > 1:
        expected = "one, as all processes together make one result"
        raise DataError("rows of different shapes in the processes", got=sorted(shapes), expected=expected)
    found = torch.cat([part for part in parts if len(part)] or [rows])
    ordered = torch.empty_like(found)
    ordered[numbers] = found
    return ordered


def _head(tensor: Tensor) -> Tensor:
    """The type and the shape of a tensor as numbers."""
    if tensor.dtype not in TYPES or tensor.ndim > MAX_DIMS:
        what = f"a tensor {tuple(tensor.shape)} {tensor.dtype}"
        raise DataError(f"{what} cannot be sent to other processes", expected="numbers or booleans")
    shape = [*tensor.shape, *[0] * (MAX_DIMS - tensor.ndim)]
    return torch.tensor([TYPES.index(tensor.dtype), tensor.ndim, *shape])


def _n_bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    return int(torch.Size(shape).numel()) * dtype.itemsize


def _all_gather(tensor: Tensor) -> list[Tensor]:
    """Equal shapes in all processes."""
    parts = [torch.empty_like(tensor) for _ in range(world.size)]
    dist.all_gather(parts, tensor, group=world.group)
    return parts
