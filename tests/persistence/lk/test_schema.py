"""How a model is built, its inputs and its activation as JSON, and back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import Classification, MultiLabel, Regression, Segmentation
from learnkit.data.image.preprocess import Normalize, Preprocess
from learnkit.data.image.read import full_depth
from learnkit.data.image.resize import Resize
from learnkit.data.loading.batch_parts import Keys
from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.losses.activations import identity, softmax
from learnkit.losses.flattened import CrossEntropyLossFlat
from learnkit.losses.focal import FocalLoss
from learnkit.models import BackboneSpec
from learnkit.persistence.lk.schema import (
    ACTIVATIONS,
    INPUT_DTYPES,
    Inputs,
    activation_from_json,
    activation_to_json,
    backbone_from_json,
    backbone_to_json,
    inputs_from_json,
    inputs_to_json,
    jpeg_scale_to_json,
    keys_from_json,
    keys_to_json,
)
from tests.doubles import refused


def as_json(content: Any) -> Any:
    return json.loads(json.dumps(content))


def own_reader(path: str) -> np.ndarray[Any, Any]:
    return np.zeros((4, 4, 5), np.uint8)


INPUTS = [
    Inputs(Preprocess(Resize((32, 48), "pad", "bicubic"), Normalize((0.1, 1 / 3, 0.5), (0.2, 0.3, 1e-3))), None),
    Inputs(Preprocess(Resize((8, 8)), None, channels=1, reader=full_depth), None),
    Inputs(Preprocess(Resize((8, 8), "squish"), None), None),
    Inputs(Preprocess(Resize((8, 8)), None, channels=1, depth=12), None),
    Inputs(Preprocess(Resize((8, 8)), None, depth=(-1000.0, 400.5)), None),
    Inputs(Preprocess(Resize((8, 8)), None, full_decode=True), None),
    Inputs(None, (3, 4)),
    Inputs(None, ()),
    Inputs(None, None),
    *(Inputs(None, (3, 4), dtype) for dtype in INPUT_DTYPES.values()),
]


@pytest.mark.parametrize("inputs", INPUTS)
def test_preprocessing_comes_back_to_the_last_digit(inputs: Inputs) -> None:
    manifest = {"transforms": as_json(inputs_to_json(*inputs)), **jpeg_scale_to_json(inputs.preprocess)}
    assert inputs_from_json(manifest, "x", None) == inputs


def test_a_file_from_before_there_was_a_choice_decodes_in_full() -> None:
    assert jpeg_scale_to_json(Preprocess(Resize((8, 8)), None)) == {"jpeg_scale": "reduced"}
    steps = as_json(inputs_to_json(Preprocess(Resize((8, 8)), None), None))
    preprocess = inputs_from_json({"transforms": steps}, "x", None).preprocess
    assert preprocess is not None
    assert preprocess.full_decode
    with pytest.raises(CorruptFileError, match="jpeg_scale"):
        inputs_from_json({"transforms": steps, "jpeg_scale": "quarter"}, "x", None)


def test_a_custom_reader_must_be_passed() -> None:
    inputs = Inputs(Preprocess(Resize((8, 8)), None, 5, own_reader), None)
    content = {"transforms": as_json(inputs_to_json(*inputs)), **jpeg_scale_to_json(inputs.preprocess)}
    assert "own_reader" not in str(content)
    with pytest.raises(MissingModelError, match=r"read by a custom function. Pass it: load_learner\(file, reader="):
        inputs_from_json(content, "x", None)
    assert inputs_from_json(content, "x", own_reader) == inputs


def steps_of(height: object = 8, width: object = 8, channels: object = 3, **normalize: Any) -> list[dict[str, Any]]:
    size = {"size": [height, width], "method": "crop", "interpolation": "bilinear"}
    return [
        {"name": "resize", "args": size},
        {"name": "to_tensor", "args": {"channels": channels, "reader": None}},
        {"name": "normalize", "args": {"mean": [0.5] * 3, "std": [0.5] * 3, **normalize}},
    ]


def test_without_a_depth_nothing_is_added_that_an_earlier_learnkit_would_refuse() -> None:
    (_, to_tensor) = inputs_to_json(Preprocess(Resize((8, 8)), None), None)
    assert to_tensor["args"] == {"channels": 3, "reader": None}


def test_float32_is_not_named_as_an_earlier_learnkit_would_refuse_it() -> None:
    assert inputs_to_json(None, (4,), torch.float32) == [{"name": "tensor", "args": {"shape": [4]}}]
    assert inputs_to_json(None, (4,), torch.int16) == [{"name": "tensor", "args": {"shape": [4], "dtype": "int16"}}]


@pytest.mark.parametrize("depth", ["12", 11, True, [1], [1, 0], [0, "1"], {"bits": 12}, 10**400])
def test_a_depth_that_is_none_is_refused(depth: object) -> None:
    steps = steps_of()
    steps[1]["args"]["depth"] = depth
    with pytest.raises(CorruptFileError, match="depth"):
        inputs_from_json({"transforms": steps}, "x", None)


def test_sizes_up_to_their_bounds_are_read() -> None:
    for height, width in ((16_384, 1), (1, 16_384), (8, 8)):
        found = inputs_from_json({"transforms": steps_of(height, width)}, "x", None)
        assert found.preprocess is not None
        assert found.preprocess.resize.size == (height, width)


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        (steps_of(height=16_385, width=1), "args size"),
        (steps_of(height=0), "args size"),
        (steps_of(height=8.5), "args size"),
        (steps_of(16_000, 16_000), "transforms[0] size"),  # more pixels than any image may have
        (steps_of(channels=0), "args channels"),
        (steps_of(channels=10_001), "args channels"),
        (steps_of(mean=[0.5] * 2), "args mean"),
        (steps_of(std=[0.5, 0.5, 0]), "args std"),
        (steps_of(std=[0.5, 0.5, float("inf")]), "args std"),
        (steps_of()[:1], "the manifest transforms"),
        (steps_of()[1::-1], "the manifest transforms"),
        ([*steps_of(), *steps_of()], "the manifest transforms"),
        ([{"name": "tensor"}, {"name": "tensor"}], "the manifest transforms"),
        ([{"name": "tensor", "args": {"shape": [-1]}}], "args shape"),
        ([{"name": "tensor", "args": {"shape": [1 << 24] * 8}}], "transforms[0] shape"),
        ([{"name": "tensor", "args": {"shape": [1] * 20}}], "args shape"),
        ([{"name": "tensor", "args": {"shape": [1], "dtype": "quint8"}}], "args dtype"),
        ([{"name": "tensor", "args": {"shape": None, "dtype": None}}], "args dtype"),
        ([3], "transforms[0]"),
        ([{"name": "resize", "args": 3}, *steps_of()[1:]], "args"),
        ("resize", "the manifest transforms"),
    ],
)
def test_preprocessing_out_of_bounds_is_refused(steps: object, what: str) -> None:
    with pytest.raises(CorruptFileError) as caught:
        inputs_from_json({"transforms": steps}, "x", None)
    assert caught.value.what == f"x: {what}"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"method": "__import__"}, CorruptFileError),
        ({"interpolation": "lanczos"}, CorruptFileError),
        ({"fill": 3}, MissingModelError),
    ],
)
def test_a_resize_that_is_not_known_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    steps = inputs_to_json(*INPUTS[0])
    steps[0]["args"].update(change)
    with pytest.raises(error, match=f"x: args.*{next(iter(change))}"):
        inputs_from_json({"transforms": steps}, "x", None)


def own_activation(raw: Tensor) -> Tensor:
    return raw.clamp(0, 1)


@pytest.mark.parametrize(
    ("activation", "n_out", "name"),
    [
        (softmax, 3, "softmax"),
        (Classification(("a", "b")).activation, 2, "softmax"),
        (Segmentation(("a", "b")).activation, 2, "softmax"),
        (Segmentation(("a", "b"), binary=True).activation, 1, "sigmoid"),
        (MultiLabel(("a", "b")).activation, 2, "sigmoid"),
        (Regression().activation, 1, "identity"),
        (CrossEntropyLossFlat().activation, 3, "softmax"),
        (CrossEntropyLossFlat(axis=2).activation, 3, "custom"),
        (torch.sigmoid, 2, "sigmoid"),
        (Tensor.exp, 2, "exp"),
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
    assert activation_to_json(activation, n_out) == name
    if name != "custom":
        raw = torch.randn(4, n_out)
        assert torch.equal(ACTIVATIONS[name](raw), activation(raw))


def test_no_activation_is_the_identity() -> None:
    assert activation_to_json(None, 3) == "identity"


def test_a_custom_activation_must_be_passed() -> None:
    content = {"loss": {"activation": "custom"}}
    with pytest.raises(MissingModelError, match=r"Pass it: load_learner\(file, activation=\.\.\.\)"):
        activation_from_json(content, "x", None)
    assert activation_from_json(content, Path("x"), own_activation) is own_activation


def test_a_transform_with_more_than_a_name_and_arguments_is_refused() -> None:
    steps = inputs_to_json(None, (4,))
    with pytest.raises(MissingModelError, match=r"transforms\[0\] has fields .*: class\."):
        inputs_from_json({"transforms": [steps[0] | {"class": "os.system"}]}, "x.lk", None)


def test_a_backbone_is_read_as_it_was_written(squeeze: BackboneSpec) -> None:
    assert backbone_from_json(as_json(backbone_to_json(squeeze, "", 0)), "x") == squeeze


def test_a_custom_model_is_written_as_a_label() -> None:
    content = backbone_to_json(None, "N" * 200, 3)
    assert content == {
        "arch": {"source": "custom", "name": "N" * 100, "config": {}},
        "head": {"kind": "none", "n_out": 3},
    }
    assert backbone_from_json(content, "x") is None


def test_what_is_wrong_with_a_backbone_is_reported_with_the_file(squeeze: BackboneSpec) -> None:
    content = squeeze.to_json()
    content["head"]["n_out"] = 10**30
    with refused("x.lk: head n_out", CorruptFileError, got="an integer of 100 bits"):
        backbone_from_json(content, "x.lk")
    content = {**squeeze.to_json(), "versions": {"learnkit": "9.9"}}
    content["arch"]["name"] = "resnet1000"
    with pytest.raises(MissingModelError, match="Nothing was imported") as caught:
        backbone_from_json(content, "x.lk")
    assert (caught.value.what, caught.value.got) == ("x.lk: arch name", "resnet1000")
    assert caught.value.fix.startswith("The file was written with learnkit 9.9; or pass model=")


@pytest.mark.parametrize("keys", [Keys("x", "y"), Keys(["a", "b"], None), None])
def test_keys_of_named_entries(keys: Keys | None) -> None:
    found = keys_from_json(as_json(keys_to_json(keys)), "a.lk")
    assert (found and vars(found)) == (keys and vars(keys))


@pytest.mark.parametrize(
    "keys",
    [{"inputs": []}, {"inputs": [1]}, {"inputs": "x"}, {"target": "y"}, [], {"inputs": ["x"], "target": 1},
     {"inputs": ["x"], "more": 1}],
)  # fmt: skip
def test_what_are_no_keys_is_refused(keys: Any) -> None:
    with pytest.raises((CorruptFileError, MissingModelError), match=r"a\.lk: .*keys"):
        keys_from_json({"keys": keys}, "a.lk")
