"""Layers found, replaced and appended by name."""

import pytest
import torch
import torchvision
from torch import nn

from learnkit.errors import UsageError
from learnkit.models.layers import append_layer, find_layer, replace_layer
from tests.doubles import refused


@pytest.fixture
def model() -> nn.Module:
    return torchvision.models.squeezenet1_1()


def test_a_layer_is_found_by_its_dotted_name(model: nn.Module) -> None:
    assert find_layer(model, "features.0") is model.features[0]  # type: ignore[index]


@pytest.mark.parametrize("name", ["", "fc", 3])
def test_an_unknown_name_is_refused(model: nn.Module, name: str) -> None:
    with refused("name", got=name, expected="the name of a layer of SqueezeNet"):
        find_layer(model, name)


def test_the_nearest_names_are_listed(model: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"Nearest: classifier, classifier\.0, classifier\.1"):
        find_layer(model, "classifie")


def test_a_layer_is_replaced_and_the_old_one_returned(model: nn.Module) -> None:
    old, new = find_layer(model, "classifier.1"), nn.Conv2d(512, 10, 1)
    assert replace_layer(model, "classifier.1", new) is old
    assert model.classifier[1] is new  # type: ignore[index]
    assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 10)


def test_a_layer_at_the_top_is_replaced() -> None:
    model = torchvision.models.resnet18()
    replace_layer(model, "fc", nn.Linear(512, 7))
    assert model.fc.out_features == 7


def test_a_sequential_grows_by_the_appended_layer(model: nn.Module) -> None:
    append_layer(model, "classifier", nn.Flatten())
    append_layer(model, "classifier", nn.Linear(1000, 10))
    assert len(model.classifier) == 6  # type: ignore[arg-type]
    assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 10)


def test_a_single_layer_becomes_a_sequential() -> None:
    model = torchvision.models.shufflenet_v2_x0_5()
    fc = model.fc
    append_layer(model, "fc", nn.Linear(1000, 3))
    assert model.fc[0] is fc
    assert model.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 3)


def test_only_a_sequential_as_a_whole_can_be_appended_to(model: nn.Module) -> None:
    layers = nn.Sequential(nn.Linear(4, 3))
    append_layer(layers, "", nn.ReLU())
    assert isinstance(layers[1], nn.ReLU)
    with pytest.raises(UsageError, match=r"SqueezeNet runs by its own forward\. Pass for example 'classifier'"):
        append_layer(model, "", nn.ReLU())


@pytest.mark.parametrize("change", [replace_layer, append_layer])
def test_anything_but_a_module_is_refused(change: object, model: nn.Module) -> None:
    with refused("layer", got=nn.Linear, expected="an nn.Module"):
        change(model, "classifier", nn.Linear)  # type: ignore[operator]
