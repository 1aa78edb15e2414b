"""Metrics of masks, against scikit-learn on all pixels of the set and by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from learnkit.metrics import dice, foreground_accuracy, iou, make_metrics

VOID = 3
Check = Callable[[Any, Tensor, Tensor, float], None]


def masks(n_classes: int = 4) -> tuple[Tensor, Tensor]:
    """Raw outputs (40, C, 6, 5) and class indices (40, 6, 5)."""
    draw = torch.Generator().manual_seed(0)
    targets = torch.randint(n_classes, (40, 6, 5), generator=draw)
    preds = torch.randn(40, n_classes, 6, 5, generator=draw)
    return preds + torch.nn.functional.one_hot(targets, n_classes).movedim(-1, 1), targets


def pixels(preds: Tensor, targets: Tensor) -> tuple[Any, Any]:
    return targets.flatten().numpy(), preds.argmax(1).flatten().numpy()


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_pixels_are_counted_over_the_whole_set(check: Check, average: str) -> None:
    preds, targets = masks()
    y, p = pixels(preds, targets)
    check(dice(average=average), preds, targets, sk.f1_score(y, p, average=average))
    check(iou(average=average), preds, targets, sk.jaccard_score(y, p, average=average))


def test_names_are_the_means_over_classes(check: Check) -> None:
    preds, targets = masks()
    y, p = pixels(preds, targets)
    check("dice", preds, targets, sk.f1_score(y, p, average="macro"))
    check("iou", preds, targets, sk.jaccard_score(y, p, average="macro"))
    check("foreground_accuracy", preds, targets, sk.accuracy_score(y[y != 0], p[y != 0]))


@pytest.mark.parametrize("void", [VOID, 255])
def test_void_does_not_count(check: Check, void: int) -> None:
    """Neither as a number beyond the classes nor as a class, though that is predicted too."""
    preds, targets = masks()
    y, p = pixels(preds, targets)
    p, y, labels = p[y != VOID], y[y != VOID], [0, 1, 2] if void == VOID else [0, 1, 2, 3]
    targets = targets.where(targets != VOID, void)
    check(iou(ignore_index=void), preds, targets, sk.jaccard_score(y, p, average="macro", labels=labels))
    check(dice(ignore_index=void), preds, targets, sk.f1_score(y, p, average="macro", labels=labels))
    check(foreground_accuracy(ignore_index=void), preds, targets, sk.accuracy_score(y[y != 0], p[y != 0]))


def test_background_can_be_another_class(check: Check) -> None:
    preds, targets = masks()
    y, p = pixels(preds, targets)
    check(foreground_accuracy(background=2), preds, targets, sk.accuracy_score(y[y != 2], p[y != 2]))


def test_one_output_per_pixel_is_foreground_or_not(check: Check) -> None:
    preds, targets = masks(2)
    y, p = pixels(preds, targets)
    one = preds[:, 1:] - preds[:, :1]
    check("dice", one, targets, sk.f1_score(y, p))
    check("iou", one, targets[:, None], sk.jaccard_score(y, p))
    check("foreground_accuracy", one, targets, sk.recall_score(y, p))
    check(dice(average="binary"), preds, targets, sk.f1_score(y, p))


def test_dice_is_not_a_mean_over_images(check: Check) -> None:
    """One image completely right, one with a single pixel missed: 2 * 3 / (3 + 4), not the mean of 1 and 0."""
    preds = torch.tensor([[[1.0, 1.0, 1.0]], [[-1.0, -1.0, -1.0]]])
    targets = torch.tensor([[1, 1, 1], [1, 0, 0]])
    check("dice", preds, targets, 6 / 7)
    check("iou", preds, targets, 3 / 4)


def test_nothing_but_void_is_nan() -> None:
    preds, targets = masks()
    for metric in (dice(ignore_index=255), iou(ignore_index=255), foreground_accuracy(ignore_index=255)):
        metric.update(preds, torch.full_like(targets, 255))
        assert math.isnan(metric.compute())
        (made,) = make_metrics(metric)
        made.update(preds, targets)  # the batches after it count
        assert 0 < made.compute() < 1
