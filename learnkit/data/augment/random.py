"""What the transforms of a batch share: checked arguments, uniform numbers, floats, pieces that fit the cache."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from learnkit.errors import UsageError

__all__ = ["check_range", "happens", "log_ratio", "pieces", "signed", "unit_floats"]

CACHED_NUMBERS = 2**18  # 1 MiB of float32: what one core keeps at hand


def check_range(name: str, value: float, low: float, high: float, *, may_reach_high: bool = True) -> None:
    """Refuse what is not a number from `low` to `high`.

    Raises:
        UsageError: another value, or no number.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (value == high and not may_reach_high):
        bounds = f"a number in [{low}, {high}{']' if may_reach_high else ')'}"
        raise UsageError(name, got=value, expected=bounds)


def happens(u: Tensor, p: float) -> Tensor:
    """Whether a change of probability p happens; u uniform in [0, 1), of any shape."""
    return u < p


def signed(u: Tensor) -> Tensor:
    """Uniform in [-1, 1) of u uniform in [0, 1)."""
    return 2 * u - 1


def log_ratio(u: Tensor, max_change: float) -> Tensor:
    """A factor drawn evenly on a log scale between 1 - max_change and 1 / (1 - max_change)."""
    return torch.exp(-signed(u) * math.log1p(-max_change))


def unit_floats(x: Tensor) -> Tensor:
    """float32 in [0, 1] of a uint8 batch; floats are that already."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def pieces(x: Tensor) -> Iterator[slice]:
    """Slices of a batch to be worked on one after the other: the whole of it on an accelerator.

    On the CPU a piece is small enough for the cache, and has an item for every thread.
    """
    numbers = max(1, x[0].numel()) if len(x) else 1
    n = max(torch.get_num_threads(), CACHED_NUMBERS // numbers) if x.is_cpu else max(1, len(x))
    for start in range(0, len(x), n):
        yield slice(start, start + n)
