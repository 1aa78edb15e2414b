"""The example of label cleaning: planted errors are found, corrected, and the accuracy rises."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "label_cleaning.py"


@pytest.mark.slow
def test_the_example_corrects_labels_and_gains_accuracy(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--out", str(tmp_path), "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    wrong, n, found, planted = map(int, re.search(r"(\d+) of (\d+) labels .* (\d+) are .* (\d+) are", text).groups())  # type: ignore[union-attr]
    assert (wrong, n) == (40, 400)
    assert planted >= 0.8 * wrong
    assert planted >= 0.5 * found
    left = int(re.search(r"after correction (\d+) labels", text)[1])  # type: ignore[index]
    assert left <= 0.5 * wrong
    before, after = map(float, re.search(r"accuracy (\S+) with .*, (\S+) with", text).groups())  # type: ignore[union-attr]
    assert after > before
    with (tmp_path / "issues.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found
    assert all(row["label"] == row["suggestion"] for row in rows)
