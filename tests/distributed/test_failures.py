"""Errors of processes that train together, without others; `room.py` and `test_faults.py` have them with others."""

import pytest

from learnkit.distributed import failures
from learnkit.distributed.failures import told
from learnkit.distributed.world import World
from learnkit.errors import ProcessError


class Store:
    """The values by name that processes share, of one process that sees what others have told."""

    def __init__(self, **values: str) -> None:
        self.values = values

    def set(self, name: str, text: str) -> None:
        self.values[name] = text

    def check(self, names: list[str]) -> bool:
        return all(name in self.values for name in names)

    def get(self, name: str) -> bytes:
        return self.values[name].encode()


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> World:
    """The last of three processes, that need not wait for the others long."""
    world = World()
    world._size, world._rank, world.timeout = 3, 2, 7.0
    world.store = Store()
    monkeypatch.setattr(failures, "world", world)
    monkeypatch.setattr(failures, "PATIENCE", 0.3)
    return world


def broken() -> None:
    with told(lambda: "epoch 1, batch 2"):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer [127.0.0.1]:1")


def test_alone_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        broken()


def test_an_own_error_is_told(third: World) -> None:
    with pytest.raises(ValueError, match="mine"), told():
        raise ValueError("mine")
    assert third.store.values == {"error/2": "ValueError: mine"}


def test_the_error_of_another_process_is_named(third: World) -> None:
    third.store.values["error/0"] = "OSError: no space left"
    with pytest.raises(
        ProcessError, match=r"process 2 of 3 cannot go on \(epoch 1, batch 2\): process 0 failed: OSErr"
    ):
        broken()


def test_processes_that_do_not_arrive_are_named(third: World) -> None:
    third.store.values["waits/0"] = "epoch 1, batch 2"
    with pytest.raises(ProcessError, match="process 1 did not arrive within 7 s, or ended") as caught:
        broken()
    assert "Connection closed by peer" in str(caught.value)
    assert "waits/2" in third.store.values
    del third.store.values["waits/0"]
    with pytest.raises(ProcessError, match="processes 0 and 1 did not arrive"):
        broken()


def test_without_a_store_nobody_is_blamed(third: World) -> None:
    third.store = None
    with pytest.raises(ProcessError, match="another process ended or does not answer"):
        broken()
