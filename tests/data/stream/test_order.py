"""The order in which a stream is read."""

import itertools

import torch

from learnkit.data.stream.order import ChunkOrder


def drawn(sizes: list[int], seed: int) -> list[int]:
    return ChunkOrder(sizes)(torch.Generator().manual_seed(seed)).tolist()


def test_every_item_is_drawn_once_and_chunks_stay_together() -> None:
    sizes = [5, 1, 4, 6]
    chunk_of = [chunk for chunk, size in enumerate(sizes) for _ in range(size)]
    for seed in range(20):
        order = drawn(sizes, seed)
        assert sorted(order) == list(range(16))
        chunks = [chunk_of[i] for i in order]
        changes = sum(a != b for a, b in itertools.pairwise(chunks))
        assert changes == len(sizes) - 1


def test_chunks_and_their_items_are_both_shuffled_by_the_generator() -> None:
    orders = {tuple(drawn([3, 3, 3], seed)) for seed in range(200)}
    assert len(orders) > 150  # of 6 * 6**3 = 1,296
    assert drawn([3, 3, 3], 7) == drawn([3, 3, 3], 7)
    first = [drawn([1] * 4, seed)[0] for seed in range(400)]
    assert all(60 < first.count(i) < 140 for i in range(4))  # 100 each
