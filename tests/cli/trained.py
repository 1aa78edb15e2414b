"""Fixtures: a folder of a run, models of every task with their data, and the command itself."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from learnkit import ImageDataBunch, Points, cnn_learner, unet_learner
from learnkit.cli.main import main

COLORS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}
N = {"train": 3, "valid": 2}  # images per class
SMALL = {"size": 32, "bs": 3, "augment": False}


class Answer(NamedTuple):
    """What a command did."""

    code: int
    lines: list[str]  # of stdout
    err: str


class Model(NamedTuple):
    """A model and its data."""

    file: Path
    data: Path


Command = Callable[..., Answer]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `learnkit ...` in this process."""

    def run(*args: object) -> Answer:
        code = main(list(map(str, args)))
        out, err = capsys.readouterr()
        return Answer(code, out.splitlines(), err)

    return run


def draw(file: Path, color: tuple[int, int, int], seed: int, size: tuple[int, int] = (36, 40)) -> None:
    """An image of one color with noise, height and width."""
    pixels = np.random.default_rng(seed).normal(color, 20, (*size, 3))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The folder of a run of one step, whose images are {train,valid}/{blue,green,red}/N.png."""
    root = tmp_path_factory.mktemp("run")
    data, folder = root / "colors", root / "runs/a"
    for number, (split, n) in enumerate(N.items()):
        for label, color in COLORS.items():
            for i in range(n):
                draw(data / split / label / f"{i}.png", color, 10 * number + i)
    options = "--arch squeezenet1_1 --no-pretrained --size 32 --bs 9 --policy constant --epochs 1 --lr 1e-3 --seed 0"
    assert main(["train", str(data), *options.split(), "--no-report", "--out", str(folder)]) == 0
    return Model(folder, data)


@pytest.fixture(scope="session")
def multilabel(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of images with labels in labels.csv: sea and sky in any combination."""
    data = tmp_path_factory.mktemp("multilabel")
    rows = ["name,labels", "a.png,sea", "b.png,sea sky", "c.png,sky", "d.png,", "e.png,sea sky", "f.png,sky"]
    (data / "labels.csv").write_text("\n".join(rows))
    for i, row in enumerate(rows[1:]):
        draw(data / row.split(",")[0], (40 * i, 100, 200), i)
    dls = ImageDataBunch.from_csv(data, label_delim=" ", valid_pct=0, **SMALL)
    return Model(
        cnn_learner(dls, "squeezenet1_1", pretrained=False, metrics="default").export(data / "multilabel.lk"), data
    )


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of images with a number in labels.csv."""
    data = tmp_path_factory.mktemp("regression")
    (data / "labels.csv").write_text("name,age\n" + "".join(f"{i}.png,{i / 4}\n" for i in range(6)))
    for i in range(6):
        draw(data / f"{i}.png", (40 * i, 100, 200), i)
    dls = ImageDataBunch.from_csv(data, task="regression", valid_pct=0, **SMALL)
    return Model(
        cnn_learner(dls, "squeezenet1_1", pretrained=False, metrics="default").export(data / "regression.lk"), data
    )


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of images with one key point."""
    data = tmp_path_factory.mktemp("points")
    files = [data / f"{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        draw(file, (40, 100, 200), i)
    dls = ImageDataBunch.from_lists(data, files, [(5, 9)] * 4, task=Points(["nose"]), valid_pct=0.25, **SMALL)
    return Model(
        cnn_learner(dls, "squeezenet1_1", pretrained=False, metrics="default").export(data / "points.lk"), data
    )


@pytest.fixture(scope="session")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Of images with masks of two pixel values, 0 and 7."""
    data = tmp_path_factory.mktemp("masks")
    for split in ("train", "valid"):
        (data / "masks" / split).mkdir(parents=True)
        for i in range(2):
            draw(data / "images" / split / f"{i}.png", (40, 100, 200), i, (32, 32))
            values = np.full((32, 32), 7 * i, dtype=np.uint8)
            values[:8] = 7 * (1 - i)
            Image.fromarray(values).save(data / "masks" / split / f"{i}.png")
    dls = ImageDataBunch.from_folder_masks(
        data, masks=lambda image: f"masks/{image.parent.name}/{image.name}", codes={0: "ground", 7: "car"},
        **{**SMALL, "bs": 2},
    )  # fmt: skip
    return Model(
        unet_learner(dls, "squeezenet1_1", pretrained=False, metrics="default").export(data / "masks.lk"), data
    )
