"""The nearest rows of a set of features by cosine distance: exact, in blocks, the same with any number of threads."""

from collections.abc import Iterator

import torch
from torch import Tensor

from learnkit.checks import check_int
from learnkit.errors import DataError, UsageError

__all__ = ["cosine_distances", "nearest", "nearest_others"]

BLOCK = 1 << 22  # numbers of a matrix that is held at a time: 16 MB
MAX_QUERIES = 1024
SPARE = 8  # candidates beyond k, which are measured again in float64
INPUT_ERROR = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}  # of a product, by torch's precision of matmuls
TINY, HUGE = 1e-15, 1e15  # lengths of rows that float32 can hold the squares of


@torch.no_grad()
def nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k rows of `bank` with the smallest cosine distance to each query, nearest first.

    The distance is 1 - cosine similarity, in [0, 2], computed in float64: 0 for rows of the same numbers. A row of
    zeros, which has no direction, is at distance 1 from every other. Candidates are found by products in float32, of
    which the error is bounded, so none is missed. Besides the result, memory is bounded by a few blocks of 16 MB, or
    one row of each.

    Args:
        queries: float (Q, D).
        bank: float (N, D), on the same device.
        k: how many; all of the bank if it has fewer.

    Returns:
        (distances, indices): float64 and int64 (Q, min(k, N)); of equal distances the lower index is first.

    Raises:
        UsageError: shapes that do not fit each other, or rows that are not floats.
        DataError: a number that is nan or infinite, or an empty bank.

    >>> bank = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> nearest(torch.tensor([[2.0, 0.0]]), bank, k=2)
    (tensor([[0., 0.]], dtype=torch.float64), tensor([[0, 2]]))
    """
    k = min(check_int("k", k, 1), len(bank))
    _check(queries, bank)
    n_rows = max(1, min(MAX_QUERIES, BLOCK // queries.shape[1]))
    starts = range(0, len(queries), n_rows)
    parts = [_nearest(queries[start : start + n_rows], bank, k, start) for start in starts]
    if not parts:
        return torch.empty(0, k, dtype=torch.float64), torch.empty(0, k, dtype=torch.int64)
    distances, indices = zip(*parts, strict=True)
    return torch.cat(distances), torch.cat(indices)


def nearest_others(bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """For each row of a bank, the k nearest among the others; as `nearest` returns them.

    Raises:
        UsageError, DataError: as `nearest`; a bank of one row.
    """
    if len(bank) < 2:
        raise DataError("the nearest of the other rows", got=f"{len(bank)} row", expected="at least two")
    k = min(check_int("k", k, 1), len(bank) - 1)
    distances, indices = nearest(bank, bank, k + 1)
    is_self = indices == torch.arange(len(bank), device=bank.device)[:, None]
    is_self[:, -1] |= ~is_self.any(1)  # as near as more than k others
    return distances[~is_self].view(-1, k), indices[~is_self].view(-1, k)


def cosine_distances(a: Tensor, b: Tensor) -> Tensor:
    """The distance of each row of `a` (N, D) to the row of `b` in its place, in float64 (N,); see `nearest`."""
    a, b = a.double(), b.double()
    lengths = [rows.norm(dim=1, keepdim=True) for rows in (a, b)]
    unit_a, unit_b = (rows / length.clamp_min(torch.finfo(torch.float64).tiny)
                      for rows, length in zip((a, b), lengths, strict=True))  # fmt: skip
    half_squares = (unit_a - unit_b).square().sum(1) / 2  # more precise than 1 - a · b for near rows
    has_directions = (lengths[0] > 0) & (lengths[1] > 0)
    distances: Tensor = half_squares.where(has_directions[:, 0], 1.0)
    return distances


def _nearest(queries: Tensor, bank: Tensor, k: int, first: int) -> tuple[Tensor, Tensor]:
    """`nearest` for a block of queries, which begins at the `first`."""
    rows, lengths = _with_lengths(queries, "queries", first)
    unit = rows / lengths[:, None]
    n_kept = min(k + SPARE, len(bank))
    values = unit.new_empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.int64, device=unit.device)
    for start, similarities in _similarities(unit, bank):
        best, at = similarities.topk(min(n_kept, similarities.shape[1]), sorted=False)
        values, places = torch.cat([values, best], 1), torch.cat([places, at + start], 1)
        if values.shape[1] > n_kept:
            values, at = values.topk(n_kept, sorted=False)
            places = places.gather(1, at)
    distances = _measured(queries, bank, places)
    distances, places = _sorted(distances, places, k)
    unsure = (values.amin(1) >= values.topk(k).values[:, -1] - 2 * _error(bank)).nonzero()[:, 0]
    if n_kept < len(bank) and len(unsure):
        floor = values[unsure].topk(k).values[:, -1] - 2 * _error(bank)
        distances[unsure], places[unsure] = _among_all(queries[unsure], unit[unsure], bank, floor, k)
    return distances, places


def _among_all(queries: Tensor, unit: Tensor, bank: Tensor, floor: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The nearest of all rows with a similarity of at least `floor`: of many that are nearly as near as the k-th."""
    distances = torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=unit.device)
    places = torch.full((len(queries), k), len(bank), dtype=torch.int64, device=unit.device)
    for start, similarities in _similarities(unit, bank):
        for query, row in enumerate(similarities >= floor[:, None]):
            found = row.nonzero()[:, 0][None] + start
            if found.numel():
                own = torch.cat([distances[query][None], _measured(queries[query][None], bank, found)], 1)
                at = torch.cat([places[query][None], found], 1)
                distances[query], places[query] = (part[0] for part in _sorted(own, at, k))
    return distances, places


def _sorted(distances: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row, by distance, then by place."""
    places, at = places.sort(dim=1)
    distances, order = distances.gather(1, at).sort(dim=1, stable=True)
    return distances[:, :k], places.gather(1, order[:, :k])


def _measured(queries: Tensor, bank: Tensor, places: Tensor) -> Tensor:
    """The distance of each query to its candidates (Q, C), in float64."""
    found = torch.empty(places.shape, dtype=torch.float64, device=places.device)
    n_rows = max(1, BLOCK // (2 * queries.shape[1]))
    flat, owner = places.flatten(), torch.arange(len(queries), device=places.device).repeat_interleave(places.shape[1])
    for start in range(0, len(flat), n_rows):
        part = slice(start, start + n_rows)
        found.view(-1)[part] = cosine_distances(queries[owner[part]], bank[flat[part]])
    return found


def _similarities(unit: Tensor, bank: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The products of queries of length 1 with each block of the bank, and where that begins."""
    n_rows = max(1, BLOCK // max(len(unit), bank.shape[1]))
    for start in range(0, len(bank), n_rows):
        rows, lengths = _with_lengths(bank[start : start + n_rows], "bank", start)
        yield start, (unit @ rows.T).div_(lengths)


def _with_lengths(rows: Tensor, what: str, start: int) -> tuple[Tensor, Tensor]:
    """Rows in float32 and their lengths (N,), by which they can be divided: 1 for a row of zeros."""
    lengths = rows.float().norm(dim=1)
    if ((lengths > TINY) & (lengths < HUGE)).all():
        return rows.float(), lengths
    exact = rows.double().norm(dim=1)
    if not exact.isfinite().all():
        place = int((~exact.isfinite()).nonzero()[0, 0])
        raise DataError(f"{what}: row {start + place} has a number that is nan or infinite")
    return (rows / exact.where(exact > 0, 1.0)[:, None]).float(), torch.ones_like(lengths)


def _error(bank: Tensor) -> float:
    """How far a product of two rows, divided by their lengths, can be from its true value."""
    return (2 * bank.shape[1] + 8) * 2.0**-24 + INPUT_ERROR[torch.get_float32_matmul_precision()]


def _check(queries: Tensor, bank: Tensor) -> None:
    for name, rows in (("queries", queries), ("bank", bank)):
        if not isinstance(rows, Tensor) or rows.ndim != 2 or not rows.is_floating_point():
            got = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
            raise UsageError(name, got=got, expected="a float tensor of shape (N, D)")
    if queries.shape[1] != bank.shape[1]:
        raise UsageError("queries: numbers in a row", got=queries.shape[1], expected=f"{bank.shape[1]}, as in the bank")
    if not bank.numel():
        raise DataError("bank", got=tuple(bank.shape), expected="at least one row of one number")
