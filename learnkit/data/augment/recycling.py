"""The memory of large batches on the CPU, used again when no tensor refers to it.

Memory of this size comes from the system, page by page, and goes back to it with every batch: that takes as long as
augmentation.
"""

import math
import weakref

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["empty"]

LARGE = 2**25  # bytes: smaller blocks are used again by the C library
KEPT = 2  # blocks, of the last size that was asked for
ALIGNMENT = 64  # bytes

_free: list[npt.NDArray[np.uint8]] = []


def empty(*shape: int) -> Tensor:
    """A float32 tensor on the CPU whose numbers are not set. Its storage cannot be resized if it is large."""
    size = math.prod(shape) * 4
    if size < LARGE:
        return torch.empty(shape, dtype=torch.float32)
    block = _block(size)
    start = -block.ctypes.data % ALIGNMENT
    lent = block[start : start + size].view(np.float32)  # dies with the last tensor of its memory
    weakref.finalize(lent, _take_back, block).atexit = False
    return torch.from_numpy(lent).view(shape)


def _block(size: int) -> npt.NDArray[np.uint8]:
    while _free:
        block = _free.pop()
        if len(block) == size + ALIGNMENT:
            return block
    return np.empty(size + ALIGNMENT, np.uint8)


def _take_back(block: npt.NDArray[np.uint8]) -> None:
    if len(_free) < KEPT:
        _free.append(block)
