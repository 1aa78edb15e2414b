"""What the transforms of a batch share: random variables from uniform numbers, floats, chunks that fit the cache."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["chunks", "happens", "log_ratio", "noise", "signed", "to_float"]

CHUNK = 2**20  # float32 numbers, 4 MiB: what stays in the caches, and enough work for each call
GOLDEN = 0x9E3779B9 - 2**32  # an odd number, as int32


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


def noise(keys: Tensor, places: Tensor) -> Tensor:
    """Uniform noise in [0, 1) as a function of an item and a place in it, the same on every device.

    The hash is lowbias32 of Chris Wellons (Prospecting for hash functions, 2018).

    Args:
        keys: two uniform numbers of 24 bits in [0, 1) for each item, float32 (N, 2).
        places: numbers of places, int32 of any shape.

    Returns:
        float32 (N, *places.shape).
    """
    high, low = (keys * 2**24).int().T
    z = places * GOLDEN + (high << 8 ^ low).view(-1, *[1] * places.ndim)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        z.bitwise_xor_(z >> shift & (1 << 32 - shift) - 1).mul_(factor)  # a logical shift of signed numbers
    z.bitwise_xor_(z >> 16 & 0xFFFF)
    values: Tensor = (z >> 8 & 0xFFFFFF).float().mul_(2.0**-24)
    return values
