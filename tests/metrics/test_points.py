"""The metric of key points: the mean distance of those that are known."""

import copy
import math

import pytest
import torch

from learnkit.metrics import point_distance

NAN = math.nan
PREDS = torch.tensor([[0.3, 0.4, 0.0, 0.0], [0.0, 0.0, 5.0, 5.0], [9.0, 9.0, 9.0, 9.0]])
TARGETS = torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[0.0, 0.5], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])


def test_by_hand() -> None:
    metric = point_distance()
    metric.update(PREDS, TARGETS)
    assert metric.compute() == pytest.approx((0.5 + 1 + 0.5) / 3)
    in_pixels = point_distance((20, 60))  # 10 and 30 pixels per unit
    in_pixels.update(PREDS, TARGETS)
    assert in_pixels.compute() == pytest.approx((math.hypot(9, 4) + 10 + 5) / 3)
    assert (metric.name, metric.higher_is_better) == ("point_distance", False)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batches_and_parts_make_no_difference(size: int) -> None:
    whole, metric, other = (point_distance((9, 7)) for _ in range(3))
    whole.update(PREDS, TARGETS)
    for start in range(0, 3, size):
        (metric if start else other).update(PREDS[start : start + size], TARGETS[start : start + size])
    merged = copy.deepcopy(metric)
    merged.merge(other)
    assert merged.compute() == pytest.approx(whole.compute())


def test_without_known_points_there_is_no_distance() -> None:
    metric = point_distance()
    metric.update(PREDS[2:], TARGETS[2:])
    assert math.isnan(metric.compute())
