"""Files of every released schema go on loading, and give the answers that were written beside them.

The files are never made anew: they stand for those that users have.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.learner.load import load_learner

FOLDER = Path(__file__).parents[1] / "golden" / "schema1"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())


def pixels() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))


def columns() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def pictures() -> list[Any]:
    """Three uint8 pictures (40, 30, 3)."""
    y, x, c = np.mgrid[0:40, 0:30, 0:3]
    return [((y * a + x * b + c * 50) % 256).astype(np.uint8) for a, b in ((1, 2), (7, 3), (11, 5))]


@pytest.mark.parametrize(
    ("name", "model", "task", "items"),
    [
        ("registry_resnet18", None, Classification(("ant", "bee", "cat")), pictures()),
        ("registry_multilabel", None, MultiLabel(("red", "green", "blue"), (0.2, 0.5, 0.7)), pictures()),
        (
            "own_segmentation",
            pixels(),
            Segmentation({0: "sky", 9: "road", 255: "car"}, ignore_index=7),
            [picture[:, :, 0] for picture in pictures()],
        ),
        ("own_regression", columns(), Regression(("price", "area")), list(torch.linspace(-1, 1, 12).view(3, 4))),
    ],
)
def test_a_file_of_schema_1_gives_the_answers_it_gave(
    name: str, model: nn.Module | None, task: object, items: list[Any]
) -> None:
    learn = load_learner(FOLDER / f"{name}.lk", model=model, device="cpu")
    assert learn.dls.task == task
    for item, expected in zip(items, EXPECTED[name], strict=True):
        label, _, probabilities = learn.predict(item)
        wanted = torch.tensor(expected["probabilities"])
        assert probabilities.shape == wanted.shape
        assert torch.allclose(probabilities, wanted, rtol=0, atol=1e-6)
        if isinstance(task, Regression):
            assert label == pytest.approx(expected["label"], abs=1e-6)
        else:
            assert np.array_equal(label, expected["label"])


def test_every_golden_file_is_small_and_tested() -> None:
    files = list(FOLDER.glob("*.lk"))
    assert sorted(file.stem for file in files) == sorted(EXPECTED)
    assert all(file.stat().st_size < 300_000 for file in FOLDER.iterdir())
