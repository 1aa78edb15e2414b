"""Images, names and inputs of the items of a learner's data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import DatasetType, ImageDataBunch, Learner
from learnkit.interpretation.item_source import ItemSource
from tests.doubles import linear_learner


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return Learner(dls, net, seed=0)


@pytest.mark.parametrize("part", [DatasetType.Valid, DatasetType.Train])
def test_an_input_is_what_the_model_gets(learn: Learner, part: DatasetType) -> None:
    interp = learn.interpret(part)
    assert interp.source.input is not None
    assert interp.source.model is learn.model
    for i in (0, 7, 11):
        with torch.no_grad():
            learn.model.eval()
            raw = learn.model(interp.source.input(i))
        torch.testing.assert_close(raw.softmax(1)[0], interp.probs[i])


@pytest.mark.parametrize(
    ("ds_type", "part"),
    [
        (DatasetType.Train, "training set"),
        (DatasetType.Fix, "training set"),
        (DatasetType.Valid, "validation set"),
        (DatasetType.Test, "test set"),
    ],
)
def test_the_part_of_the_data_has_its_name(blobs: tuple[Tensor, ...], ds_type: DatasetType, part: str) -> None:
    assert ItemSource.from_learner(linear_learner(blobs), ds_type).part == part


def test_a_loader_is_not_a_part_with_a_name(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs)
    loader: Any = learn.dls.valid_dl
    assert ItemSource.from_learner(learn, loader).part == ""


def test_images_and_names_are_those_of_the_part(learn: Learner) -> None:
    for ds_type in (DatasetType.Train, DatasetType.Valid):
        source = ItemSource.from_learner(learn, ds_type)
        assert source.image is not None
        assert source.name is not None
        assert np.array_equal(source.image(5), learn.dls.image(ds_type, 5))
        assert source.name(5) == learn.dls.item_name(ds_type, 5)


def test_without_a_learner_nothing_is_known() -> None:
    assert ItemSource() == ItemSource(None, None, None, None, "", None)
