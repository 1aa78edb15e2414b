"""What the transforms of a batch share: random variables from uniform numbers, floats, chunks that fit the cache."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["chunks", "happens", "log_ratio", "signed", "to_float"]

CHUNK = 2**18  # float32 numbers, 1 MiB: what fits the cache of one core


def happens(u: Tensor, p: float) -> Tensor:
    """Whether an event of probability p happens; u uniform in [0, 1), of any shape."""
    return u < p


def signed(u: Tensor) -> Tensor:
    """Uniform in [-1, 1), from u uniform in [0, 1)."""
    return 2 * u - 1


def log_ratio(u: Tensor, max_change: float) -> Tensor:
    """A factor, log-uniform between 1 - max_change and 1 / (1 - max_change), from u uniform in [0, 1)."""
    return torch.exp(-signed(u) * math.log1p(-max_change))


def to_float(x: Tensor) -> Tensor:
    """A uint8 batch as float32 in [0, 1]; floats are returned unchanged."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def chunks(x: Tensor) -> Iterator[slice]:
    """Slices of a batch to process one after another: on an accelerator, one of all items.

    On the CPU a chunk is small enough for the cache, and has at least one item per thread.
    """
    item_size = max(1, x[0].numel()) if len(x) else 1
    n = max(torch.get_num_threads(), CHUNK // item_size) if x.is_cpu else max(1, len(x))
    for start in range(0, len(x), n):
        yield slice(start, start + n)
