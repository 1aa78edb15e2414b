"""Numbers that look like places in the image are not augmented without a word."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from learnkit import ImageDataBunch, Points, Regression
from learnkit.data.places import look_like_places
from learnkit.errors import UsageError
from learnkit.transforms import Brightness, Contrast, Hue, OnBatch, RandomResizedCrop, Rotate

INSIDE, OUTSIDE = [[3.0, 11.0], [7.0, 2.0]], [[3.0, 1100.0], [7.0, 2.0]]


@pytest.mark.parametrize(
    ("names", "numbers", "expected"),
    [
        (("x", "y"), OUTSIDE, True), (("Y", "X"), OUTSIDE, True), (("nose_x", "nose_y"), OUTSIDE, True),
        (("noseX", "noseY"), OUTSIDE, True), (("x1", "y1"), OUTSIDE, True), (("cx", "cy"), OUTSIDE, True),
        (("xmin", "ymin"), OUTSIDE, True), (("min_x", "y (px)"), OUTSIDE, True), (("left", "top"), OUTSIDE, True),
        (("row", "col"), OUTSIDE, True), (("age", "height"), INSIDE, False), (("x", "depth"), INSIDE, False),
        (("left", "right"), INSIDE, False), (("sex", "yaw"), INSIDE, False), (("value 0", "value 1"), INSIDE, True),
        (("value 0", "value 1"), [[0.2, 0.9]], True), (("value 0", "value 1"), [[-0.2, 0.9]], True),
        (("value 0", "value 1"), OUTSIDE, False), (("value 0", "value 1"), [[-5.0, 3.0]], False),
        (("value 0", "value 1", "value 2"), [[1.0, 2.0, 3.0]], False), (("value",), [[3.0]], False),
    ],
)  # fmt: skip
def test_what_looks_like_a_place(names: tuple[str, ...], numbers: Any, expected: bool) -> None:
    assert look_like_places(Regression(names), np.array(numbers), 20) is expected


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for i in range(6):
        Image.fromarray(np.full((20, 30, 3), 9 * i, np.uint8)).save(tmp_path / f"{i}.png")
    return [f"{i}.png" for i in range(6)]


MOVING = [True, "light", "strong", [Rotate()], [RandomResizedCrop((16, 16))], [OnBatch(abs)]]
STILL = [False, None, [Brightness(), Contrast()], [Hue()], [OnBatch(abs, moves=False)]]
OPTIONS: dict[str, Any] = {"size": 16, "bs": 2}


@pytest.mark.parametrize("augment", MOVING)
def test_an_augmentation_that_moves_pixels_is_refused(tmp_path: Path, files: list[str], augment: Any) -> None:
    options = {**OPTIONS, "augment": augment, "task": "regression"}
    table = pd.DataFrame({"file": files, "x": range(6), "y": range(6)})
    with pytest.raises(UsageError, match=r"\(x, y\) look like places.*task=Points.*augment=\[Brightness\(\), Contrast"):
        ImageDataBunch.from_df(tmp_path, table, label_col=["x", "y"], **options)
    with pytest.raises(UsageError, match="look like places"):
        ImageDataBunch.from_lists(tmp_path, files, [(5, 7)] * 6, **options)
    with pytest.raises(UsageError, match="look like places"):
        ImageDataBunch.from_name_func(tmp_path, None, lambda file: (5.0, 7.0), **options)


@pytest.mark.parametrize("augment", STILL)
def test_others_are_not(tmp_path: Path, files: list[str], augment: Any) -> None:
    options = {**OPTIONS, "augment": augment, "task": "regression"}
    dls = ImageDataBunch.from_lists(tmp_path, files, [(5, 7)] * 6, **options)
    assert dls.one_batch()[1].tolist() == [[5, 7]] * 2


def test_what_the_error_offers_works(tmp_path: Path, files: list[str]) -> None:
    for task in (Regression(("age", "height")), Points(["nose"])):
        dls = ImageDataBunch.from_lists(tmp_path, files, [(5, 7)] * 6, task=task, **OPTIONS)
        assert len(dls.one_batch()[1]) == 2


@pytest.mark.parametrize("label", [(5, 700), 5, (1, 2, 3)])
def test_other_numbers_are_augmented_as_always(tmp_path: Path, files: list[str], label: Any) -> None:
    dls = ImageDataBunch.from_lists(tmp_path, files, [label] * 6, task="regression", **OPTIONS)
    assert dls.train_dl.augmentation is not None
