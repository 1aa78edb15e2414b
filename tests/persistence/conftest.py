"""What the tests of exports have in common: a small network, its manifest, and files forged with right checksums."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.atomic_files import write_atomically
from learnkit.data.tasks import Classification
from learnkit.models import BackboneSpec
from learnkit.persistence.lk.archive import write_members
from learnkit.persistence.lk.file import spec_parts, write_export
from learnkit.persistence.lk.manifest import sealed, started, versions
from learnkit.persistence.lk.schema import Inputs, written_inputs, written_task
from learnkit.persistence.lk.tensors import chunks, digest, table_of

Forge = Callable[..., Path]


class MyNet(nn.Sequential):
    """(N, 4) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def net() -> nn.Module:
    """A network of the user's own with weights and statistics that no other has."""
    torch.manual_seed(0)
    net = MyNet()
    net(torch.randn(16, 4))
    return net.eval()


@pytest.fixture
def manifest() -> dict[str, Any]:
    """Its manifest, without `weights`."""
    return {
        **started(),
        **written_task(Classification(("ant", "bee", "cat"))),
        **spec_parts(None, "MyNet", 3),
        "transforms": written_inputs(Inputs(None, (4,))),
        "loss": {"name": "cross_entropy", "activation": "softmax"},
        "temperature": 1.0,
        "versions": versions(),
        "training": {"epochs": 0, "metrics": {}},
        "card": "",
    }


@pytest.fixture
def lk(tmp_path: Path, net: nn.Module, manifest: dict[str, Any]) -> Path:
    """A file of the two."""
    path = tmp_path / "model.lk"
    write_atomically(path, lambda file: write_export(file, manifest, net))
    return path


@pytest.fixture
def forge(tmp_path: Path, net: nn.Module, manifest: dict[str, Any]) -> Forge:
    """Writes a file whose manifest says what the test wants, with every checksum right, as an attacker would."""

    def forge(change: Callable[[dict[str, Any]], Any], model: nn.Module = net, **parts: Any) -> Path:
        state = model.state_dict()
        table = table_of(state)
        found = digest(chunks(state, table))
        tensors = {name: [list(shape), kind] for name, (shape, kind) in table.items()}
        weights = {"file": "weights.safetensors", "bytes": found.size, "sha256": found.sha256, "tensors": tensors}
        content = copy.deepcopy({**manifest, "weights": weights, **parts})
        change(content)
        path = tmp_path / "forged.lk"
        with path.open("wb") as file:
            write_members(file, sealed(content), chunks(state, table), found.size, found.crc or 0)
        return path

    return forge


@pytest.fixture
def squeeze() -> BackboneSpec:
    """The network of learnkit's table that is built soonest."""
    return BackboneSpec("squeezenet1_1", 3, lin_ftrs=())
