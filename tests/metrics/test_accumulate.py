"""Accumulators: parts merged in any order are the whole, and what is merged does not change."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.metrics.accumulate import Accumulator, Kept, Moments, Range, Sums, mean, precise, total_and_count

KINDS: list[Any] = [Sums, Range, Kept, Moments]


def shards() -> list[Tensor]:
    """Rows of three parts of a set, (1, 2), (5, 2) and (3, 2), far from 0."""
    return list((torch.randn(9, 2, generator=torch.Generator().manual_seed(0)).double() + 1000).split([1, 5, 3]))


def fed(kind: Callable[[], Accumulator], *batches: Tensor) -> Accumulator:
    accumulator = kind()
    for batch in batches:
        accumulator.update(batch.sum(0) if kind is Sums else batch)
    return accumulator


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_parts_merged_in_any_order_are_the_whole(kind: Callable[[], Accumulator], order: tuple[int, ...]) -> None:
    parts = [fed(kind, shard) for shard in shards()]
    merged = kind()
    for number in order:
        merged.add(parts[number].tensors())
    merged.add(kind().tensors())  # one without batches
    whole = fed(kind, torch.cat([shards()[number] for number in order]))
    for got, expected in zip(merged.compute(), whole.compute(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_merged_or_returned_does_not_change(kind: Callable[[], Accumulator]) -> None:
    first, second, third = shards()
    other, mine = fed(kind, first), kind()
    before = [part.clone() for part in other.compute()]
    mine.add(other.tensors())
    mine.update(second.sum(0) if kind is Sums else second)
    mine.add(fed(kind, third).tensors())
    assert all(torch.equal(part, kept) for part, kept in zip(other.compute(), before, strict=True))
    assert torch.equal(first, shards()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_reset_forgets(kind: Callable[[], Accumulator]) -> None:
    first, second, _ = shards()
    accumulator = fed(kind, first)
    accumulator.reset()
    accumulator.add(fed(kind, second).tensors())
    for got, expected in zip(accumulator.compute(), fed(kind, second).compute(), strict=True):
        assert torch.equal(got, expected)


def test_moments_are_those_of_numpy() -> None:
    """Means and sums of products of deviations, of two variables of two columns."""
    x = torch.cat(shards())
    y = x.flip(0) * x
    moments = Moments()
    for a, b in zip(x.split(4), y.split(4), strict=True):
        moments.update(a, b)
    n, means, products = moments.compute()
    assert n == 9
    np.testing.assert_allclose(means, np.stack([x.mean(0), y.mean(0)]), rtol=1e-12)
    for column in range(2):
        expected = np.cov(x[:, column], y[:, column]) * 8
        np.testing.assert_allclose(products[:, :, column], expected, rtol=1e-9)


def test_deviations_of_what_is_constant_are_zero() -> None:
    moments = Moments()
    for n in (3, 1, 7):
        moments.update(torch.full((n, 1), 0.1))
    assert moments.compute()[2].item() == 0


def test_a_range_has_the_minimum_and_maximum_of_all_batches() -> None:
    ends = Range()
    for batch in ([3, 5], [], [4], [2, 4], [7]):
        ends.update(torch.tensor(batch, dtype=torch.long))
    assert [end.item() for end in ends.compute()] == [2, 7]
    ends.update(torch.tensor([math.nan, 9.0]))
    assert all(end.isnan() for end in ends.compute())


def test_a_range_of_nothing_has_no_ends() -> None:
    assert Range().compute() == ()


def test_kept_values_are_a_copy_in_the_order_of_the_batches() -> None:
    kept, batch = Kept(), torch.arange(4)
    kept.update(batch[:2], batch[2:])
    batch += 10
    kept.update(batch[:2], batch[2:])
    first, second = kept.compute()
    assert (first.tolist(), second.tolist()) == ([0, 1, 10, 11], [2, 3, 12, 13])


def test_sums_are_read_in_double_precision() -> None:
    sums = Sums()
    for _ in range(3):
        sums.update(torch.tensor(2**40 + 1), torch.tensor([True, False]).sum())
    assert [part.item() for part in sums.compute()] == [3 * 2**40 + 3, 3]
    assert {part.dtype for part in sums.compute()} == {torch.float64}


def test_the_mean_of_what_counts() -> None:
    values = torch.tensor([1.0, math.nan, 3.0, 8.0])
    assert mean(*total_and_count(values, torch.tensor([True, False, True, False]))) == 2
    assert mean(*total_and_count(values[2:])) == 5.5
    assert math.isnan(mean(*total_and_count(values[:0])))


def test_totals_are_in_double_precision() -> None:
    total, count = total_and_count(torch.tensor([2.0**24, 1.0, 1.0]))
    assert (total.item(), count) == (2**24 + 2, 3)
    assert precise(torch.ones(1, dtype=torch.float16)).dtype == torch.float64
