"""Inputs, tasks and activations as JSON, and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.data.image.preprocess import Normalize, Preprocess
from learnkit.data.image.read import full_depth
from learnkit.data.image.resize import Resize
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import CorruptFileError, MissingModelError, UsageError
from learnkit.losses.activations import identity, softmax
from learnkit.losses.flattened import BCEWithLogitsLossFlat, CrossEntropyLossFlat
from learnkit.losses.focal import FocalLoss
from learnkit.persistence.lk.schema import (
    ACTIVATIONS,
    Inputs,
    activation_name,
    read_activation,
    read_inputs,
    read_task,
    written_inputs,
    written_task,
)


def as_json(content: Any) -> Any:
    return json.loads(json.dumps(content))


def own_reader(path: str) -> np.ndarray[Any, Any]:
    return np.zeros((4, 4, 5), np.uint8)


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
    again = read_task(as_json(written_task(task)), "x")
    assert again == task
    assert type(again) is type(task)


def test_the_order_of_codes_stays_that_of_the_outputs() -> None:
    task = Segmentation({9: "b", 3: "a"})
    again = read_task(as_json(written_task(task)), "x")
    assert isinstance(again, Segmentation)
    assert (again.values, again.classes) == ((9, 3), ("b", "a"))


def test_a_task_of_ones_own_is_not_exported() -> None:
    class Ranking(Classification):
        pass

    with pytest.raises(UsageError, match=r"export: the task: got 'Ranking', expected one of learnkit\.data\.tasks"):
        written_task(Ranking(("a", "b")))


@pytest.mark.parametrize(
    ("task", "change"),
    [
        (MultiLabel(("a", "b")), {"decode": "threshold:2"}),
        (MultiLabel(("a", "b")), {"decode": "threshold:nan"}),
        (MultiLabel(("a", "b")), {"decode": "threshold:"}),
        (MultiLabel(("a", "b")), {"decode": "threshold:0.1,0.2,0.3"}),
        (MultiLabel(("a", "b")), {"decode": "argmax"}),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, 0], "ignore_index": None}}),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, 1 << 20], "ignore_index": None}}),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, [1, 2, 3]], "ignore_index": None}}),
        (Segmentation(("a", "b")), {"task_args": {"values": [0, 1], "ignore_index": "x"}}),
        (Segmentation(("a", "b")), {"task_args": {"values": [0], "ignore_index": None}}),
        (Segmentation(("a", "b")), {"classes": []}),
        (Regression(("a",)), {"task_args": {"names": 3}}),
    ],
)
def test_a_task_out_of_bounds_is_refused(task: Task, change: dict[str, Any]) -> None:
    with pytest.raises(CorruptFileError):
        read_task({**written_task(task), **change}, "x")


INPUTS = [
    Inputs(Preprocess(Resize((32, 48), "pad", "bicubic"), Normalize((0.1, 1 / 3, 0.5), (0.2, 0.3, 1e-3))), None),
    Inputs(Preprocess(Resize((8, 8)), None, channels=1, reader=full_depth), None),
    Inputs(Preprocess(Resize((8, 8), "squish"), None), None),
    Inputs(None, (3, 4)),
    Inputs(None, ()),
    Inputs(None, None),
]


@pytest.mark.parametrize("inputs", INPUTS)
def test_preprocessing_comes_back_to_the_last_digit(inputs: Inputs) -> None:
    assert read_inputs({"transforms": as_json(written_inputs(inputs))}, "x", None) == inputs


def test_a_reader_of_ones_own_is_asked_for() -> None:
    inputs = Inputs(Preprocess(Resize((8, 8)), None, 5, own_reader), None)
    content = {"transforms": as_json(written_inputs(inputs))}
    assert "own_reader" not in str(content)
    with pytest.raises(
        MissingModelError, match=r"read by a function of your own. Pass it: load_learner\(file, reader="
    ):
        read_inputs(content, "x", None)
    assert read_inputs(content, "x", own_reader) == inputs


@pytest.mark.parametrize(
    "steps",
    [
        [{"name": "resize", "args": {"size": [10**5, 10], "method": "crop", "interpolation": "bilinear"}}],
        [{"name": "tensor"}, {"name": "tensor"}],
        [{"name": "tensor", "args": {"shape": [-1]}}],
        [{"name": "tensor", "args": {"shape": [1 << 24] * 8}}],
        [{"name": "tensor", "args": {"shape": [1] * 20}}],
        [3],
        [{"name": "resize", "args": 3}, {"name": "to_tensor", "args": {}}],
    ],
)
def test_preprocessing_out_of_bounds_is_refused(steps: list[Any]) -> None:
    with pytest.raises(CorruptFileError):
        read_inputs({"transforms": steps}, "x", None)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"size": [16000, 16000]}, CorruptFileError),  # more pixels than any picture may have
        ({"method": "__import__"}, CorruptFileError),
        ({"interpolation": "lanczos"}, CorruptFileError),
        ({"fill": 3}, MissingModelError),
    ],
)
def test_a_resize_that_is_not_known_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    steps = written_inputs(INPUTS[0])
    steps[0]["args"].update(change)
    with pytest.raises(error):
        read_inputs({"transforms": steps}, "x", None)


def own_activation(raw: Tensor) -> Tensor:
    return raw.clamp(0, 1)


@pytest.mark.parametrize(
    ("activation", "n_out", "name"),
    [
        (softmax, 3, "softmax"),
        (Classification(("a", "b")).activation, 2, "softmax"),
        (Segmentation(("a", "b")).activation, 2, "softmax"),
        (MultiLabel(("a", "b")).activation, 2, "sigmoid"),
        (Regression().activation, 1, "identity"),
        (CrossEntropyLossFlat().activation, 3, "softmax"),
        (CrossEntropyLossFlat(axis=2).activation, 3, "custom"),
        (
            BCEWithLogitsLossFlat().activation if hasattr(BCEWithLogitsLossFlat, "activation") else torch.sigmoid,
            2,
            "sigmoid",
        ),
        (FocalLoss().activation, 3, "softmax"),
        (FocalLoss().activation, 1, "sigmoid"),
        (FocalLoss(binary=True).activation, 3, "sigmoid"),
        (nn.Identity(), 1, "identity"),
        (identity, 1, "identity"),
        (nn.Sigmoid(), 1, "sigmoid"),
        (F.sigmoid, 1, "sigmoid"),
        (nn.Softmax(dim=1), 2, "softmax"),
        (nn.Softmax(dim=0), 2, "custom"),
        (torch.exp, 2, "exp"),
        (own_activation, 2, "custom"),
        (lambda raw: raw, 2, "custom"),
    ],
)
def test_an_activation_has_a_name(activation: Any, n_out: int, name: str) -> None:
    assert activation_name(activation, n_out) == name
    if name != "custom":
        raw = torch.randn(4, n_out)
        assert torch.equal(ACTIVATIONS[name](raw), activation(raw))


def test_an_activation_of_ones_own_is_asked_for() -> None:
    content = {"loss": {"activation": "custom"}, "temperature": 1.5}
    with pytest.raises(MissingModelError, match=r"Pass it: load_learner\(file, activation=\.\.\.\)"):
        read_activation(content, "x", None)
    assert read_activation(content, Path("x"), own_activation) == (own_activation, 1.5)


@pytest.mark.parametrize("classes", [[], ["ant"]])
def test_too_few_classes_are_a_damaged_file(classes: list[str]) -> None:
    with pytest.raises(CorruptFileError, match=r"x\.lk: the manifest classification: .*Export again"):
        read_task({"task": "classification", "classes": classes, "decode": "argmax"}, "x.lk")


def test_a_step_with_more_than_a_name_and_arguments_is_refused() -> None:
    steps = written_inputs(Inputs(None, (4,)))
    with pytest.raises(MissingModelError, match=r"transforms\[0\] has fields .*'class'"):
        read_inputs({"transforms": [steps[0] | {"class": "os.system"}]}, "x.lk", None)


def test_a_colour_of_many_parts_is_named_in_few_words() -> None:
    content = as_json(written_task(Segmentation(("sky", "road"))))
    content["task_args"]["values"] = [[0] * 100_000, 1]
    with pytest.raises(CorruptFileError) as caught:
        read_task(content, "x.lk")
    assert len(str(caught.value)) < 500
