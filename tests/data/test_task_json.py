"""Tasks as JSON, and back."""

import json
from typing import Any

import numpy as np
import pytest

from learnkit import Classification, MultiLabel, Regression, Segmentation
from learnkit.data.task_json import task_from_json, task_to_json
from learnkit.data.tasks import Task
from learnkit.errors import CorruptFileError, ImageError, MissingModelError
from tests.doubles import refused


def as_json(content: Any) -> Any:
    return json.loads(json.dumps(content))


TASKS: list[Task | None] = [
    Classification(("ant", "bee", "ção <b>")),
    MultiLabel(("a", "b")),
    MultiLabel(("a", "b", "c"), 0.123456789012345678),
    MultiLabel(("a", "b"), (0.1, 1 / 3)),
    Regression(("x", "y")),
    Segmentation(("sky", "road")),
    Segmentation({0: "ground", 255: "building"}, ignore_index=7),
    Segmentation({(0, 0, 0): "void", (128, 64, 3): "road"}, ignore_index=(0, 0, 0)),
    Segmentation({0: "ground", 1: "car", 2: "car", 9: "ground"}, ignore_index=[250, 255]),
    Segmentation({(0, 0, 0): "ground", (1, 1, 1): "car", (2, 2, 2): "car"}, ignore_index=[(3, 3, 3), (4, 4, 4)]),
    Segmentation(("ground", "car"), binary=True, threshold=0.25, border="ground"),
    Segmentation(("ground", "car"), 255, binary=True),
    None,
]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_comes_back(task: Task | None) -> None:
    again = task_from_json(as_json(task_to_json(task)), "x")
    assert again == task
    assert type(again) is type(task)


def test_only_what_is_new_needs_a_later_learnkit() -> None:
    """An earlier one refuses parts of task_args that it does not know."""
    assert task_to_json(Segmentation({0: "a", 255: "b"}, 7))["task_args"] == {"values": [0, 255], "ignore_index": 7}


def test_masks_read_by_a_function_cannot_be_read_after_loading() -> None:
    content = as_json(task_to_json(Segmentation(("a", "b"), mask_reader=lambda file: np.zeros((2, 2)))))
    again = task_from_json(content, "x")
    assert isinstance(again, Segmentation)
    with pytest.raises(ImageError, match=r"m\.png: masks were read by a function, which an export does not hold"):
        again.read("m.png")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("more_values", 3), ("more_values", [3]), ("more_values", [[3, 2]]), ("more_values", [[3, -1]]),
        ("more_values", [["3", 1]]), ("more_ignored", 3), ("more_ignored", [255, 255]), ("binary", 1),
        ("threshold", "x"), ("threshold", 2), ("border", "sky"), ("own_reader", "np.load"),
    ],
)  # fmt: skip
def test_parts_of_masks_that_are_none_are_refused(name: str, value: object) -> None:
    content = as_json(task_to_json(Segmentation(("a", "b"), 255)))
    content["task_args"][name] = value
    with pytest.raises(CorruptFileError):
        task_from_json(content, "x")


def test_the_order_of_codes_stays_that_of_the_outputs() -> None:
    task = Segmentation({9: "b", 3: "a"})
    again = task_from_json(as_json(task_to_json(task)), "x")
    assert isinstance(again, Segmentation)
    assert (again.values, again.classes) == ((9, 3), ("b", "a"))


def test_a_custom_task_is_not_exported() -> None:
    class Ranking(Classification):
        pass

    with refused("task of the data", got="Ranking"):
        task_to_json(Ranking(("a", "b")))


@pytest.mark.parametrize(
    ("task", "change", "what"),
    [
        (MultiLabel(("a", "b")), {"decode": "threshold:2"}, "the manifest multilabel: threshold"),
        (MultiLabel(("a", "b")), {"decode": "threshold:nan"}, "the manifest multilabel: threshold"),
        (MultiLabel(("a", "b")), {"decode": "threshold:"}, "the manifest decode"),
        (MultiLabel(("a", "b")), {"decode": "threshold:0.1,0.2,0.3"}, "the manifest decode"),
        (MultiLabel(("a", "b")), {"decode": "limit:0.1,0.2"}, "the manifest decode"),
        (MultiLabel(("a", "b")), {"decode": "argmax"}, "the manifest decode"),
        (Segmentation(("a", "b")), {"decode": "none"}, "the manifest decode"),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, 0], "ignore_index": None}}, "task_args values"),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, 1 << 20], "ignore_index": None}}, "the manifest seg"),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, [1, 2, 3]], "ignore_index": None}}, "the manifest seg"),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, 1], "ignore_index": "x"}}, "the manifest segmentation"),
        (Segmentation(("a", "b")), {"task_args": {"values": [0], "ignore_index": None}}, "task_args values"),
        (Segmentation(("a", "b")), {"classes": []}, "task_args values"),
        (Regression(("a",)), {"task_args": {"names": 3}}, "task_args names"),
        (Regression(("a",)), {"decode": "argmax"}, "the manifest decode"),
        (Classification(("a", "b")), {"decode": "threshold:0.5"}, "the manifest decode"),
    ],
)  # fmt: skip
def test_a_task_out_of_bounds_is_refused(task: Task, change: dict[str, Any], what: str) -> None:
    with pytest.raises(CorruptFileError) as caught:
        task_from_json({**task_to_json(task), **change}, "x")
    assert caught.value.what.startswith(f"x: {what}")


def test_a_task_that_is_not_known_is_not_guessed() -> None:
    with pytest.raises(MissingModelError, match="x is for the task 'ranking', which this learnkit does not know"):
        task_from_json({"task": "ranking"}, "x")


@pytest.mark.parametrize("classes", [[], ["ant"]])
def test_too_few_classes_are_a_damaged_file(classes: list[str]) -> None:
    with pytest.raises(CorruptFileError, match=r"x\.lk: the manifest classification: .*Export again"):
        task_from_json({"task": "classification", "classes": classes, "decode": "argmax"}, "x.lk")


def test_a_color_of_many_parts_makes_a_short_error() -> None:
    content = as_json(task_to_json(Segmentation(("sky", "road"))))
    content["task_args"]["values"] = [[0] * 100_000, 1]
    with pytest.raises(CorruptFileError) as caught:
        task_from_json(content, "x.lk")
    assert len(str(caught.value)) < 500
