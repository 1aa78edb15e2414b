"""Random variables from uniform numbers, a batch as floats, and its chunks."""

import pytest
import torch

from learnkit.data.augment import random
from learnkit.data.augment.random import chunks, happens, log_ratio, noise, signed, to_float


def test_an_event_happens_below_its_probability() -> None:
    u = torch.tensor([0.0, 0.25, 0.5, 0.75])
    assert happens(u, 0.5).tolist() == [True, True, False, False]
    assert not happens(u, 0.0).any()
    assert happens(u, 1.0).all()


def test_numbers_become_signed() -> None:
    assert signed(torch.tensor([0.0, 0.25, 0.5, 0.75])).tolist() == [-1.0, -0.5, 0.0, 0.5]


def test_ratios_are_uniform_on_a_log_scale() -> None:
    ratios = log_ratio(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]), 0.75)
    torch.testing.assert_close(ratios, torch.tensor([0.25, 0.5, 1.0, 2.0, 4.0]))


def test_uint8_becomes_floats_and_floats_stay() -> None:
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(to_float(levels), torch.tensor([0.0, 0.2, 1.0]))
    x = torch.rand(3)
    assert to_float(x) is x


def sizes(x: torch.Tensor) -> list[int]:
    return [len(x[part]) for part in chunks(x)]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_chunks_fit_the_cache_and_have_an_item_per_thread(monkeypatch: pytest.MonkeyPatch, n_threads: int) -> None:
    monkeypatch.setattr(random, "CHUNK", 100)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    assert sizes(torch.zeros(12, 1, 4, 5)) == [5, 5, 2]
    assert sizes(torch.zeros(4, 1, 20, 20)) == ([1] * 4 if n_threads == 1 else [3, 1])
    assert sizes(torch.zeros(0, 1, 4, 5)) == []
    assert sizes(torch.zeros(12, 1, 4, 5, device="meta")) == [12]  # an accelerator


def test_noise_is_that_of_the_hash_it_is_named_after() -> None:
    """lowbias32 by Python's own integers."""
    keys, places = torch.tensor([[0.25, 0.5], [0.0, 2**-24]]), torch.tensor([[0, 1], [77, 10**6]], dtype=torch.int32)
    made = noise(keys, places)
    assert made.shape == (2, 2, 2)
    for (high, low), row in zip([(2**22, 2**23), (0, 1)], made.flatten(1).tolist(), strict=True):
        for place, number in zip(places.flatten().tolist(), row, strict=True):
            z = (place * 0x9E3779B9 + ((high << 8) % 2**32 ^ low)) % 2**32
            z = (z ^ z >> 16) * 0x7FEB352D % 2**32
            z = (z ^ z >> 15) * 0x846CA68B % 2**32
            assert number == ((z ^ z >> 16) >> 8) / 2**24


def test_noise_is_uniform() -> None:
    numbers = noise(torch.rand(2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(10**5).int())
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    assert (numbers.mean(1) - 0.5).abs().max() < 0.005
    assert (numbers.var(1) * 12 - 1).abs().max() < 0.02
    assert torch.corrcoef(numbers)[0, 1].abs() < 0.02
