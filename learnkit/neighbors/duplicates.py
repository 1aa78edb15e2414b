"""Near-duplicates: rows of features that are almost the same, within groups and across."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learnkit.checks import is_number
from learnkit.errors import UsageError
from learnkit.neighbors.cosine import nearest

__all__ = ["MAX_DISTANCE", "Pairs", "near_duplicates"]

MAX_DISTANCE = 0.05


class Pairs(NamedTuple):
    """P pairs of rows, the nearest first.

    Attributes:
        later: int64 (P,), numbers of rows.
        earlier: int64 (P,), numbers of rows before these.
        distances: float64 (P,), cosine distances.
    """

    later: Tensor
    earlier: Tensor
    distances: Tensor


def near_duplicates(features: Tensor, max_distance: float = MAX_DISTANCE, groups: Sequence[Any] | None = None) -> Pairs:
    """Pairs of rows that are at most `max_distance` apart: of each row, the nearest other one in each group.

    So a row that has a near-duplicate is in a pair, and memory is linear in the number of rows.

    Args:
        features: float (N, D), such as `learn.embed` returns.
        max_distance: the largest cosine distance of near-duplicates.
        groups: which group each row is in, such as its split; None for a single one.

    Raises:
        UsageError: a distance that is no number, 0 or more; not a group for each row.
        DataError: a number that is nan or infinite.

    >>> pairs = near_duplicates(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.01]]), 0.001)
    >>> pairs.later.tolist(), pairs.earlier.tolist()
    ([2], [0])
    """
    if not is_number(max_distance) or not 0 <= max_distance < math.inf:
        raise UsageError("max_distance", got=max_distance, expected="a cosine distance, 0 or more")
    groups = [0] * len(features) if groups is None else groups
    if len(groups) != len(features):
        raise UsageError("groups", got=f"{len(groups)} of them", expected=f"one for each of {len(features)} rows")
    places = torch.arange(len(features))
    found: list[tuple[list[int], float]] = []
    for group in dict.fromkeys(groups):
        members = torch.tensor([place for place, own in enumerate(groups) if own == group])
        distances, at = nearest(features, features[members], 2)
        others = members[at.cpu()]
        is_self = others == places[:, None]
        distances = distances.cpu().masked_fill(is_self, torch.inf)
        distances, column = distances.min(1)
        others = others.gather(1, column[:, None])[:, 0]
        is_near = distances <= max_distance
        pair = torch.stack([torch.maximum(places, others), torch.minimum(places, others)], 1)
        found += zip(pair[is_near].tolist(), distances[is_near].tolist(), strict=True)
    different = sorted({tuple(pair): distance for pair, distance in found}.items(), key=lambda one: (one[1], one[0]))
    later, earlier = torch.tensor([pair for pair, _ in different], dtype=torch.int64).view(-1, 2).unbind(1)
    return Pairs(later, earlier, torch.tensor([distance for _, distance in different], dtype=torch.float64))
