"""What one process notices, a signal or the time, is known to all of them one step later."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learnkit.distributed.world import world

__all__ = ["Agreement"]


class Agreement:
    """Numbers that all processes compare once a step; each gets the largest of the step before, so none waits.

    Alone, they are this process's own, at once.
    """

    def __init__(self) -> None:
        self._pending: tuple[Any, Tensor] | None = None

    def exchange(self, *numbers: int) -> list[int]:
        """The largest of the processes' numbers one call ago, 0 at the first call. Every process must call it."""
        if world.size == 1:
            return list(numbers)
        found = self.finish() or [0] * len(numbers)
        held = torch.tensor(numbers, dtype=torch.int64)
        self._pending = dist.all_reduce(held, dist.ReduceOp.MAX, group=world.group, async_op=True), held
        return found

    def finish(self) -> list[int]:
        """The numbers of the last call; empty if there was none."""
        if self._pending is None:
            return []
        work, held = self._pending
        self._pending = None
        work.wait()
        return [int(number) for number in held]
