"""Class weights: scikit-learn's, in the loss of the task."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, ImageDataBunch, Learner, LearnkitWarning, cnn_learner
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import UsageError
from tests.doubles import refused


def bunch(y: Tensor, **options: Any) -> DataBunch:
    x = torch.rand(len(y), 3)
    return DataBunch.from_tensors(x, y, x, y, bs=8, **options)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = torch.tensor([0] * 30 + [1] * 9 + [2])
    learn = Learner(bunch(y), nn.Linear(3, 3), class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    assert isinstance(learn.loss_func, nn.CrossEntropyLoss)
    torch.testing.assert_close(learn.loss_func.weight, torch.tensor(expected).float())
    learn.fit(1)


def test_of_several_labels_negatives_over_positives() -> None:
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]] * 4)
    learn = Learner(bunch(y, task=MultiLabel(("a", "b"))), nn.Linear(3, 2), class_weights="balanced")
    assert isinstance(learn.loss_func, nn.BCEWithLogitsLoss)
    torch.testing.assert_close(learn.loss_func.pos_weight, torch.tensor([3.0, 1 / 3]))


def test_images_have_them_through_a_factory_too(class_folder: Path) -> None:
    for number in range(6):
        (class_folder / "train" / "red" / f"{number}.png").unlink()
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8)
    learn = cnn_learner(dls, "resnet18", pretrained=False, class_weights="balanced")
    torch.testing.assert_close(learn.loss_func.weight, torch.tensor([18 / 24, 18 / 24, 3.0]))  # type: ignore[union-attr]


def test_custom_weights_go_into_the_loss() -> None:
    learn = Learner(bunch(torch.arange(16) % 2), nn.Linear(3, 2), class_weights=[1, 5])
    assert learn.loss_func.weight.tolist() == [1, 5]  # type: ignore[union-attr]


def test_balanced_weights_with_a_sampler_warn(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, sampler="balanced")
    with pytest.warns(LearnkitWarning, match="rare classes are weighted twice"):
        cnn_learner(dls, "resnet18", pretrained=False, class_weights="balanced")


@pytest.mark.parametrize("task", [Classification(("ant", "bee", "cat")), MultiLabel(("ant", "bee", "cat"))])
def test_weights_by_name_go_to_their_classes(task: Any) -> None:
    dls = bunch(torch.arange(18) % 3 if isinstance(task, Classification) else torch.ones(18, 3), task=task)
    loss: Any = Learner(dls, nn.Linear(3, 3), class_weights={"cat": 5, "ant": 1, "bee": 0.5}).loss_func
    assert (loss.weight if isinstance(task, Classification) else loss.pos_weight).tolist() == [1, 0.5, 5]


def test_weights_by_name_are_of_every_class_and_no_other() -> None:
    dls = bunch(torch.arange(18) % 3, classes=["ant", "bee", "cat"])
    with refused("class_weights", got="bees", expected="the name of a class: bee, ant, cat"):
        Learner(dls, nn.Linear(3, 3), class_weights={"ant": 1, "bees": 2, "cat": 3})
    with refused("class_weights: without ant, cat", got={"bee": 2}, expected="every class"):
        Learner(dls, nn.Linear(3, 3), class_weights={"bee": 2})
    unnamed: Any = Learner(bunch(torch.arange(18) % 3), nn.Linear(3, 3), class_weights={2: 5, 0: 1, 1: 0}).loss_func
    assert unnamed.weight.tolist() == [1, 0, 5]


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(
    "weights",
    ["heavy", [1.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")], [0, 0], {"a": 0, "b": 0},
     {"a": 1, "b": -1}, {"a": 1, "b": "2"}, [[1], [1, 2]], 3, {}],
)  # fmt: skip
def test_invalid_weights_are_refused(weights: Any, labels: bool) -> None:
    task: Any = (MultiLabel if labels else Classification)(("a", "b"))
    dls = bunch(torch.ones(16, 2) if labels else torch.arange(16) % 2, task=task)
    with pytest.raises(UsageError, match=r"^class_weights"):
        Learner(dls, nn.Linear(3, 2), class_weights=weights)


def test_they_need_classes_and_the_loss_of_the_task() -> None:
    with refused("class_weights: the task of the data", got="Regression"):
        Learner(bunch(torch.rand(16, 1), task=Regression()), nn.Linear(3, 1), class_weights="balanced")
    with refused("class_weights", got=[1, 2], expected="None when loss_func= is passed"):
        Learner(bunch(torch.arange(16) % 2), nn.Linear(3, 2), loss_func=nn.CrossEntropyLoss(), class_weights=[1, 2])
    data = [(torch.rand(4, 3), torch.arange(4) % 2)]
    loaders = DataBunch.from_loaders(data, data, classes=["a", "b"])
    with pytest.raises(UsageError, match="custom loader"):
        Learner(loaders, nn.Linear(3, 2), class_weights="balanced")
