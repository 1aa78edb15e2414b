"""Sampling: how often which training item is drawn in an epoch."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from learnkit.data.tasks import Classification, MultiLabel, Task
from learnkit.errors import UsageError

__all__ = ["BalancedSampling", "Sampling", "WeightedSampling", "make_sampling"]

Sampling: TypeAlias = Callable[[torch.Generator], Tensor]  # -> item numbers of one epoch, int64 (n_items,)


class BalancedSampling:
    """Every class equally often, to within one; the items of a class take turns, so none comes a second time before
    all have come once.

    Args:
        targets: class numbers, int64 (N,).
    """

    def __init__(self, targets: Tensor) -> None:
        self.members = [torch.nonzero(targets == number).flatten() for number in sorted(set(targets.tolist()))]
        self.n_items = len(targets)

    def __call__(self, random: torch.Generator) -> Tensor:
        n_classes = len(self.members)
        places = torch.randperm(n_classes, generator=random).tolist()  # which classes get one more
        drawn = []
        for place, members in zip(places, self.members, strict=True):
            n = self.n_items // n_classes + (place < self.n_items % n_classes)
            turns = [members[torch.randperm(len(members), generator=random)] for _ in range(-(-n // len(members)))]
            drawn.append(torch.cat(turns)[:n])
        order = torch.cat(drawn)
        return order[torch.randperm(len(order), generator=random)]


class WeightedSampling:
    """As many draws as there are items, with replacement, each in proportion to its weight.

    Args:
        weights: float (N,), 0 or more.
    """

    def __init__(self, weights: Tensor) -> None:
        self.cumulated = weights.double().cumsum(0)

    def __call__(self, random: torch.Generator) -> Tensor:
        points = torch.rand(len(self.cumulated), generator=random, dtype=torch.float64) * self.cumulated[-1]
        return torch.searchsorted(self.cumulated, points, right=True).clamp(max=len(self.cumulated) - 1)


def make_sampling(sampler: Any, labels: Sequence[Any], task: Task) -> Sampling | None:
    """What `sampler=` means: None for each item once, "balanced", or a weight an item.

    For several labels an item, "balanced" weighs an item by the mean of 1 / (count of the label) over its labels;
    items without a label count as one more label.

    Raises:
        UsageError: anything else, or "balanced" for a task without classes.
    """
    if sampler is None:
        return None
    if isinstance(sampler, str):
        if sampler != "balanced":
            raise UsageError("sampler", got=sampler, expected="None, 'balanced', or a weight for each training item")
        if isinstance(task, Classification):
            return BalancedSampling(torch.stack([task.encode(label) for label in labels]))
        if not isinstance(task, MultiLabel):
            raise UsageError(f"sampler='balanced' needs classes, this is a {type(task).__name__} task")
        named = [label or ("",) for label in labels]
        counts = Counter(name for label in named for name in label)
        return WeightedSampling(torch.tensor([np.mean([1 / counts[name] for name in label]) for label in named]))
    try:
        weights = torch.as_tensor(sampler, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError("sampler", got=sampler, expected="None, 'balanced', or a weight an item") from error
    if weights.shape != (len(labels),):
        raise UsageError("sampler", got=f"weights of shape {tuple(weights.shape)}", expected=f"({len(labels)},), one a "
                         "training item")  # fmt: skip
    if not weights.isfinite().all() or (weights < 0).any() or not weights.sum() > 0:
        raise UsageError("sampler", got="weights that are negative, all 0, or no numbers", expected="0 or more")
    return WeightedSampling(weights)
