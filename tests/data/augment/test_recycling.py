"""Memory is used again when nothing refers to it, and not a moment earlier."""

import copy

import pytest
import torch
from torch import Tensor

from learnkit.data.augment import recycling
from learnkit.data.augment.recycling import empty


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "LARGE", 64)
    monkeypatch.setattr(recycling, "_free", [])


def test_a_tensor_of_its_shape_that_owns_its_numbers() -> None:
    x = empty(3, 7, 5)
    assert (x.shape, x.dtype, x.data_ptr() % 64) == ((3, 7, 5), torch.float32, 0)
    assert x.is_contiguous()
    x.fill_(2.0)
    assert copy.deepcopy(x).sum() == 2 * 3 * 7 * 5


def test_memory_is_used_again_when_the_tensor_is_gone() -> None:
    place = empty(64).data_ptr()
    again = empty(8, 8)
    assert again.data_ptr() == place
    assert empty(8, 8).data_ptr() != place


@pytest.mark.parametrize("keep", [lambda x: x[1], lambda x: x.view(-1), lambda x: x.numpy(), lambda x: x.detach()])
def test_memory_that_is_still_seen_is_not(keep: object) -> None:
    x = empty(8, 8)
    place = x.data_ptr()
    kept = keep(x)  # type: ignore[operator]
    del x
    assert empty(8, 8).data_ptr() != place
    del kept
    assert place in {one.data_ptr() for one in [empty(8, 8), empty(8, 8)]}


def test_memory_that_a_backward_pass_needs_is_not() -> None:
    x = empty(8, 8).fill_(3.0)
    place, weight = x.data_ptr(), torch.ones(8, requires_grad=True)
    loss = (x * weight).sum()
    del x
    other = empty(8, 8).fill_(0.0)
    assert other.data_ptr() != place
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [24.0] * 8


def test_other_sizes_take_new_memory_and_little_is_kept() -> None:
    kept: list[Tensor] = [empty(8, 8) for _ in range(5)]
    kept.clear()
    assert len(recycling._free) == recycling.KEPT
    assert empty(8, 9).shape == (8, 9)
    assert [len(block) for block in recycling._free] == [8 * 9 * 4 + recycling.ALIGNMENT]


def test_small_blocks_are_left_to_the_library() -> None:
    assert empty(3).shape == (3,)
    assert recycling._free == []
