"""The nearest rows, compared with all distances in float64."""

import pytest
import torch
from torch import Tensor

from learnkit.errors import DataError, UsageError
from learnkit.neighbors import cosine as module
from learnkit.neighbors.cosine import cosine_distances, nearest, nearest_others
from tests.doubles import refused


def rows(n: int, d: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def by_hand(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """All distances at once, from the definition."""
    q, b = queries.double(), bank.double()
    distances = 1 - (q @ b.T) / (q.norm(dim=1)[:, None] * b.norm(dim=1))
    order = distances.argsort(dim=1, stable=True)[:, :k]
    return distances.gather(1, order), order


@pytest.mark.parametrize("block", [1, 97, 1 << 22])
@pytest.mark.parametrize(("n_queries", "n", "k"), [(1, 200, 9), (70, 200, 3), (5, 30, 30), (3, 4, 9), (0, 4, 1)])
def test_it_is_what_all_distances_say(
    block: int, n_queries: int, n: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    queries, bank = rows(n_queries, seed=1), rows(n) * torch.logspace(-3, 3, n)[:, None]
    distances, indices = nearest(queries, bank, k)
    expected, order = by_hand(queries, bank, min(k, n))
    assert distances.dtype == torch.float64
    torch.testing.assert_close(distances, expected, rtol=0, atol=1e-12)
    assert torch.equal(indices, order)


def test_distances_that_float32_cannot_tell_apart_are_in_order() -> None:
    """A thousand rows around one direction, each 1e-6 farther than the one before: their cosines differ by 1e-9."""
    angles = torch.randperm(1000, generator=torch.Generator().manual_seed(0)).double() * 1e-6 + 1e-3
    bank = torch.stack([angles.cos(), angles.sin()], 1)
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert torch.equal(nearest(query, bank, 20)[1][0], angles.argsort()[:20])


@pytest.mark.parametrize("block", [8, 1 << 22])
def test_of_equal_rows_the_first_come_first(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    one, other = rows(2, seed=5)
    bank = torch.stack([other, *[one] * 60, -one])
    bank[30] *= 4
    distances, indices = nearest(one[None], bank, 5)
    assert indices.tolist() == [[1, 2, 3, 4, 5]]
    assert distances.tolist() == [[0.0] * 5]


def test_the_others_of_a_row_do_not_hold_it() -> None:
    bank = torch.cat([rows(40), rows(40)[[0] * 30]])
    distances, indices = nearest_others(bank, 3)
    q = bank.double()
    expected = 1 - (q @ q.T) / (q.norm(dim=1)[:, None] * q.norm(dim=1))
    expected.fill_diagonal_(torch.inf)
    torch.testing.assert_close(distances, expected.sort(1).values[:, :3], rtol=0, atol=1e-12)
    assert not (indices == torch.arange(70)[:, None]).any()
    assert indices[0].tolist() == [40, 41, 42]
    assert indices[69].tolist() == [0, 40, 41]


def test_very_long_and_short_rows_and_zeros() -> None:
    one, other = rows(2)
    bank = torch.stack([torch.zeros(12), other, one * 1e30, other * 1e-30, one * 1e-30])
    distances, indices = nearest(torch.stack([one, other * 1e25, torch.zeros(12)]), bank, 5)
    assert [set(row) for row in indices[:2, :2].tolist()] == [{2, 4}, {1, 3}]
    torch.testing.assert_close(distances[:2, :2], torch.zeros(2, 2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert distances[2].tolist() == [1.0] * 5
    assert indices[2].tolist() == [0, 1, 2, 3, 4]


def test_half_precision_rows_are_compared_as_they_are() -> None:
    queries, bank = rows(3, seed=1).bfloat16(), rows(50).bfloat16()
    assert torch.equal(nearest(queries, bank, 4)[1], by_hand(queries, bank, 4)[1])


def test_it_does_not_depend_on_the_precision_of_matrix_products() -> None:
    queries, bank = rows(20, 64, seed=1), rows(2000, 64)
    try:
        torch.set_float32_matmul_precision("medium")
        found = nearest(queries, bank, 5)[1]
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found, by_hand(queries, bank, 5)[1])


def test_distances_of_pairs() -> None:
    a, b = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [-3.0, -3.0], [1.0, 0.0]])
    assert cosine_distances(a, b).tolist() == pytest.approx([1.0, 2.0, 1.0])


def test_what_cannot_be_compared_is_refused() -> None:
    with refused("k", got=0):
        nearest(rows(1), rows(3), 0)
    with refused("queries", got="torch.int64 (2, 3)"):
        nearest(torch.zeros(2, 3, dtype=torch.int64), rows(3), 1)
    with pytest.raises(UsageError, match="queries: numbers in a row: got 5, expected 12"):
        nearest(rows(1, 5), rows(3), 1)
    with pytest.raises(DataError, match="bank"):
        nearest(rows(1), torch.empty(0, 12), 1)
    with pytest.raises(DataError, match="at least two"):
        nearest_others(rows(1), 1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_named(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 24)
    bank = rows(50)
    bank[37, 3] = value
    with pytest.raises(DataError, match="bank: row 37 has a number that is nan or infinite"):
        nearest(rows(1), bank, 2)
    with pytest.raises(DataError, match="queries: row 37 has"):
        nearest(bank, rows(5), 2)
