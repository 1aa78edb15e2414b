"""Folders of images for the commands, small enough to train on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learnkit.cli.main import main
from tests.cli.trained import command, masks, multilabel, points, regression, run

__all__ = ["command", "masks", "multilabel", "points", "regression", "run"]  # fixtures

Run = Callable[..., tuple[int, str, str]]
COLORS = {"blue": (40, 60, 200), "red": (210, 50, 40)}
N = {"train": 4, "valid": 2}  # images of each class


def draw(file: Path, color: tuple[int, ...], seed: int) -> None:
    """A color with noise, 24 x 24."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 20, (24, 24, 3))
    Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8)).save(file)


@pytest.fixture
def learnkit(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `learnkit ...` in this process: exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(list(map(str, words)))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """photos/{train,valid}/{blue,red}/0.png…"""
    for split, n in N.items():
        for color, rgb in COLORS.items():
            for number in range(n):
                draw(tmp_path / "photos" / split / color / f"{number}.png", rgb, number)
    return tmp_path / "photos"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """flat/images/blue_0.png…, and labels.csv: name, color, number, tags, is_valid."""
    lines = ["name,color,number,tags,is_valid"]
    for color, rgb in COLORS.items():
        for number in range(6):
            draw(tmp_path / "flat/images" / f"{color}_{number}.png", rgb, number)
            tags = f"{color} dark" if number % 2 else color
            lines.append(f"{color}_{number},{color},{number + 0.5},{tags},{number >= 4}")
    (tmp_path / "flat/labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "flat"


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """scenes/images/{train,valid}/0.png…, masks in scenes/masks/0_mask.png: the left half 0, the right 1, a 9 pixel."""
    for split, numbers in (("train", range(4)), ("valid", range(4, 6))):
        for number in numbers:
            draw(tmp_path / "scenes/images" / split / f"{number}.png", COLORS["red"], number)
            mask = np.zeros((24, 24), np.uint8)
            mask[:, 12:] = 1
            mask[0, 0] = 9
            (tmp_path / "scenes/masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / "scenes/masks" / f"{number}_mask.png")
    return tmp_path / "scenes"
