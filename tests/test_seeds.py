"""Numbers from coordinates: equal or unrelated, as they must be."""

import random

import numpy as np
import pytest
import torch

from learnkit.seeds import (
    Stream,
    derive,
    device_rng_state,
    generator,
    preserve_all_rng,
    preserve_rng,
    rng_state,
    seed_all,
    seed_from_global_rng,
    seed_generators,
    set_device_rng_state,
    set_rng_state,
    uniforms,
)
from tests.doubles import Accelerators

# The first outputs of splitmix64.c (Vigna, https://prng.di.unimi.it/splitmix64.c), as Rosetta Code publishes them for
# the seed 1234567 ("Pseudo-random numbers/Splitmix64"), and as generators that are seeded by it test it for the seed 0.
PUBLISHED = {
    1234567: [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ],
    0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC, 0x1B39896A51A8749B],
}
STREAMS = {
    "ORDER": 1, "AUGMENT": 2, "STEP": 3, "INIT": 4, "SPLIT": 5, "LR_FIND": 6, "CROP": 7, "ITEM": 8, "VALID": 9,
}  # fmt: skip


def splitmix64(seed: int, number: int) -> int:
    """Output `number` of that generator, the first being 1."""
    z = (seed + number * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


@pytest.mark.parametrize("seed", PUBLISHED)
def test_the_reference_has_the_published_outputs(seed: int) -> None:
    assert [splitmix64(seed, number) for number in range(1, 6)] == PUBLISHED[seed]


def test_the_numbers_of_the_streams_stay() -> None:
    """A different number changes order, augmentation and split of every seeded run."""
    assert {stream.name: stream.value for stream in Stream} == STREAMS


@pytest.mark.parametrize("seed", PUBLISHED)
def test_a_seed_is_the_published_output_without_its_last_bit(seed: int) -> None:
    """Stream k takes output 2 k + 1."""
    assert derive(seed, Stream.ORDER) == PUBLISHED[seed][2] >> 1
    assert derive(seed, Stream.AUGMENT) == PUBLISHED[seed][4] >> 1


@pytest.mark.parametrize("stream", Stream)
def test_each_coordinate_continues_from_the_output_of_the_previous_one(stream: Stream) -> None:
    first = splitmix64(42, 2 * stream + 1)
    assert derive(42, stream) == first >> 1
    assert derive(42, stream, 0) == splitmix64(first, 1) >> 1
    assert derive(42, stream, 3, 1) == splitmix64(splitmix64(first, 7), 3) >> 1
    assert derive(2**64 + 42, stream) == derive(42, stream)


def test_uniform_numbers_are_the_upper_24_bits_of_outputs() -> None:
    base = derive(5, Stream.CROP, 3)
    expected = [[(splitmix64(splitmix64(base, i), j) >> 40) / 2**24 for j in (1, 2, 3)] for i in (0, 9, 70_000)]
    assert uniforms(5, Stream.CROP, 3, [0, 9, 70_000], 3).tolist() == expected


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


def test_a_generator_is_seeded_with_the_seed_of_its_coordinates() -> None:
    expected = torch.rand(3, generator=torch.Generator().manual_seed(derive(7, Stream.ORDER, 2)))
    assert torch.equal(torch.rand(3, generator=generator(7, Stream.ORDER, 2)), expected)


def test_a_drawn_seed_follows_manual_seed_without_advancing_the_generator() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    seed = seed_from_global_rng()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(1)
    assert seed_from_global_rng() != seed
    torch.manual_seed(4)
    assert seed_from_global_rng() == seed


def test_all_global_generators_are_restored() -> None:
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


def drawn() -> tuple[float, float, float, float]:
    return torch.rand(1).item(), random.random(), np.random.rand(), np.random.randn()


def test_one_seed_is_for_all_three_generators() -> None:
    with preserve_all_rng():
        torch.manual_seed(2**33 + 5)
        random.seed(2**33 + 5)
        np.random.seed(5)  # NumPy takes 32 bits
        expected = drawn()
        drawn()
        seed_all(2**33 + 5)
        assert drawn() == expected


def test_generators_continue_where_their_state_was_read() -> None:
    with preserve_all_rng():
        seed_all(1)
        drawn()
        random.gauss(0, 1)  # leaves half a pair of numbers in the state, as NumPy's randn does
        state = rng_state()
        expected = *drawn(), random.gauss(0, 1)
        seed_all(2)
        set_rng_state(state)
        assert (*drawn(), random.gauss(0, 1)) == expected


def test_torchs_generator_is_restored_after_an_error_too() -> None:
    def fails() -> None:
        with preserve_rng():
            torch.rand(1)
            raise KeyboardInterrupt

    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        fails()
    assert torch.equal(torch.get_rng_state(), before)


def test_only_the_generator_of_exactly_this_device_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, device = Accelerators(monkeypatch, "xpu", n=3), torch.device("xpu:1")
    before = [one.get_state() for one in machine.generators]
    with preserve_rng():
        seed_generators(7, device)
        assert torch.initial_seed() == 7
    assert machine.generators[1].initial_seed() == 7
    for i in (0, 2):
        assert torch.equal(machine.generators[i].get_state(), before[i])


def test_a_device_with_one_generator_is_seeded_through_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Accelerators(monkeypatch, "mps", n=1)
    del machine.module.default_generators
    with preserve_rng():
        seed_generators(8, torch.device("mps:0"))
    assert machine.generators[0].initial_seed() == 8


def test_the_state_of_exactly_this_device_is_read_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, device = Accelerators(monkeypatch, "cuda", n=2), torch.device("cuda:1")
    before = [one.get_state() for one in machine.generators]
    state = device_rng_state(device)
    for one in machine.generators:
        one.manual_seed(0)
    set_device_rng_state(state, device)
    assert torch.equal(machine.generators[1].get_state(), before[1])
    assert not torch.equal(machine.generators[0].get_state(), before[0])


@pytest.mark.parametrize("name", ["cpu", "meta"])
def test_a_device_without_generators_of_its_own_has_no_state(name: str) -> None:
    before = torch.get_rng_state()
    assert device_rng_state(torch.device(name)) is None
    set_device_rng_state(None, torch.device(name))
    assert torch.equal(torch.get_rng_state(), before)
    with preserve_rng():
        seed_generators(3, torch.device(name))
        assert torch.initial_seed() == 3
