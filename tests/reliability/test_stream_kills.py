"""Fits on a stream that are killed with SIGKILL within an epoch, and go on to the same bits."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from learnkit import pack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("litdata") is None, reason="litdata is not installed"),
]
SCRIPT = Path(__file__).parent / "stream_to_kill.py"


def run(stream: Path, *fits: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(stream), *fits]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def outcomes(stream: Path, loader: str, *fits: str) -> list[str]:
    """The hash at the end of each fit."""
    done = run(stream, loader, *fits)
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines()]


@pytest.fixture
def stream(class_folder: Path, tmp_path: Path) -> Path:
    """Six batches of 4 an epoch, in chunks of about 3 items."""
    return pack(class_folder, tmp_path / "stream", chunk_bytes="6KB").folder


def test_images_of_a_stream_go_on_to_the_same_bits_with_any_number_of_workers(stream: Path) -> None:
    fits = ["whole=0:0", "none=0:5,0:6,0:0", "two=2:3,2:9,2:0", "other=2:5,0:3,2:0"]
    whole, *broken = outcomes(stream, "images", *fits)
    assert broken == [whole] * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_litdatas_own_loader_goes_on_to_the_same_bits(stream: Path, workers: int) -> None:
    whole, broken = outcomes(stream, "litdata", f"whole={workers}:0", f"broken={workers}:5,{workers}:0")
    assert whole == broken


def test_a_stream_that_was_packed_anew_is_another_one(stream: Path, class_folder: Path, tmp_path: Path) -> None:
    other = pack(class_folder, tmp_path / "other", chunk_bytes="9KB").folder
    assert outcomes(stream, "images", "fit=0:0")
    (tmp_path / "fit" / "outcome.txt").unlink()
    done = run(other, "images", "fit=0:0")
    assert done.returncode == 1
    assert "belongs to another fit: data: train items" in done.stderr
