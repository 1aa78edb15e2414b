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


def run(folder: Path, device: torch.device, *launcher: str) -> None:
    script = folder / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, *launcher, str(script), device.type, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_two_processes_train_and_predict_as_one(device: torch.device, tmp_path: Path) -> None:
    pytest.importorskip("learnkit.distributed")
    run(tmp_path, device)
    run(tmp_path, device, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
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
