"""Numbers that only grow: as a list, in less memory."""

import random
import tracemalloc

import pytest
import torch

from learnkit.callbacks import numbers
from learnkit.callbacks.numbers import Numbers
from learnkit.training.snapshot import Copies


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "BLOCK", 4)


VALUES = [0.1, 0.2, 0.3, 0.4, *[7.0] * 4, *[float("inf")] * 3, 0.5, 0.25, 1e300, -1.5, 3.0, 9.0]  # the last is a rest


@pytest.mark.usefixtures("short_blocks")
def test_they_read_as_a_list() -> None:
    found = Numbers(VALUES)
    assert found == VALUES
    assert found != VALUES[:-1]
    assert found != [*VALUES[:-1], 8.0]
    assert list(found) == VALUES
    assert repr(found) == repr(VALUES)
    assert [found[k] for k in range(-len(VALUES), len(VALUES))] == VALUES * 2
    assert [found[2:9], found[-3:], found[::5]] == [VALUES[2:9], VALUES[-3:], VALUES[::5]]
    for outside in (len(VALUES), -len(VALUES) - 1):
        with pytest.raises(IndexError):
            found[outside]


@pytest.mark.usefixtures("short_blocks")
def test_a_block_of_nan_stays_nan() -> None:
    found = Numbers([float("nan")] * 4 + [1.0])
    assert [value != value for value in found] == [True] * 4 + [False]


@pytest.mark.usefixtures("short_blocks")
def test_full_blocks_are_saved_as_they_are_and_the_rest_is_copied() -> None:
    found, again, copies = Numbers(VALUES), Numbers(), Copies()
    first = copies.take(found.state_dict())
    found.append(10.0)
    second = copies.take(found.state_dict())
    assert [a is b for a, b in zip(first["blocks"], second["blocks"], strict=True)] == [True] * 4
    again.load_state_dict(second)
    assert again == [*VALUES, 10.0] == found
    again.append(11.0)
    assert len(found) == len(VALUES) + 1


@pytest.mark.usefixtures("short_blocks")
def test_single_precision_is_used_where_it_is_exact() -> None:
    def kept(*values: float) -> tuple[torch.dtype, int]:
        (block,) = Numbers(values).state_dict()["blocks"]
        return block.tensor.dtype, len(block.tensor)

    assert kept(0.5, 0.25, 3.0, 1.0) == (torch.float32, 4)
    assert kept(0.1, 0.25, 3.0, 1.0) == (torch.float64, 4)
    assert kept(0.1, 0.1, 0.1, 0.1) == (torch.float64, 1)
    assert kept(*[float("nan")] * 4) == (torch.float64, 1), "the momentum of an optimizer without it"


def test_a_number_takes_eight_bytes_or_fewer() -> None:
    draw = random.Random(0)
    tracemalloc.start()
    found = Numbers()
    for _ in range(numbers.BLOCK + 1000):
        found.append(draw.random())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (block,) = found.state_dict()["blocks"]
    assert held + block.tensor.nbytes < 8.5 * len(found)  # torch's memory is not traced
