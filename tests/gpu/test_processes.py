"""Two processes of torchrun, on one GPU if there is only one, compute what one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCRIPT = """
import json, os, sys, torch
from torch import nn
from learnkit import DataBunch, Learner
from learnkit.callbacks import EMA

torch.set_num_threads(1)
where, out = sys.argv[1:]
drawn = torch.Generator().manual_seed(0)
x, y = torch.randn(64, 2, generator=drawn), torch.arange(64) % 2
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
n_items = 0
def count(module, inputs, output):
    global n_items
    n_items += len(output) * module.training
learn = Learner(DataBunch.from_tensors(x, y, x[:33], y[:33], bs=16, device=where), model, metrics="accuracy", seed=0)
model.register_forward_hook(count)
learn.fit(3, 1e-2, callbacks=EMA(0.9))
found = {"losses": list(learn.recorder.losses), "valid": learn.validate(), "preds": learn.get_preds()[0].tolist(),
    "weights": model[0].weight.tolist(), "device": str(learn.dls.device), "n_items": n_items}
with open(f"{out}/{os.environ.get('RANK', 'alone')}.json", "w") as file:
    json.dump(found, file)
"""


# Batches of which both have some items, and batches of one item, of which only the first process has one.
WITH_BATCH_NORM = """
import json, os, sys, torch
import pytest
from torch import nn
from learnkit import DataBunch, Learner
from tests.distributed.norm_kernels import synchronize_on_the_cpu
from tests.doubles import acting

torch.set_num_threads(1)
where, out = sys.argv[1:]
if where == "cpu":  # torch's layer runs on accelerators alone
    kept = synchronize_on_the_cpu(pytest.MonkeyPatch())
found = {}
for sizes in ([8, 8, 3], [1] * 6):
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        x, y = torch.randn(sum(sizes), 3, 6, 6), torch.arange(sum(sizes)) % 2
        batches = list(zip(x.split(sizes), y.split(sizes)))
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
        model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), *head)
        dls = DataBunch.from_loaders(batches, batches, classes=["a", "b"], device=where)
        learn = Learner(dls, model, seed=0, opt_func="sgd")
        if precision == "bf16":
            learn.to_bf16()
        norms = []
        note = acting(after_batch=lambda state: norms.append(type(state.model[1]).__name__))
        learn.fit(2, 0.1, callbacks=note)
        found[f"{len(sizes)} batches, {precision}"] = {"losses": list(learn.recorder.losses), "valid": learn.validate(),
            "weights": [tensor.flatten().tolist() for tensor in model.state_dict().values()], "norms": norms}
with open(f"{out}/{os.environ.get('RANK', 'alone')}.json", "w") as file:
    json.dump(found, file)
"""


def run(folder: Path, device: torch.device, *launcher: str, code: str = SCRIPT) -> None:
    script = folder / "train.py"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, *launcher, str(script), device.type, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_two_processes_train_and_predict_as_one(device: torch.device, tmp_path: Path) -> None:
    pytest.importorskip("learnkit.distributed")
    run(tmp_path, device)
    run(tmp_path, device, *TWO)
    alone, ranks = read(tmp_path, "alone"), [read(tmp_path, rank) for rank in "01"]
    assert sum(rank["n_items"] for rank in ranks) == alone["n_items"] == 3 * 64, "each trains on its part"
    for rank in ranks:
        assert rank["losses"] == pytest.approx(alone["losses"], abs=1e-5)
        assert rank["valid"] == pytest.approx(alone["valid"], abs=1e-5)
        for what in ("preds", "weights"):
            torch.testing.assert_close(torch.tensor(rank[what]), torch.tensor(alone[what]), atol=1e-5, rtol=1e-5)
    if device.type == "cuda":
        n = torch.cuda.device_count()
        assert [rank["device"] for rank in ranks] == [f"cuda:{rank % n}" for rank in range(2)]


def test_batch_norm_is_that_of_the_items_of_both(device: torch.device, tmp_path: Path) -> None:
    """On one GPU they meet through gloo, on two through NCCL; an item that only keeps one in step does not count."""
    run(tmp_path, device, code=WITH_BATCH_NORM)
    run(tmp_path, device, *TWO, code=WITH_BATCH_NORM)
    alone, ranks = read(tmp_path, "alone"), [read(tmp_path, rank) for rank in "01"]
    for name, one in alone.items():
        close = 1e-4 if "fp32" in name else 0.1
        for rank in ranks:
            found = rank[name]
            assert set(found["norms"]) == {"SharedNorm"}
            assert found["losses"] == pytest.approx(one["losses"], abs=close), name
            assert found["valid"] == pytest.approx(one["valid"], abs=close), name
            for got, expected in zip(found["weights"], one["weights"], strict=True):
                assert got == pytest.approx(expected, abs=close), name
