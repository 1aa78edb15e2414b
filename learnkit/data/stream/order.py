"""The order in which a stream is read: chunk by chunk."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ChunkOrder"]


class ChunkOrder:
    """Every item once: the chunks in an order that is drawn, and the items of each chunk in an order that is drawn.

    So a process reads from one chunk, or at the end of one from two, and never has to hold more of a stream than these.

    Args:
        sizes: items in each chunk; the items of a stream are numbered chunk by chunk.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.chunks: tuple[Tensor, ...] = torch.split(torch.arange(sum(sizes)), list(sizes))

    def __call__(self, random: torch.Generator) -> Tensor:
        """The item numbers of one epoch, int64 (n_items,)."""
        order = torch.randperm(len(self.chunks), generator=random).tolist()
        drawn = [self.chunks[place] for place in order]
        return torch.cat([chunk[torch.randperm(len(chunk), generator=random)] for chunk in drawn])
