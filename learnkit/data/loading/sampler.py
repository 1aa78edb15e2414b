"""Which items make which batch, and how often each is drawn in an epoch."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from threading import get_ident
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from learnkit.checks import check_seed
from learnkit.data.loading.batch_size import SizeIs
from learnkit.data.tasks import Classification, MultiLabel, Task
from learnkit.distributed.world import span
from learnkit.errors import UsageError
from learnkit.seeds import Stream, generator

__all__ = ["BalancedSampling", "BatchOrder", "Draw", "DrawnOrder", "Sampling", "WeightedSampling", "make_sampling",
           "own_rows"]  # fmt: skip

Sampling: TypeAlias = Callable[[torch.Generator], Tensor]  # -> item numbers of one epoch, int64 (n_items,)


class BatchOrder(Sampler[list[int]]):
    """Which items make which batch: in order, or drawn by (seed, epoch) with the last short batch left out.

    Without `seed_epoch`, every iteration takes the next epoch of the order's own seed.

    Args:
        n_items: number of items.
        batch_size: items per batch.
        shuffle: draw a new order in each epoch.
        seed: seed of the draw.
        sampling: how often each item is drawn; None for once.
        changes: augment items as in training; None to do so if they are shuffled.
        finds_size: whether the batch size is to be found, and this is only where it begins.

    Raises:
        UsageError: a seed that is no integer of 64 bits.
    """

    def __init__(
        self,
        n_items: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        sampling: Sampling | None = None,
        changes: bool | None = None,
        finds_size: bool = False,
    ) -> None:
        self.n_items = n_items
        self.batch_size = batch_size
        self.size_is: SizeIs = "due" if finds_size else "given"
        self.shuffle = shuffle
        self.changes: bool = shuffle if changes is None else changes
        self.seed: int = check_seed(seed)
        self.sampling = sampling
        self.epoch: int = -1
        self.start: int = 0
        self._next: dict[int, tuple[int, int, int]] = {}  # what `seed_epoch` said in each thread
        self._share: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.n_items // self.batch_size if self.shuffle else -(-self.n_items // self.batch_size)

    def seed_epoch(self, seed: int, epoch: int, start: int = 0) -> None:
        """The next iteration of this thread is this epoch of this seed, from batch `start` on."""
        self._next[get_ident()] = seed, epoch, start

    @property
    def next_epoch(self) -> int:
        """The epoch of the next iteration."""
        return self._coordinates()[1]

    @property
    def is_whole(self) -> bool:
        """Whether the next iteration has all items in their order."""
        return not self.shuffle and not self._coordinates()[2] and self._share is None

    def share(self, rank: int, size: int) -> None:
        """The next iteration has this process's share of each batch, of `size` processes: its `own_rows`.

        See `learnkit.data.loading.shares`.
        """
        self._share = rank, size

    def begin(self) -> "BegunEpoch":
        """The epoch that begins now. What iterates meanwhile, in a callback or another thread, does not change it."""
        seed, epoch, start = self._coordinates()
        self._next.pop(get_ident(), None)
        self.seed, self.epoch, self.start = seed, epoch, start
        batches, share, self._share = self._batches(seed, epoch, start), self._share, None
        if share is not None:
            batches = tuple(batch[own_rows(len(batch), *share)] for batch in batches)
        return BegunEpoch(batches, seed, epoch)

    def _coordinates(self) -> tuple[int, int, int]:
        """The seed, the epoch and the first batch of the next iteration."""
        return self._next.get(get_ident(), (self.seed, self.epoch + 1, 0))

    def _batches(self, seed: int, epoch: int, start: int) -> tuple[Tensor, ...]:
        if not self.shuffle:
            return torch.split(torch.arange(self.n_items), self.batch_size)[start:]
        random = generator(seed, Stream.ORDER, epoch)
        draw = torch.randperm(self.n_items, generator=random) if self.sampling is None else self.sampling(random)
        return torch.split(draw, self.batch_size)[start : len(self)]

    def __iter__(self) -> Iterator[list[int]]:
        for numbers in self.begin().batches:
            yield numbers.tolist()


class BegunEpoch(NamedTuple):
    """The item numbers of each batch of an epoch, and the coordinates that its randomness is drawn by."""

    batches: tuple[Tensor, ...]
    seed: int
    epoch: int


def own_rows(n: int, rank: int, size: int) -> slice:
    """The rows of a process in a batch of n items; the first one, which does not count, if it has none.

    So all processes make equally many batches.

    >>> [own_rows(2, rank, 3) for rank in range(3)]
    [slice(0, 1, None), slice(1, 2, None), slice(0, 1, None)]
    """
    start, stop = span(n, rank, size)
    return slice(start, stop) if start < stop else slice(0, 1)


class Draw(NamedTuple):
    """The items of a batch, and the coordinates that their randomness is drawn by."""

    numbers: list[int]
    seed: int
    epoch: int
    is_training: bool


class DrawnOrder(Sampler[Any]):
    """An order whose batches carry their coordinates: a worker that lives for many epochs does not know the epoch."""

    def __init__(self, order: BatchOrder) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Draw]:
        begun = self.order.begin()
        for numbers in begun.batches:
            yield Draw(numbers.tolist(), begun.seed, begun.epoch, self.order.changes)


class BalancedSampling:
    """Every class equally often, to within one; the items of a class take turns, so none comes a second time before
    all have come once.

    Args:
        targets: class indices, int64 (N,).
    """

    def __init__(self, targets: Tensor) -> None:
        self.members: list[Tensor] = [
            torch.nonzero(targets == number).flatten() for number in sorted(set(targets.tolist()))
        ]
        self.n_items: int = len(targets)

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
        self.cumulated: Tensor = weights.double().cumsum(0)

    def __call__(self, random: torch.Generator) -> Tensor:
        points = torch.rand(len(self.cumulated), generator=random, dtype=torch.float64) * self.cumulated[-1]
        return torch.searchsorted(self.cumulated, points, right=True).clamp(max=len(self.cumulated) - 1)


def make_sampling(sampler: Any, labels: Sequence[Any], task: Task) -> Sampling | None:
    """What `sampler=` means: None for each item once, "balanced", or one weight per item.

    With several labels per item, "balanced" weights an item by the mean of 1 / (count of the label) over its labels;
    items without a label count as one more label.

    Raises:
        UsageError: anything else, or "balanced" for a task without classes.
    """
    if sampler is None:
        return None
    if isinstance(sampler, str):
        if sampler != "balanced":
            raise UsageError("sampler", got=sampler, expected="None, 'balanced', or one weight per item")
        if isinstance(task, Classification):
            return BalancedSampling(torch.stack([task.encode(label) for label in labels]))
        if not isinstance(task, MultiLabel):
            name = type(task).__name__
            raise UsageError("sampler", got=sampler, expected=f"None or weights: a {name} task has no classes")
        named = [label or ("",) for label in labels]
        counts = Counter(name for label in named for name in label)
        return WeightedSampling(torch.tensor([np.mean([1 / counts[name] for name in label]) for label in named]))
    try:
        weights = torch.as_tensor(sampler, dtype=torch.float64, device="cpu")
    except (OverflowError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError("sampler", got=sampler, expected="None, 'balanced', or one weight per item") from error
    if weights.shape != (len(labels),):
        got = f"weights of shape {tuple(weights.shape)}"
        raise UsageError("sampler", got=got, expected=f"({len(labels)},), one per training item")
    if not weights.isfinite().all() or (weights < 0).any() or not weights.sum() > 0:
        raise UsageError("sampler", got="weights that are negative, all 0, or not finite", expected="0 or more")
    return WeightedSampling(weights)
