"""Shared by the tests of exports: a small network, its export, and files forged with correct checksums."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from learnkit import Classification
from learnkit.losses.activations import softmax
from learnkit.models.spec import BackboneSpec
from learnkit.persistence.lk.file import write_export
from learnkit.persistence.lk.manifest import seal
from learnkit.persistence.spec import ExportSpec

Forge = Callable[..., Path]


class MyNet(nn.Sequential):
    """(N, 4) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def manifest_in(path: Path) -> dict[str, Any]:
    """The manifest in an export, found as docs/export.md describes."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["learnkit"])  # type: ignore[no-any-return]


def forged(file: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy with a forged manifest and correct checksums, as an attacker would make it."""
    manifest = copy.deepcopy(manifest_in(file))
    change(manifest)
    path = file.with_name("forged.lk")
    path.write_bytes(save(load(file.read_bytes()), {"learnkit": seal(manifest)}))
    return path


@pytest.fixture
def net() -> nn.Module:
    """A custom network with unique weights and statistics."""
    torch.manual_seed(0)
    net = MyNet()
    net(torch.randn(16, 4))
    return net.eval()


@pytest.fixture
def spec(net: nn.Module) -> ExportSpec:
    """What a learner of it would export."""
    task = Classification(("ant", "bee", "cat"))
    training = {"epochs": 0, "metrics": {}}
    return ExportSpec(net, (4,), task, activation=softmax, loss_name="cross_entropy", training=training)


@pytest.fixture
def lk(tmp_path: Path, spec: ExportSpec) -> Path:
    """Its export."""
    write_export(tmp_path / "model.lk", spec)
    return tmp_path / "model.lk"


@pytest.fixture
def forge(lk: Path) -> Forge:
    """Forges the export: `forge(change)`."""
    return lambda change: forged(lk, change)


@pytest.fixture
def squeeze() -> BackboneSpec:
    """The network of learnkit's table that is built fastest."""
    return BackboneSpec("squeezenet1_1", 3, lin_ftrs=())
