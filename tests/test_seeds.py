"""Numbers from coordinates: equal where they must be, unrelated elsewhere."""

import random

import numpy as np
import pytest
import torch

from learnkit.seeds import Stream, derive, generator, preserve_all_rng, seed_from_global_rng, uniforms


def test_seeds_are_distinct_and_fit_a_generator() -> None:
    seeds = {derive(s, stream, e, b) for s in range(4) for stream in Stream for e in range(10) for b in range(50)}
    assert len(seeds) == 4 * len(Stream) * 10 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(-1, Stream.STEP, 0) >= 0
    assert derive(0, Stream.STEP, 1, 2) != derive(0, Stream.STEP, 2, 1)


def test_uniform_numbers_are_uniform_and_unrelated() -> None:
    numbers = uniforms(1, Stream.AUGMENT, 0, np.arange(20_000), 4)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.histogram(numbers, 10, (0, 1))[0] == pytest.approx(8000, rel=0.05)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.03
    other = uniforms(1, Stream.AUGMENT, 1, np.arange(20_000), 4)
    assert abs(np.corrcoef(numbers[:, 0], other[:, 0])[0, 1]) < 0.03


def test_a_generator_gives_the_same_numbers_at_the_same_coordinates() -> None:
    first, second = (torch.rand(3, generator=generator(7, Stream.ORDER, 2)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_drawn_seed_follows_manual_seed_without_moving_the_generator() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    seed = seed_from_global_rng()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(1)
    assert seed_from_global_rng() != seed
    torch.manual_seed(4)
    assert seed_from_global_rng() == seed


def test_all_global_generators_are_put_back() -> None:
    def state() -> tuple[bytes, object, bytes]:
        return torch.get_rng_state().numpy().tobytes(), random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]

    def fails() -> None:
        with preserve_all_rng():
            torch.rand(1)
            random.random()
            np.random.rand()
            raise KeyboardInterrupt

    before = state()
    with pytest.raises(KeyboardInterrupt):
        fails()
    assert state() == before
