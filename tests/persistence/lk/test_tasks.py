"""Tasks as JSON, and back."""

import json
from typing import Any

import pytest

from learnkit import Classification, MultiLabel, Regression, Segmentation
from learnkit.data.tasks import Task
from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.persistence.lk.tasks import task_from_json, task_to_json
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
    None,
]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_comes_back(task: Task | None) -> None:
    again = task_from_json(as_json(task_to_json(task)), "x")
    assert again == task
    assert type(again) is type(task)


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
