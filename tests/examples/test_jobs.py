"""The examples of whole jobs do them: folds and their mean, features, several processes, a service."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from learnkit import load_learner
from tests.examples.test_lessons import EXAMPLES, run

pytestmark = pytest.mark.slow


def numbers(pattern: str, said: str) -> list[float]:
    """The groups of a pattern, which is there once."""
    (found,) = re.findall(pattern, said)
    return [float(number) for number in (found if isinstance(found, tuple) else (found,))]


def test_k_fold_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEARNKIT_PHOTOS", raising=False)
    said = run("k_fold_ensemble", tmp_path)
    [honest] = numbers(r"out of fold: accuracy ([\d.]+)", said)
    single, _, _, mean = numbers(r"single models ([\d.]+) \(([\d.]+) to ([\d.]+)\), of their mean ([\d.]+)", said)
    [flattered] = numbers(r"both sides: accuracy ([\d.]+)", said)
    assert mean > single > 0.5
    assert abs(honest - single) < abs(flattered - single)
    assert flattered > honest + 0.03
    [difference] = numbers(r"differ by at most ([\d.e+-]+)", said)
    assert difference < 1e-6
    table = pd.read_csv(tmp_path / "out-of-fold.csv")
    assert len(table) == 360
    assert table["input"].is_unique
    preds = table.filter(like="p_")
    assert np.allclose(preds.sum(axis=1), 1, atol=1e-5)
    right = preds.idxmax(axis=1).str.removeprefix("p_") == table["target"]
    assert right.mean() == pytest.approx(honest, abs=5e-4)
    assert len(list(tmp_path.glob("fold-*.lk"))) == 3


def test_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEARNKIT_PHOTOS", raising=False)
    said = run("embeddings", tmp_path)
    assert np.load(tmp_path / "features.npy").shape == (203, 1600)
    [share] = numbers(r"same class for ([\d.]+)%", said)
    assert share > 40  # by chance 10
    assert "5 of the 5 planted doubles are among the pairs" in said
    assert "the three farthest images: checkers, noise, white\n" in said
    [probe] = numbers(r"linear probe: accuracy ([\d.]+)", said)
    assert probe > 0.6
    for name in ("neighbors", "near-duplicates", "map"):
        assert (tmp_path / f"{name}.png").stat().st_size > 8000


def test_one_process_and_two_print_the_same_loss(tmp_path: Path) -> None:
    alone = run("distributed_training", tmp_path / "one")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [EXAMPLES / "distributed_training.py", "--tiny", "--out", tmp_path / "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LEARNKIT_DEVICE": "cpu"}
    done = subprocess.run(
        [*command, *script], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    pattern = r"(\d) processes on \w+: loss ([\d.]+), accuracy ([\d.]+)"
    one, two = numbers(pattern, alone), numbers(pattern, done.stdout)  # by the first process alone
    assert (one[0], two[0]) == (1, 2)
    assert one[1:] == pytest.approx(two[1:], abs=2e-5)
    assert one[1] < 2.25  # ln 10 = 2.30 is no training
    weights = [load_weights(tmp_path / name / "digits.lk") for name in ("one", "two")]
    assert np.allclose(*weights, atol=1e-4)


def load_weights(file: Path) -> np.ndarray:
    """All numbers of an export of this example's network."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from distributed_training import network
    finally:
        sys.path.remove(str(EXAMPLES))
    tensors = load_learner(file, model=network(10)).model.state_dict().values()
    return np.concatenate([tensor.cpu().numpy().ravel() for tensor in tensors])


def test_serving(tmp_path: Path) -> None:
    for package in ("fastapi", "uvicorn", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    said = run("serving", tmp_path)
    host, port = re.search(r"answers at http://([\d.]+):(\d+)", said).groups()  # type: ignore[union-attr]
    assert len(re.findall(r"^\d{4}\.png: \d \(", said, re.MULTILINE)) == 5
    ways = dict(re.findall(r"^(\w+): the same labels, probabilities within (\S+)$", said, re.MULTILINE))
    assert ways.keys() == {"load_learner", "HTTP", "onnxruntime"}
    assert float(ways["load_learner"]) == 0
    assert max(map(float, ways.values())) < 1e-3
    assert (tmp_path / "service.log").read_text().count("POST /predict") == 5
    with socket.socket() as probe:  # the service has ended
        assert probe.connect_ex((host, int(port))) != 0
