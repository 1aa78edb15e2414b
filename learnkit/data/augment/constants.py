"""Numbers that stay the same from batch to batch: made once on an accelerator, where a copy waits for it."""

import functools

import torch
from torch import Tensor

__all__ = ["centers", "constant"]


def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """These numbers, (n,); not to be written to. On the CPU, where it costs nothing, a new tensor."""
    if device.type == "cpu":
        return torch.tensor(values, dtype=dtype)
    return _kept(values, dtype, device)


@functools.lru_cache(maxsize=64)
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


@functools.lru_cache(maxsize=64)
def centers(n: int, device: torch.device) -> Tensor:
    """The centers of n pixels that lie in [-1, 1], float32 (n,); not to be written to."""
    return torch.linspace(-1 + 1 / n, 1 - 1 / n, n, device=device)
