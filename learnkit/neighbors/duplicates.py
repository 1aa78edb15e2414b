"""Near-duplicates: rows of features that are almost the same, within groups and across."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learnkit.checks import is_number
from learnkit.errors import UsageError, warn
from learnkit.neighbors.cosine import nearest, nearest_others

__all__ = ["MAX_RATIO", "Pairs", "near_duplicates"]

MAX_RATIO = 0.5
NEIGHBOR = 10  # whose distance says what is usual near a row
MANY, SHARE = 20, 0.25  # rows, and the share of them with two much nearer ones, from which on features are doubted


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


def near_duplicates(features: Tensor, max_ratio: float = MAX_RATIO, groups: Sequence[Any] | None = None) -> Pairs:
    """Pairs of rows that are much nearer than others around them: of each row, the nearest other one in each group.

    Much nearer is at most `max_ratio` of the cosine distance to the 10th nearest of the other rows (or the farthest, of
    fewer). How near copies are depends on the network and on the images; this ratio depends on both much less, as the
    one to the second nearest does in the matching of key points (Lowe 2004). Of more than ten copies of one row, only
    equal ones are found for certain. Memory is linear in the number of rows.

    Features of a network that has learned little vary in few directions, and nearly everything has a much nearer
    neighbor there: if more than a quarter of the rows have two of them, a warning says so.

    Args:
        features: float (N, D), such as `learn.embed` returns.
        max_ratio: 0 finds only rows of the same direction.
        groups: which group each row is in, such as its split; None for a single one.

    Raises:
        UsageError: a ratio that is not a number from 0 to 1; not a group for each row.
        DataError: a number that is nan or infinite.

    >>> rows = torch.eye(5)[[0, 1, 2, 3, 4, 0]] + torch.tensor([[0.0]] * 5 + [[0.1]])
    >>> pairs = near_duplicates(rows)
    >>> pairs.later.tolist(), pairs.earlier.tolist()
    ([5], [0])
    """
    if not is_number(max_ratio) or not 0 <= max_ratio <= 1:
        raise UsageError("max_ratio", got=max_ratio, expected="a number from 0 to 1")
    groups = [0] * len(features) if groups is None else groups
    if len(groups) != len(features):
        raise UsageError("groups", got=f"{len(groups)} of them", expected=f"one for each of {len(features)} rows")
    if len(features) < 2:
        nothing = torch.empty(0, dtype=torch.int64)
        return Pairs(nothing, nothing, nothing.double())
    around, others_around = (part.cpu() for part in nearest_others(features, NEIGHBOR))
    _doubt(around, max_ratio)
    largest = max_ratio * around[:, -1]
    places, numbers = torch.arange(len(features)), {group: number for number, group in enumerate(dict.fromkeys(groups))}
    group_of = torch.tensor([numbers[group] for group in groups])
    # Nearer than the last of those around is only what is around, too. Rows as near as that one are searched for.
    rows = (largest >= around[:, -1]).nonzero()[:, 0]
    found: list[tuple[list[int], float]] = []
    for number in numbers.values():
        distances, column = around.masked_fill(group_of[others_around] != number, torch.inf).min(1)
        others = others_around.gather(1, column[:, None])[:, 0]
        if len(rows):
            distances[rows], others[rows] = _nearest_in(features, rows, (group_of == number).nonzero()[:, 0])
        is_near = distances <= largest
        pair = torch.stack([torch.maximum(places, others), torch.minimum(places, others)], 1)
        found += zip(pair[is_near].tolist(), distances[is_near].tolist(), strict=True)
    different = sorted({tuple(pair): distance for pair, distance in found}.items(), key=lambda one: (one[1], one[0]))
    later, earlier = torch.tensor([pair for pair, _ in different], dtype=torch.int64).view(-1, 2).unbind(1)
    return Pairs(later, earlier, torch.tensor([distance for _, distance in different], dtype=torch.float64))


def _nearest_in(features: Tensor, rows: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of each of some rows to the nearest other one among the members, infinite without one; and which."""
    distances, at = nearest(features[rows], features[members], 2)
    others = members[at.cpu()]
    distances, column = distances.cpu().masked_fill(others == rows[:, None], torch.inf).min(1)
    return distances, others.gather(1, column[:, None])[:, 0]


def _doubt(around: Tensor, max_ratio: float) -> None:
    """Warn of features that do not tell rows apart, by the distances of each to those around it."""
    n = len(around)
    if n < MANY:
        return
    n_close = int(((around[:, 1] <= max_ratio * around[:, -1]) & (around[:, 1] > 0)).sum())
    if n_close > SHARE * n:
        warn(
            f"{n_close:,} of {n:,} items look almost like two others. Either the data comes in series, or the network "
            "does not tell these images apart: take one with pretrained weights."
        )
