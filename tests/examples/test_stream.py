"""The example of a stream: packed, trained on, killed, and gone on with."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "stream.py"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("litdata") is None, reason="litdata is not installed")
def test_the_example_ends_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--out", str(tmp_path / "out"), "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("packed 4,000 training images into ")
    assert "killed" in lines
    assert lines[-1] == "the same weights"
