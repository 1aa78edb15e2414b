"""Seeded draws of rows and groups: a permutation, an order by class, groups that preserve the share of every class."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from learnkit.checks import check_seed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["by_class", "choose_groups", "class_counts", "class_numbers", "permutation"]

N_PARTS = 10  # of the range of numbers, each of which counts as a class
MAX_EXHAUSTIVE = 12  # groups up to which all 4,094 choices are compared
MAX_EXCHANGED = 300  # groups up to which pairs are exchanged; for more, single moves are enough
N_STARTS = 10  # of the search, for up to as many groups
MAX_PASSES = 10


def permutation(n: int, seed: int) -> npt.NDArray[np.int64]:
    """The numbers from 0 to n - 1 in an order drawn by the seed."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(check_seed(seed))).numpy()


def by_class(targets: "pd.Series[Any]", seed: int) -> npt.NDArray[np.int64]:
    """Row numbers sorted by target, in random order among equals."""
    shuffled = permutation(len(targets), seed)
    return shuffled[np.argsort(class_numbers(targets)[shuffled], kind="stable")]


def class_numbers(targets: "pd.Series[Any]") -> npt.NDArray[np.int64]:
    """The number of each row's class, combination of labels or value, in their order."""
    keys = [_class_key(value) for value in targets]
    in_order = sorted(set(keys), key=lambda key: (str(type(key)), str(key) if key is None else key))
    ranks = {key: rank for rank, key in enumerate(in_order)}
    return np.array([ranks[key] for key in keys], dtype=np.int64)


def _class_key(target: Any) -> Hashable:
    """Equal for equal sets of labels, in whatever order they are listed."""
    return tuple(sorted(map(str, target))) if isinstance(target, list | set | np.ndarray) else target


def class_counts(targets: "pd.Series[Any]", groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """How many items of each class (or of each label) every group has, and the total in the last column.

    For numbers, each tenth of their range counts as a class.

    Args:
        targets: one per row.
        groups: the group of each row, from 0.
        seed: seed of the order among equal numbers.

    Returns:
        (n_groups, n_classes + 1).
    """
    import pandas as pd

    n = len(targets)
    if all(isinstance(target, float | np.floating | tuple) for target in targets):
        rows, codes = np.arange(n), np.empty(n, dtype=np.int64)
        codes[by_class(targets, seed)] = np.arange(n) * N_PARTS // n
    else:
        labels = [set(map(str, one)) if isinstance(one, list | set | np.ndarray) else {one} for one in targets]
        rows = np.repeat(np.arange(n), [len(one) for one in labels])
        codes = pd.factorize(pd.Series([label for one in labels for label in one], dtype=object))[0]
    counts = np.zeros((groups.max() + 1, codes.max(initial=-1) + 2))  # a missing label counts only in the last column
    np.add.at(counts, (groups[rows], codes), 1)
    counts[:, -1] = np.bincount(groups)
    return counts


def choose_groups(counts: npt.NDArray[np.float64], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Groups that together hold a share of every class, and of all rows, as near to `share` as possible.

    Minimized is the sum of the squared differences between the shares and `share`; no class is chosen whole if that
    can be avoided. Up to 12 groups, the best of all choices is found. With more, groups are taken in a random order as
    long as each brings the shares nearer, as scikit-learn's StratifiedGroupKFold deals groups out, then moved and
    exchanged until no move helps (the local search of Kernighan and Lin, 1970, for cutting a graph in two); the best
    of ten such searches is taken.

    Args:
        counts: (n_groups, n_classes + 1), as `class_counts` returns them; at least two groups.
        share: in (0, 1).
        seed: seed of the orders; it selects among equally good choices.
    """
    n = len(counts)
    if n <= MAX_EXHAUSTIVE:
        return _best_choice(counts, share, seed)
    random = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(N_STARTS if n <= MAX_EXCHANGED else 1):
        order = torch.randperm(n, generator=random).numpy()
        chosen = order[_local_search(counts[order], share)]
        found.append((float(_cost(counts[chosen].sum(0), counts.sum(0), share)), chosen))
    return np.isin(np.arange(n), min(found, key=lambda one: one[0])[1])


def _cost(held: npt.NDArray[np.float64], totals: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """How far choices that hold these counts, (..., n_classes + 1), are from their shares."""
    n_whole = (held[..., :-1] >= totals[:-1]).sum(-1)
    apart = ((held / totals - share) ** 2).sum(-1)
    is_one_sided = (held[..., -1] == 0) | (held[..., -1] == totals[-1])
    return np.where(is_one_sided, np.inf, n_whole * len(totals) + apart)  # each of the squares is at most 1


def _best_choice(counts: npt.NDArray[np.float64], share: float, seed: int) -> npt.NDArray[np.bool_]:
    n = len(counts)
    choices = (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1
    choices = choices[permutation(len(choices), seed)]
    costs = _cost(choices @ counts, counts.sum(0), share)
    best: npt.NDArray[np.bool_] = choices[np.isclose(costs, costs.min())][0]
    return best


def _local_search(counts: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    totals = counts.sum(0)
    chosen, held, cost = np.zeros(len(counts), dtype=bool), np.zeros_like(totals), np.inf
    others = np.empty(0, dtype=np.int64)
    for _ in range(MAX_PASSES):
        before = cost
        for group in range(len(counts)):
            sign = -1 if chosen[group] else 1
            if len(counts) <= MAX_EXCHANGED:
                others = np.flatnonzero(chosen != chosen[group])
            moved = held + sign * counts[group]
            results = np.concatenate([moved[None], moved - sign * counts[others]])
            costs = _cost(results, totals, share)
            best = int(costs.argmin())
            if costs[best] < cost - 1e-9:  # by more than rounding
                held, cost = results[best], float(costs[best])
                chosen[[group, *others[best - 1 : best]]] ^= True
        if cost >= 0.99 * before:
            break
    return chosen
