"""Columns and results of metrics of one number, and of one per class."""

import math

import pytest

from learnkit.metrics.per_class import PerClass
from tests.doubles import refused


def test_one_number_has_one_column() -> None:
    metric = PerClass("f1", is_per_class=False)
    assert metric.columns == ["f1"]
    assert math.isnan(metric.without_batches())  # type: ignore[arg-type]
    assert repr(metric) == "f1"


def test_a_number_per_class_has_a_column_for_each() -> None:
    metric = PerClass("f1", is_per_class=True)
    assert metric.by_class([0.5, 1.0]) == {"f1_0": 0.5, "f1_1": 1.0}
    metric.classes = ("cat", "dog")
    assert metric.columns == ["f1_cat", "f1_dog"]
    assert metric.by_class([0.5, 1.0]) == {"f1_cat": 0.5, "f1_dog": 1.0}
    empty = metric.without_batches()
    assert isinstance(empty, dict)
    assert list(empty) == ["f1_cat", "f1_dog"]
    assert all(map(math.isnan, empty.values()))


@pytest.mark.parametrize("n", [1, 3])
def test_another_number_than_there_are_classes_is_refused(n: int) -> None:
    metric = PerClass("f1", is_per_class=True)
    metric.classes = ("cat", "dog")
    with refused("metric f1: average: None", got=f"{n} numbers", expected="one for each of 2 classes"):
        metric.by_class([0.5] * n)
