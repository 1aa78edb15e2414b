"""The U-Net: what it takes up from every backbone, and that it answers pixel by pixel."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models import Unet, build_unet
from learnkit.modes import eval_mode

BACKBONES = ["resnet18", "vgg11_bn", "alexnet", "squeezenet1_1", "densenet121", "mobilenet_v2", "mobilenet_v3_small",
             "efficientnet_b0", "convnext_tiny", "regnet_x_400mf", "shufflenet_v2_x0_5", "mnasnet0_5"]  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_every_convolutional_backbone_answers_for_every_pixel(name: str) -> None:
    model, groups = build_unet(name, 5, pretrained=False)
    with eval_mode(model):
        for height, width in ((64, 64), (72, 91)):
            assert model(torch.rand(1, 3, height, width)).shape == (1, 5, height, width)
    assert len(groups) >= 2
    parts = {id(parameter) for group in groups for parameter in group.parameters()}
    assert parts == {id(parameter) for parameter in model.parameters()}


def test_a_resnet_is_taken_up_at_each_of_its_sizes() -> None:
    model, groups = build_unet("resnet18", 2, pretrained=False)
    assert model._kept == ["", "6", "5", "4", "2"]  # the stages, and the first block before it is pooled
    assert [block.norm.num_features for block in model.decoder[:-1]] == [256, 128, 64, 64, 3]
    assert len(groups) == 3


def test_what_each_block_takes_up_is_what_the_body_saw() -> None:
    """Values by another road: the stages of the body called one after the other."""
    torch.manual_seed(0)
    model, _ = build_unet("resnet18", 2, pretrained=False)
    x = torch.rand(1, 3, 64, 64)
    seen: list[Tensor] = []
    for block in model.decoder[:-1]:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    with eval_mode(model):
        model(x)
        assert not model._seen  # nothing is held between two calls
        stem = model.body[:3](x)
        first = model.body[4](model.body[3](stem))
        second = model.body[5](first)
        third = model.body[6](second)
    for skip, expected in zip(seen, [third, second, first, stem, x], strict=True):
        torch.testing.assert_close(skip, expected)


def test_a_copy_stands_by_itself() -> None:
    model, _ = build_unet("resnet18", 2, pretrained=False)
    other = copy.deepcopy(model)
    x = torch.rand(2, 3, 32, 32)
    with eval_mode(model), eval_mode(other):
        torch.testing.assert_close(model(x), other(x))
        with torch.no_grad():
            next(other.body.parameters()).zero_()
        assert not torch.allclose(model(x), other(x))


def test_any_number_of_channels() -> None:
    model, _ = build_unet("resnet18", 3, pretrained=False, in_chans=5)
    with eval_mode(model):
        assert model(torch.rand(2, 5, 32, 48)).shape == (2, 3, 32, 48)


def test_gradients_reach_every_parameter() -> None:
    model, _ = build_unet("resnet18", 3, pretrained=False)
    model(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["vit_b_32"])
def test_a_network_without_a_map_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="one value per channel"):
        build_unet(name, 2, pretrained=False, image_size=(224, 224))


def test_a_body_that_keeps_the_size_is_refused() -> None:
    with pytest.raises(UsageError, match="no smaller"):
        Unet(nn.Conv2d(3, 4, 3, padding=1), 2)


def test_exploring_leaves_no_trace() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    before = copy.deepcopy(body.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Unet(body, 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in body.state_dict().items())
    assert all(module.training for module in body.modules())
