"""Who a process is: by the environment, alone, and in a process that was forked."""

import re
import subprocess
import sys

import pytest
import torch

from learnkit.distributed.world import World, span
from learnkit.errors import UsageError


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_a_launcher_a_process_is_alone(environment: pytest.MonkeyPatch) -> None:
    world = World()
    world.begin()
    assert (world.rank, world.size, world.local_rank, world.local_size) == (0, 1, 0, 1)
    assert world.is_first
    assert world.sums(2, 0.5) == [2, 0.5]
    assert world.agreed(3) == world.highest(3) == 3
    tensor = torch.ones(2)
    world.spread(tensor)
    world.check_same({"a": 1})
    world.wait()
    assert tensor.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 asks for 2 processes, but RANK, MASTER_ADDR, MASTER_PORT is not set"),
        ({"WORLD_SIZE": "two"}, "the environment variable WORLD_SIZE: got 'two'"),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
            "the environment variable RANK: got 2, expected 0 to 1",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "LEARNKIT_TIMEOUT": "10min"},
            "the environment variable LEARNKIT_TIMEOUT: got '10min', expected seconds, above 0",
        ),
        ({"WORLD_SIZE": "2", "RANK": "0", "LEARNKIT_TIMEOUT": "nan"}, "LEARNKIT_TIMEOUT: got 'nan'"),
    ],
)
def test_half_an_environment_is_refused(environment: pytest.MonkeyPatch, given: dict[str, str], message: str) -> None:
    """Never every process training on everything."""
    for name, value in given.items():
        environment.setenv(name, value)
    world = World()
    for _ in range(2):  # and refused again
        with pytest.raises(UsageError, match=re.escape(message)):
            world.begin()
    assert world.size == 1


@pytest.mark.slow
def test_a_learner_in_half_an_environment_is_refused() -> None:
    code = (
        "import os, torch; os.environ['WORLD_SIZE'] = '4'\n"
        "from learnkit import DataBunch, Learner\n"
        "x, y = torch.randn(8, 2), torch.arange(8) % 2\n"
        "DataBunch.from_tensors(x, y, x, y, bs=4)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "WORLD_SIZE=4 asks for 4 processes" in done.stderr
    assert "torchrun --nproc-per-node 4" in done.stderr


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 64])
def test_shares_are_even_and_leave_nothing_out(n: int, size: int) -> None:
    spans = [span(n, rank, size) for rank in range(size)]
    assert [i for start, stop in spans for i in range(start, stop)] == list(range(n))
    assert max(stop - start for start, stop in spans) - min(stop - start for start, stop in spans) <= 1


def test_a_thread_alone_is_one_process_again() -> None:
    world = World()
    world._size, world._rank = 3, 2
    with world.alone():
        with world.alone():
            assert (world.size, world.rank) == (1, 0)
        assert (world.size, world.rank) == (1, 0)
        assert not world.is_first  # files are still written by the first process
    assert (world.size, world.rank) == (3, 2)


@pytest.mark.parametrize(
    ("backends", "device", "is_refused"),
    [
        ("cpu:gloo", "cpu", False), ("cpu:gloo,cuda:nccl", "cuda", False), ("cpu:gloo", "mps", True),
        ("cpu:gloo,cuda:gloo", "xpu", True), ("cpu:gloo,xpu:xccl", "xpu", False),  # started by the user
    ],
)  # fmt: skip
def test_devices_that_processes_cannot_send_from_are_refused(
    backends: str, device: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.distributed.get_backend_config", lambda: backends)
    world = World()
    world.check_reaches(torch.device(device))  # alone
    world._size = 2
    if is_refused:
        with pytest.raises(UsageError, match=f"2 processes cannot train on {device}.*LEARNKIT_DEVICE=cpu"):
            world.check_reaches(torch.device(device))
    else:
        world.check_reaches(torch.device(device))
