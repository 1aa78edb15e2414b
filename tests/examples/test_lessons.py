"""The examples that do what tutorials teach by hand run from start to end, and leave what they announce."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


def run(name: str, out: Path, *arguments: str) -> str:
    """What a tiny run of an example prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--tiny", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("own", [False, True])
def test_resnet_from_scratch(tmp_path: Path, own: bool) -> None:
    said = run("resnet_from_scratch", tmp_path, *(["--own"] if own else []))
    n_weights = int(re.search(r"parameters: ([\d,]+)", said)[1].replace(",", ""))  # type: ignore[index]
    # torchvision's ResNet-18 without its last layer, and the two of the head
    assert n_weights == 11_176_512 + 512 * 256 + 256 + 256 * 10 + 10
    assert (tmp_path / "model" / "best.pt").exists()
    assert list((tmp_path / "logs").rglob("events*"))
    assert "epoch 1" in said


def test_surgery_and_saving(tmp_path: Path) -> None:
    said = run("surgery_and_saving", tmp_path)
    assert (tmp_path / "method1.pth").exists()
    assert (tmp_path / "method2.pth").exists()
    assert re.search(r"^(crimson|navy|seagreen|gold|purple) (disk|square): \d+%$", said, re.MULTILINE)


def test_idx_files_train_alike_by_hand_and_with_a_learner(tmp_path: Path) -> None:
    said = run("idx_files", tmp_path)
    by_hand, with_learner = re.findall(r"(?:by hand|with a learner).*loss ([\d.]+), accuracy ([\d.]+)%", said)
    assert by_hand == with_learner
    assert (tmp_path / "digits.onnx").exists()


def test_losses_for_masks(tmp_path: Path) -> None:
    said = run("losses_for_masks", tmp_path)
    assert len(re.findall(r"Dice score \d\.\d{3}$", said, re.MULTILINE)) == 4
    assert (tmp_path / "found.png").stat().st_size > 3000
