"""Writes the golden files of a schema before its first release: `python -m tests.golden.write tests/golden/schemaN`.

After that they are never written again: they represent the files of users.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner, MultiLabel, Regression, Segmentation, cnn_learner


def images() -> list[Any]:
    """Three uint8 images (40, 30, 3)."""
    y, x, c = np.mgrid[0:40, 0:30, 0:3]
    return [((y * a + x * b + c * 50) % 256).astype(np.uint8) for a, b in ((1, 2), (7, 3), (11, 5))]


def rows() -> list[Any]:
    """Three inputs (4,)."""
    return list(torch.linspace(-1, 1, 12).view(3, 4))


def pixels() -> nn.Module:
    """(N, 1, H, W) -> (N, 3, H, W)."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))


def columns() -> nn.Module:
    """(N, 4) -> (N, 2)."""
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def learners(folder: Path) -> dict[str, tuple[Learner, list[Any]]]:
    """One of each task with what it predicts; the images of their data are written to the folder."""
    torch.manual_seed(0)
    files, masks = [], []
    for number in range(12):
        image = np.roll(images()[number % 3], number, axis=0)
        files.append(folder / f"{number}.png")
        masks.append(folder / f"mask{number}.png")
        Image.fromarray(image).save(files[-1])
        Image.fromarray(np.choose(image[:, :, 0] // 86, [0, 9, 255]).astype(np.uint8)).save(masks[-1])
    options: dict[str, Any] = {"bs": 4, "num_workers": 0, "device": "cpu", "seed": 0, "valid_pct": 0.3}
    small: dict[str, Any] = {"pretrained": False, "cut": 4, "seed": 0}

    kinds = ["Käfer", "bee", "cat"] * 4
    dls = ImageDataBunch.from_lists(folder, files, kinds, size=24, normalize="imagenet", **options)
    classify = cnn_learner(dls, "resnet18", lin_ftrs=[4], ps=[0.1, 0.2], **small)
    classify.fit(2, 1e-2)
    classify.temperature = 1.7

    labels = [["red"] if number % 2 else ["blue", "green"] for number in range(12)]
    task = MultiLabel(("red", "green", "blue"), (0.2, 0.95, 0.93))
    dls = ImageDataBunch.from_lists(folder, files, labels, size=(20, 24), resize="pad", task=task, **options)
    label = cnn_learner(dls, "resnet18", lin_ftrs=[], concat_pool=False, bn_final=True, **small)
    label.fit(2, 1e-2)

    codes = Segmentation({0: "sky", 9: "road", 255: "car"}, ignore_index=7)
    dls = ImageDataBunch.from_lists(
        folder, files, masks, size=6, resize="squish", channels=1, normalize=None, task=codes, **options
    )
    segment = Learner(dls, pixels(), seed=0)
    segment.fit(6, 3e-2)

    x = torch.randn(16, 4)
    prices = DataBunch.from_tensors(x, x[:, :2], x, x[:, :2], bs=4, task=Regression(("price", "area")), device="cpu")
    regress = Learner(prices, columns(), seed=0)
    regress.fit(2, 1e-2)

    gray = [image[:, :, 0] for image in images()]
    return {
        "classification": (classify, images()),
        "multilabel": (label, images()),
        "segmentation": (segment, gray),
        "regression": (regress, rows()),
    }


def main(folder: Path) -> None:
    expected: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as data:
        for name, (learn, items) in learners(Path(data)).items():
            learn.export(folder / f"{name}.lk", card="a golden file")
            preds = [learn.predict(item) for item in items]
            expected[name] = [{"label": np.asarray(p[0]).tolist(), "probs": p[2].tolist()} for p in preds]
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
