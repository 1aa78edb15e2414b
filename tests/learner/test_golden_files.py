"""Files of every released schema can be loaded, and predict what was written down with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import Classification, MultiLabel, Regression, Segmentation, load_learner
from learnkit.data.image.preprocess import IMAGENET
from tests.golden.write import columns, images, pixels, rows

FOLDER = Path(__file__).parents[1] / "golden" / "schema1"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize(
    ("name", "model", "task", "items"),
    [
        ("classification", None, Classification(("Käfer", "bee", "cat")), images()),
        ("multilabel", None, MultiLabel(("red", "green", "blue"), (0.2, 0.95, 0.93)), images()),
        (
            "segmentation",
            pixels(),
            Segmentation({0: "sky", 9: "road", 255: "car"}, ignore_index=7),
            [image[:, :, 0] for image in images()],
        ),
        ("regression", columns(), Regression(("price", "area")), rows()),
    ],
)
def test_a_file_of_schema_1_predicts_what_it_predicted(
    name: str, model: nn.Module | None, task: object, items: list[Any]
) -> None:
    learn = load_learner(FOLDER / f"{name}.lk", model=model, device="cpu")
    assert learn.dls.task == task
    for item, expected in zip(items, EXPECTED[name], strict=True):
        label, _, probs = learn.predict(item)
        wanted = torch.tensor(expected["probs"])
        assert probs.shape == wanted.shape
        assert torch.allclose(probs, wanted, rtol=0, atol=1e-6)
        if isinstance(task, Regression):
            assert label == pytest.approx(expected["label"], abs=1e-6)
        else:
            assert np.array_equal(label, expected["label"])


def test_the_preprocessing_is_the_one_in_the_file() -> None:
    resizes = {"classification": ((24, 24), "crop"), "multilabel": ((20, 24), "pad")}
    for name, (size, method) in resizes.items():
        preprocess = load_learner(FOLDER / f"{name}.lk", device="cpu").dls.preprocess
        assert (preprocess.resize.size, preprocess.resize.method) == (size, method)
        assert (preprocess.normalize.mean, preprocess.normalize.std) == IMAGENET


def test_every_golden_file_is_small_and_tested() -> None:
    files = list(FOLDER.glob("*.lk"))
    assert sorted(file.stem for file in files) == sorted(EXPECTED)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 300_000
