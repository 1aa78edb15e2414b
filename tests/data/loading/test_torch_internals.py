"""The private parts of torch's DataLoader: a torch without them fails here, by name."""

import ast
import inspect
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.data.dataloader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from learnkit.data.loading import torch_internals
from learnkit.data.loading.torch_internals import end_workers, forget_workers, state_without_workers, workers_of

SOURCE = Path(inspect.getfile(torch_internals))


def private_names(source: str) -> set[str]:
    """The private attributes that a module names, and those it asks for by `getattr` and `hasattr`."""
    tree = ast.walk(ast.parse(source))
    found = {node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", "") for node in tree}
    return {name for name in found if isinstance(name, str) and name.startswith("_") and name.isidentifier()}


@pytest.mark.parametrize("name", sorted(private_names(SOURCE.read_text(encoding="utf-8"))))
def test_torch_has_what_is_used_of_it(name: str) -> None:
    there = name in inspect.getsource(torch.utils.data.dataloader) or hasattr(torch._C, name) or hasattr(torch, name)
    assert there, f"torch {torch.__version__} has no {name}: learnkit/data/loading/torch_internals.py needs another way"


def test_the_private_names_are_found() -> None:
    assert private_names("loader._iterator = torch._C._x(getattr(it, '_workers', '_no name'))") == {
        "_C", "_iterator", "_workers", "_x"
    }  # fmt: skip
    assert {"_iterator", "_workers", "_worker_pids_set", "_remove_worker_pids", "_shutdown"} <= private_names(
        SOURCE.read_text(encoding="utf-8")
    )


def test_no_other_module_of_the_library_uses_them() -> None:
    names = private_names(SOURCE.read_text(encoding="utf-8")) - {"_C"}
    others = [file for file in SOURCE.parents[2].rglob("*.py") if file != SOURCE]
    assert [(file.name, name) for file in others for name in private_names(file.read_text()) & names] == []


class Sleepy(Dataset[Tensor]):
    """Twenty items; reading the last takes a minute."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Tensor:
        time.sleep(60 if index == 19 else 0)
        return torch.tensor(index)


def test_workers_are_known_ended_and_started_again() -> None:
    loader: DataLoader[Any] = DataLoader(Sleepy(), 1, num_workers=2, persistent_workers=True)
    assert list(workers_of(loader)) == []
    assert next(iter(loader)).tolist() == [0]
    workers = list(workers_of(loader))
    assert len(workers) == 2
    assert all(worker.is_alive() for worker in workers)
    assert state_without_workers(loader.__dict__)["_iterator"] is None
    assert state_without_workers(loader.__dict__)["batch_size"] == 1
    start = time.monotonic()
    end_workers(loader, timeout=5.0)
    assert time.monotonic() - start < 5
    assert not any(worker.is_alive() for worker in workers)
    assert list(workers_of(loader)) == []
    assert next(iter(loader)).tolist() == [0]
    assert not set(workers) & set(workers_of(loader))
    end_workers(loader, timeout=5.0)


def test_ending_a_loader_without_workers_does_nothing() -> None:
    loader: DataLoader[Any] = DataLoader(Sleepy(), 1)
    for none in (loader, [1, 2], None):
        end_workers(none, timeout=0.0)
    assert next(iter(loader)).tolist() == [0]


def test_forgotten_workers_live_on() -> None:
    loader: DataLoader[Any] = DataLoader(Sleepy(), 1, num_workers=1, persistent_workers=True)
    batches = iter(loader)
    forget_workers(loader)
    assert next(batches).tolist() == [0]
    assert list(workers_of(loader)) == []
    loader._iterator = batches  # type: ignore[assignment]
    end_workers(loader, timeout=5.0)
