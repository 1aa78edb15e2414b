"""Tensors of several processes put together; `room.py` checks it in each of them, here what one does alone."""

import pytest
import torch

from learnkit.distributed.exchange import gathered, in_order, together
from tests.distributed.launching import HERE, run


def test_two_processes_tell_each_other_everything() -> None:
    assert run(2, HERE / "room.py", LEARNKIT_DEVICE="cpu", LEARNKIT_TIMEOUT="120") == [0, 0]


@pytest.mark.slow
def test_three_processes_tell_each_other_everything() -> None:
    assert run(3, HERE / "room.py", LEARNKIT_DEVICE="cpu", LEARNKIT_TIMEOUT="120") == [0, 0, 0]


def test_alone_everything_is_as_it_was() -> None:
    rows = torch.randn(3, 2)
    assert gathered(rows)[0] is rows
    assert together([rows, rows]) == [[rows, rows]]
    assert in_order(rows, torch.arange(3)) is rows
