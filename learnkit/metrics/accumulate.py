"""Accumulators: what a metric keeps of its batches, a few tensors on the device of the model.

`update` never waits for the device, `add` adds what another accumulator holds (for example of another process), and
`compute` reads everything, on the CPU and in double precision.
"""

import operator
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Accumulator", "Kept", "Moments", "Range", "Sums", "mean", "precise", "total_and_count"]


class Accumulator(Protocol):
    """What is kept of the batches. Merging the parts of a set, in any order, is the same as updating with all of it."""

    def reset(self) -> None:
        """Drop all batches."""
        ...

    def update(self, *parts: Tensor) -> None:
        """Add a batch."""
        ...

    def tensors(self) -> list[Tensor]:
        """The content; empty before the first batch."""
        ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Add what `tensors` of an accumulator of the same kind returned, on any device."""
        ...

    def compute(self) -> tuple[Tensor, ...]:
        """What was kept of one batch or more, on the CPU."""
        ...


class Sums:
    """Tensors added up: counts, totals, tables. All but the first may be numbers."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sums: tuple[Tensor | int, ...] = ()

    def update(self, *parts: Tensor | int) -> None:
        # Never in place: the tensors may be another accumulator's.
        self.sums = tuple(map(operator.add, self.sums, parts)) if self.sums else parts

    def tensors(self) -> list[Tensor]:
        device = next((part.device for part in self.sums if isinstance(part, Tensor)), None)
        return [torch.as_tensor(part, device=device) for part in self.sums]

    def add(self, tensors: Sequence[Tensor]) -> None:
        if tensors:
            device = (self.tensors() or tensors)[0].device
            self.update(*(part.to(device) for part in tensors))

    def compute(self) -> tuple[Tensor, ...]:
        return tuple(part.cpu().double() for part in self.tensors())


class Range:
    """The lowest and the highest number, nan if one of them is."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.ends: tuple[Tensor, Tensor] | None = None

    def update(self, values: Tensor) -> None:
        if values.numel():
            self._add(*values.aminmax())

    def tensors(self) -> list[Tensor]:
        return list(self.ends or ())

    def add(self, tensors: Sequence[Tensor]) -> None:
        if tensors:
            self._add(*tensors)

    def _add(self, low: Tensor, high: Tensor) -> None:
        if self.ends is not None:
            device = self.ends[0].device
            low = torch.minimum(self.ends[0], low.to(device))
            high = torch.maximum(self.ends[1], high.to(device))
        self.ends = low, high

    def compute(self) -> tuple[Tensor, ...]:
        return tuple(torch.stack(self.ends).cpu().unbind()) if self.ends is not None else ()


class Kept:
    """All numbers, for metrics that depend on their ranks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.batches: list[tuple[Tensor, ...]] = []

    def update(self, *parts: Tensor) -> None:
        self.batches.append(tuple(part.clone() for part in parts))  # a view would keep its whole batch alive

    def tensors(self) -> list[Tensor]:
        return [torch.cat(parts) for parts in zip(*self.batches, strict=True)]

    def add(self, tensors: Sequence[Tensor]) -> None:
        if tensors:
            device = self.batches[0][0].device if self.batches else None
            self.batches.append(tuple(part.to(device) for part in tensors))

    def compute(self) -> tuple[Tensor, ...]:
        return tuple(torch.cat(parts).cpu() for parts in zip(*self.batches, strict=True))


class Moments:
    """Number of items, means (V, K) and sums of products of deviations (V, V, K) of V variables of K columns.

    Exact for any origin (Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm, 1979); the deviations of a
    constant variable are exactly 0.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.n: int = 0
        self.means: Tensor = torch.zeros(())
        self.products: Tensor = torch.zeros(())

    def update(self, *parts: Tensor) -> None:
        values = torch.stack(parts)  # (V, N, K)
        moved = values - values[:, :1]
        means = moved.mean(dim=1)
        deviations = moved - means[:, None]
        self._add(values.shape[1], values[:, 0] + means, torch.einsum("vnk,wnk->vwk", deviations, deviations))

    def tensors(self) -> list[Tensor]:
        # The number as a length: reading it from a tensor would wait for the device.
        return [torch.empty(self.n, 0), self.means, self.products] if self.n else []

    def add(self, tensors: Sequence[Tensor]) -> None:
        if tensors:
            n, means, products = tensors
            self._add(len(n), means, products)

    def _add(self, n: int, means: Tensor, products: Tensor) -> None:
        if self.n:
            apart = means.to(self.means.device) - self.means
            share = n / (self.n + n)
            means = self.means + share * apart
            products = self.products + products.to(apart.device) + self.n * share * apart[:, None] * apart
        self.n, self.means, self.products = self.n + n, means, products

    def compute(self) -> tuple[Tensor, ...]:
        n = torch.tensor(self.n, dtype=torch.float64)
        return n, self.means.cpu().double(), self.products.cpu().double()


def total_and_count(values: Tensor, counted: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
    """Sum and number of the values that count, by default all: what `Sums` needs for a mean.

    The number of all is known without the device; a tensor of it would cost a third of the metric of a small batch.
    """
    if values.dtype == torch.bool:  # counted in half the time of their sum
        hits = values if counted is None else values & counted
        return hits.count_nonzero(), values.numel() if counted is None else counted.count_nonzero()
    values = precise(values)
    if counted is None:
        return values.sum(), values.numel()
    return values.where(counted, torch.zeros_like(values)).sum(), counted.count_nonzero()


def mean(total: Tensor, count: Tensor | int) -> float:
    """The mean from summed `total_and_count`; nan without values."""
    return float(total / count)


def precise(tensor: Tensor) -> Tensor:
    """In double precision if the device supports it: in single precision large outputs become equal probabilities."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)
