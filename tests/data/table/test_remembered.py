"""A table remembers its task and its classes through what pandas does to it, and other labels are not mistaken."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.remembered import forget, is_without_validation, remember, resolve_task
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from tests.doubles import refused

TASKS: list[Task] = [
    Classification(("low", "mid", "high")),
    MultiLabel(("sun", "sea")),
    MultiLabel(("sun", "sea"), (0.2, 0.7)),
    Regression(("y", "x")),
    Points(["left eye", "right eye"], swaps=[("left eye", "right eye")]),
    Points(2),
    Segmentation(["sky", "road"]),
    Segmentation({0: "sky", 7: "road", 9: "sky"}, ignore_index=[254, 255], border="road"),
    Segmentation({(0, 0, 0): "sky", (9, 9, 9): "road"}, ignore_index=(1, 2, 3)),
    Segmentation({0: "sky", 255: "road"}, binary=True, threshold=0.25),
]
CHANGES: list[Callable[[pd.DataFrame], pd.DataFrame]] = [
    lambda table: table,
    lambda table: table[table["n"] > 1],
    lambda table: table.query("n < 3").reset_index(drop=True),
    lambda table: table.sample(frac=1, random_state=0),
    lambda table: table.sort_values("n", ascending=False).copy(),
    lambda table: table.assign(n=0).drop(columns="n"),
]


def table() -> pd.DataFrame:
    return pd.DataFrame({"input": list("abcd"), "n": range(4)})


@pytest.mark.parametrize("task", TASKS, ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_the_task_stays_with_the_table(task: Task, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    samples = change(remember(table(), task))
    assert resolve_task(samples, None, None) == task
    json.dumps(samples.attrs)  # as Parquet files hold them


@pytest.mark.parametrize(
    ("task", "classes", "expected"),
    [
        ("classification", None, TASKS[0]),
        (None, ["high", "low", "mid"], "classification"),
        ("regression", None, "regression"),
        ("multilabel", ["a"], "multilabel"),
        (Classification(("a", "b")), None, Classification(("a", "b"))),
    ],
)
def test_what_is_given_counts_more(task: Any, classes: Any, expected: Any) -> None:
    assert resolve_task(remember(table(), TASKS[0]), task, classes) == expected


def test_a_table_that_remembers_nothing() -> None:
    assert resolve_task(table(), None, None) is None
    assert resolve_task(forget(remember(table(), TASKS[0])), None, None) is None
    strange = table()
    strange.attrs = {"learnkit": "x", "mine": 1}
    assert resolve_task(strange, None, None) is None
    assert forget(strange).attrs == {"mine": 1}


def test_masks_that_a_function_read_need_their_task() -> None:
    task = Segmentation(["a", "b"], mask_reader=lambda file: np.zeros((2, 2)))
    masks = remember(table(), task)
    with refused("task", got=None):
        resolve_task(masks, None, None)
    assert resolve_task(masks, task, None) is task


def test_the_table_given_is_not_changed() -> None:
    before = table()
    remember(before, TASKS[0])
    assert before.attrs == {}


@pytest.mark.parametrize("change", CHANGES)
def test_that_there_is_no_validation_set_is_remembered(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    samples = table().assign(split=["train", "train", "train", "test"])
    assert is_without_validation(change(remember(samples, TASKS[0], has_valid=False)))
    assert not is_without_validation(change(remember(samples, TASKS[0])))  # its rows for validation were left out
    assert not is_without_validation(change(samples))
    again = remember(samples, TASKS[0], has_valid=False).assign(split=["valid", "train", "train", "test"])
    assert not is_without_validation(again)


def test_classes_are_normalized_as_the_labels_are() -> None:
    samples = remember(table(), MultiLabel(("Sun", "sea", "sun"), (0.1, 0.2, 0.3)))
    assert resolve_task(samples, None, None, str.lower) == MultiLabel(("sun", "sea"))
    assert resolve_task(remember(table(), TASKS[3]), None, None, str.lower) == TASKS[3]


def test_facts_of_a_later_version_are_left_alone() -> None:
    samples = remember(table(), TASKS[0])
    samples.attrs["learnkit"]["later"] = 1
    assert resolve_task(samples, None, None) == TASKS[0]
