"""Memory of get_preds beyond its result, measured in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, threading, time
import numpy as np, torch
from pathlib import Path
from torch import nn
from learnkit import DataBunch, Learner

torch.set_num_threads(1)
N = 200_000
x = torch.rand(N, 4)
dls = DataBunch.from_tensors(x[:600], torch.arange(600) % 100, x, torch.arange(N) % 100, bs=200, device="cpu")
learn = Learner(dls, nn.Linear(4, 100), seed=0)
learn.get_preds(with_loss=True, n_batch=3)

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def peak_of(work):
    seen, is_done = [anonymous()], threading.Event()
    def watch():
        while not is_done.is_set():
            seen.append(anonymous())
            time.sleep(0.002)
    thread = threading.Thread(target=watch)
    thread.start()
    kept = work()
    is_done.set()
    thread.join()
    return (max(seen) - seen[0]) / 1e6

out = np.lib.format.open_memmap(sys.argv[1], mode="w+", dtype=np.float32, shape=(N, 100))
def streamed():
    for preds, targets in learn.predict_iter():
        pass
found = {"stream": peak_of(streamed), "out": peak_of(lambda: learn.get_preds(out=out)),
         "gathered": peak_of(lambda: learn.get_preds(with_loss=True))}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_is_that_of_the_result_and_one_batch(tmp_path: Path) -> None:
    """200,000 x 100 float32 are 80 MB, their targets 1.6 MB, their losses 0.8 MB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "preds.npy")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["stream"] < 20
    assert found["out"] < 1.6 + 20
    assert found["gathered"] < 80 + 1.6 + 0.8 + 20
