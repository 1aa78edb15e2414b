"""Metrics leave out the targets that the loss ignores, whoever chose it and whenever; others that are no class show."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, ImageDataBunch, Learner, Segmentation
from learnkit.data.tasks import Classification
from learnkit.errors import UsageError
from learnkit.learner.defaults import LeftOut, left_out
from learnkit.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, DiceLoss
from learnkit.metrics import accuracy, top_k

# Outputs are the inputs: three of the five items that count are right.
SCORES = torch.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]
CLASSES = torch.tensor([0, 1, 2, 1, 2, -9, -9, -9])
RIGHT = 3 / 5


def loaders(ignored: int, **options: Any) -> DataBunch:
    y = CLASSES.where(CLASSES >= 0, ignored)
    batches = [(SCORES[rows], y[rows]) for rows in (slice(0, 3), slice(3, 8))]
    return DataBunch.from_loaders(batches, batches, **{"classes": ["a", "b", "c"], **options})


def masks(ignored: int) -> Tensor:
    return torch.tensor([[[0, ignored], [1, 1]]] * 4)


def through_a_function(preds: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(preds, targets)


@pytest.mark.parametrize(
    ("ignored", "loss"),
    [
        (-100, nn.CrossEntropyLoss()),
        (-100, F.cross_entropy),
        (-100, nn.NLLLoss()),
        (-1, partial(F.cross_entropy, ignore_index=-1)),
        (255, nn.CrossEntropyLoss(ignore_index=255)),
        (255, CrossEntropyLossFlat(ignore_index=255)),
        (255, DiceLoss(ignore_index=255)),
    ],
)
@pytest.mark.parametrize("options", [{}, {"classes": None}], ids=["classes", "no task"])
def test_what_the_loss_ignores_does_not_count(ignored: int, loss: Any, options: dict[str, Any]) -> None:
    learn = Learner(loaders(ignored, **options), nn.Identity(), loss_func=loss)
    _, *found = learn.validate(metrics=["accuracy", "error_rate", "hamming", "recall", partial(top_k, k=2)])
    assert found[:3] == pytest.approx([RIGHT, 1 - RIGHT, 1 - RIGHT])
    assert found[3] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    best_two = SCORES.topk(2, dim=1).indices.tolist()
    kept = [(two, y) for two, y in zip(best_two, CLASSES.tolist(), strict=True) if y >= 0]
    assert found[4] == pytest.approx(sum(y in two for two, y in kept) / len(kept))


def test_a_metrics_own_ignored_target_counts_more() -> None:
    learn = Learner(loaders(-100), nn.Identity())
    (found,) = learn.validate(metrics=partial(accuracy, ignore_index=0))[1:]
    assert found == pytest.approx(2 / 7)


def test_that_of_the_data_counts_more_than_that_of_the_loss() -> None:
    y = masks(255)
    dls = DataBunch.from_loaders([(y, y)], [(y, y)], task=Segmentation(["sky", "road"], ignore_index=255))
    assert left_out(dls, nn.CrossEntropyLoss(ignore_index=7)) == LeftOut(255, False)


@pytest.mark.parametrize("metrics", ["default", "accuracy", ["iou", "dice"]])
def test_pixels_that_only_the_loss_ignores_do_not_count(metrics: Any) -> None:
    y, right = masks(255), F.one_hot(masks(0), 2).permute(0, 3, 1, 2).float()
    dls = DataBunch.from_loaders([(right, y)], [(right, y)], task=Segmentation(["sky", "road"]))
    learn = Learner(dls, nn.Identity(), loss_func=nn.CrossEntropyLoss(ignore_index=255), metrics=metrics)
    assert set(learn.validate()[1:]) == {1.0}


def test_pixels_of_binary_masks_that_only_the_loss_ignores_do_not_count() -> None:
    y = masks(255)[:, None].float()
    dls = DataBunch.from_loaders([(y - 0.5, y)], [(y - 0.5, y)], task=Segmentation(["sky", "road"], binary=True))
    learn = Learner(dls, nn.Identity(), loss_func=BCEWithLogitsLossFlat(ignore_index=255), metrics="default")
    assert learn.validate()[1:] == [1.0, 1.0]


@pytest.mark.parametrize("metrics", ["accuracy", "default", ["accuracy", top_k(2, ignore_index=255)]])
def test_metrics_follow_a_loss_that_is_set_later(metrics: Any) -> None:
    learn = Learner(loaders(255), nn.Identity(), loss_func=through_a_function, metrics=metrics)
    learn.loss_func = nn.CrossEntropyLoss(ignore_index=255)
    assert learn.validate()[1] == pytest.approx(RIGHT)


def test_metrics_appended_before_the_loss_is_set_follow_it_too() -> None:
    learn = Learner(loaders(255), nn.Identity(), loss_func=through_a_function, metrics="accuracy")
    learn.metrics.append("error_rate")  # type: ignore[arg-type]
    learn.loss_func = nn.CrossEntropyLoss(ignore_index=255)
    assert learn.validate()[1:] == pytest.approx([RIGHT, 1 - RIGHT])


def test_metrics_follow_loaders_that_are_set_later_and_those_passed() -> None:
    y, strange = CLASSES.clamp(min=0), loaders(-100)
    dls = DataBunch.from_tensors(SCORES, y, SCORES, y, bs=4)
    learn = Learner(dls, nn.Identity(), metrics="accuracy")
    assert left_out(dls, learn.loss_func) == LeftOut(None, False)
    assert learn.validate(strange.valid_dl)[1] == pytest.approx(RIGHT)
    assert learn.validate()[1] == pytest.approx(4 / 8)  # -9 was made class 0
    learn.dls.valid_dl = strange.valid_dl
    assert learn.validate()[1] == pytest.approx(RIGHT)


@pytest.mark.parametrize("metric", ["accuracy", "error_rate", top_k(2), partial(accuracy, ignore_index=None)])
@pytest.mark.parametrize("ignored", [-100, 255])
def test_targets_of_no_class_are_refused_where_it_is_not_known_what_the_loss_ignores(metric: Any, ignored: int) -> None:
    loss = partial(F.cross_entropy, ignore_index=ignored)
    learn = Learner(loaders(ignored), nn.Identity(), loss_func=lambda preds, targets: loss(preds, targets))
    with pytest.raises(UsageError, match=rf"got {ignored}.*, expected 0 to 2\. .*ignore_index="):
        learn.validate(metrics=metric)


IMAGES = [(torch.zeros(3, 8, 8, dtype=torch.uint8), number % 2) for number in range(4)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageDataBunch.from_datasets(IMAGES, IMAGES, classes=["a", "b"], size=8, bs=2, allow_leak=True),
        lambda: DataBunch.from_tensors(SCORES, CLASSES.clamp(min=0), SCORES, CLASSES.clamp(min=0), bs=4),
    ],
    ids=["images", "tensors"],
)
def test_targets_that_learnkit_made_cost_a_metric_nothing(make: Callable[[], DataBunch]) -> None:
    dls = make()
    assert isinstance(dls.task, Classification)
    assert left_out(dls, nn.CrossEntropyLoss()) == LeftOut(None, False)
    assert left_out(dls, through_a_function) == LeftOut(None, False)
