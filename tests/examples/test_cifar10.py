"""The speed recipe runs from start to end, and its transform moves pixels as it says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit.data.augment.warp import warp
from tests.doubles import script_module

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10.py"


def folder_of_two_colors(root: Path) -> Path:
    """train/ and test/ with reddish and bluish noise, 24 and 8 images of 32 x 32 pixels a class."""
    numbers = np.random.default_rng(0)
    for split, n in (("train", 24), ("test", 8)):
        for channel, label in ((0, "red"), (2, "blue")):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = numbers.integers(0, 100, (32, 32, 3), dtype=np.uint8)
                pixels[..., channel] += 120
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.mark.slow
def test_the_example_learns_two_colors(tmp_path: Path) -> None:
    data = folder_of_two_colors(tmp_path / "colors")
    command = [sys.executable, str(EXAMPLE), "--data", str(data), "--epochs", "4", "--bs", "16", "--width", "8"]
    done = subprocess.run(
        [*command, "--device", "cpu", "--lr", "0.1"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.split("with test-time augmentation ")[1].split()[0])
    assert accuracy == 1.0, done.stdout
    assert "training images a second" in done.stdout


def test_a_shift_moves_whole_pixels_and_mirrors_what_is_beyond_the_border() -> None:
    example = script_module(EXAMPLE)
    x = torch.rand(2, 3, 6, 8)
    numbers = torch.tensor([[0.0, 0.5], [0.99, 0.99]])  # of 3 * 2 + 1 places: the first, the middle; the last
    moved = warp(x.clone(), example.Shift(3).matrices(numbers, 6, 8))
    mirrored = np.pad(x.numpy(), [(0, 0), (0, 0), (3, 3), (3, 3)], mode="symmetric")
    torch.testing.assert_close(moved[0], torch.from_numpy(mirrored[0, :, 3:9, 0:8]))
    torch.testing.assert_close(moved[1], torch.from_numpy(mirrored[1, :, 6:12, 6:14]))
