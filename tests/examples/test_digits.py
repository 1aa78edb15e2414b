"""The example runs from start to end and leaves what it says it leaves."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.mark.slow
def test_the_digits_example(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--out", str(tmp_path / "out"), "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 0" in done.stdout
    assert "after loading digits.pth into a new learner" in done.stdout
    out = tmp_path / "out"
    pictures = {"batch", "lr_find", "losses", "schedule", "metrics", "confusion_matrix", "top_losses"}
    assert {path.stem for path in out.glob("*.png")} == pictures
    assert all(path.stat().st_size > 5000 for path in out.glob("*.png"))
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert float(rows[0]["accuracy"]) > 0.2  # twice as good as guessing
    assert len(list((out / "digits" / "7").glob("*.png"))) == 500
    assert (out / "models" / "digits.pth").exists()
