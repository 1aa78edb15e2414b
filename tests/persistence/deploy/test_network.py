"""The network that other programs are given: a copy that changes nothing, its inputs and its description."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import Classification, MultiLabel
from learnkit.data.image.preprocess import IMAGENET, Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.errors import ExportError
from learnkit.losses.focal import FocalLoss
from learnkit.losses.outputs import OneOutput
from learnkit.models.head import AdaptiveConcatPool2d
from learnkit.persistence.deploy.network import cause_of, check_inputs, describe, example_inputs, network_of
from learnkit.persistence.spec import ExportSpec
from tests.doubles import refused

TASK = Classification(("cat", "dog"))
PREPROCESS = Preprocess(Resize((6, 8)), Normalize(*IMAGENET))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), AdaptiveConcatPool2d(), nn.Flatten(), nn.Linear(8, 2)
    )


@pytest.mark.parametrize(
    ("activation", "named"), [(torch.sigmoid, "sigmoid"), (nn.LogSoftmax(1), "custom"), (TASK.activation, "softmax")]
)
def test_an_activation_is_named(activation: Any, named: str) -> None:
    spec = ExportSpec(nn.Linear(2, 4), (2,), activation=activation, temperature=3.0)
    output = describe(spec, torch.zeros(8, 4))["output"]
    assert (output["activation"], output["temperature"]) == (named, 3.0)


def test_the_model_is_not_changed() -> None:
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    copied, _ = network_of(ExportSpec(model, (3, 6, 8)))
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in copied.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in copied.parameters())
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in copied.parameters()} == shared  # no second gigabyte
    assert copied.get_buffer("model.1.running_mean").data_ptr() != model.get_buffer("1.running_mean").data_ptr()


def test_tied_weights_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].register_parameter("weight", model[0].get_parameter("weight"))
    copied, _ = network_of(ExportSpec(model, (3,)))
    assert copied.get_parameter("model.0.weight") is copied.get_parameter("model.1.weight")


def test_the_output_is_that_of_the_model_at_its_temperature() -> None:
    model = nn.Linear(3, 2)
    spec = ExportSpec(model, (3,), TASK, activation=TASK.activation, temperature=2.0)
    _, output = network_of(spec)
    torch.testing.assert_close(output, (model(example_inputs(spec)) / 2).softmax(1))
    _, raw = network_of(ExportSpec(model, (3,), TASK, temperature=2.0))
    torch.testing.assert_close(raw, model(example_inputs(spec)))


class TwoOutputs(nn.Linear):
    def forward(self, input: torch.Tensor) -> Any:
        return {"hidden": input, "logits": super().forward(input)}


def test_of_several_outputs_the_chosen_one_is_exported() -> None:
    spec = ExportSpec(TwoOutputs(3, 2), (3,), TASK, output=OneOutput("logits"))
    _, output = network_of(spec)
    assert torch.equal(output, spec.model(example_inputs(spec))["logits"])
    with pytest.raises(ExportError, match=r"a dict of hidden, logits: expected one tensor .* output=\"logits\""):
        network_of(replace(spec, output=None))


def test_raw_outputs_have_no_temperature() -> None:
    output = describe(ExportSpec(nn.Linear(2, 2), (2,), temperature=3.0), torch.zeros(8, 2))["output"]
    assert (output["activation"], output["temperature"]) == ("identity", 1.0)


def test_one_output_per_input_is_one_column() -> None:
    loss_activation = FocalLoss().activation  # sigmoid of one column, softmax of several
    spec = ExportSpec(nn.Linear(2, 1), (2,), MultiLabel(("a",)), activation=loss_activation)
    assert describe(spec, torch.zeros(8))["output"]["activation"] == "sigmoid"
    assert describe(spec, torch.zeros(8, 2))["output"]["activation"] == "softmax"


def test_inputs_are_always_the_same_and_as_the_data() -> None:
    spec = ExportSpec(network(), (3, 6, 8), TASK, PREPROCESS)
    pixels = example_inputs(spec, preprocessing=True)
    assert (pixels.shape, pixels.dtype) == ((8, 6, 8, 3), torch.uint8)
    assert pixels.max() > 240
    floats = example_inputs(spec)
    assert (floats.shape, floats.dtype) == ((8, 3, 6, 8), torch.float32)
    assert torch.equal(floats, example_inputs(spec))
    numbers = example_inputs(ExportSpec(nn.Embedding(2, 2), (4,), dtype=torch.int64))
    assert (numbers.shape, numbers.dtype, set(numbers.flatten().tolist())) == ((8, 4), torch.int64, {0, 1})


def test_preprocessing_inside_needs_images_and_inputs_a_shape() -> None:
    check_inputs(ExportSpec(network(), (3, 6, 8), TASK, PREPROCESS), preprocessing=True)
    check_inputs(ExportSpec(nn.Linear(2, 2), (2,)), preprocessing=False)
    with refused("preprocessing=True requires image data"):
        check_inputs(ExportSpec(nn.Linear(2, 2), (2,)), preprocessing=True)
    for depth in (12, (0.0, 1.0)):
        deep = ExportSpec(network(), (3, 6, 8), TASK, replace(PREPROCESS, depth=depth))
        check_inputs(deep, preprocessing=False)
        with refused("preprocessing=True takes images of 8 bits; the depth of this data", got=depth):
            check_inputs(deep, preprocessing=True)
    check_inputs(ExportSpec(network(), (3, 6, 8), TASK, replace(PREPROCESS, depth=8)), preprocessing=True)
    with refused("export: the data does not specify the shape of an input"):
        check_inputs(ExportSpec(nn.Linear(2, 2), None), preprocessing=False)


def test_the_cause_is_the_first_line_of_the_first_error() -> None:
    first = ValueError("\n  sizes differ\nand more")
    second = RuntimeError("export failed")
    second.__cause__ = first
    assert cause_of(second) == "ValueError: sizes differ"
    assert cause_of(KeyError()) == "KeyError"
