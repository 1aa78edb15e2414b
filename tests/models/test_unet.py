"""The U-Net: the feature maps it uses from every backbone, and its outputs per pixel."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models import Unet, build_unet
from learnkit.modes import eval_mode
from tests.doubles import refused, slow

BACKBONES = [
    "resnet18", slow("vgg11_bn"), "alexnet", "squeezenet1_1", slow("densenet121"), "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", slow("convnext_tiny"), "regnet_x_400mf", "shufflenet_v2_x0_5", "mnasnet0_5",
]  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_every_convolutional_backbone_has_outputs_for_every_pixel(name: str) -> None:
    model, groups = build_unet(name, 5, pretrained=False)
    with eval_mode(model):
        for height, width in ((64, 64), (72, 91)):
            assert model(torch.rand(1, 3, height, width)).shape == (1, 5, height, width)
    assert len(groups) >= 2
    parts = {id(parameter) for group in groups for parameter in group.parameters()}
    assert parts == {id(parameter) for parameter in model.parameters()}


def test_the_feature_maps_of_all_sizes_of_a_resnet_are_used() -> None:
    model, groups = build_unet("resnet18", 2, pretrained=False)
    assert model._names == ["", "6", "5", "4", "2"]  # the stages, and the first block before it is pooled
    assert [block.norm.num_features for block in model.decoder[:-1]] == [256, 128, 64, 64, 3]
    assert len(groups) == 3


def test_the_skips_are_the_outputs_of_the_stages() -> None:
    """Expected values: the stages of the body called one after the other."""
    torch.manual_seed(0)
    model, _ = build_unet("resnet18", 2, pretrained=False)
    x = torch.rand(1, 3, 64, 64)
    seen: list[Tensor] = []
    for block in model.decoder[:-1]:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    with eval_mode(model):
        model(x)
        assert not model._skips  # nothing is held between two calls
        stem = model.body[:3](x)
        first = model.body[4](model.body[3](stem))
        second = model.body[5](first)
        third = model.body[6](second)
    for skip, expected in zip(seen, [third, second, first, stem, x], strict=True):
        torch.testing.assert_close(skip, expected)


def downsampling_body() -> nn.Sequential:
    """Two convolutions of stride 2, with 40 and 80 channels."""
    return nn.Sequential(
        nn.Conv2d(3, 40, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(40, 80, 3, stride=2, padding=1), nn.ReLU()
    )


def bilinear(n_in: int, n_out: int) -> Tensor:
    """The matrix (n_out, n_in) that resizes a line of pixels, whose centers are at 1/2, 3/2, ..."""
    at = ((torch.arange(n_out) + 0.5) * n_in / n_out - 0.5).clamp(0, n_in - 1)
    return (1 - (at[:, None] - torch.arange(n_in)).abs()).clamp(min=0)


def normalized(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """A batch norm in evaluation mode."""
    mean, var, weight, bias = (
        state[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def decoded(state: dict[str, Tensor], out: Tensor, skips: list[Tensor]) -> Tensor:
    """The decoder written out from the tensors of its state dict."""
    for number, skip in enumerate(skips):
        block = f"decoder.{number}"
        rows, columns = bilinear(out.shape[2], skip.shape[2]), bilinear(out.shape[3], skip.shape[3])
        out = torch.cat([rows @ out @ columns.T, normalized(skip, state, f"{block}.norm")], dim=1)
        for conv in range(2):
            out = nn.functional.conv2d(out, state[f"{block}.convs.{conv}.0.weight"], padding=1)
            out = normalized(out, state, f"{block}.convs.{conv}.1").clamp(min=0)
    last = f"decoder.{len(skips)}"
    weight, bias = state[f"{last}.weight"][:, :, 0, 0], state[f"{last}.bias"]
    return torch.einsum("oc,nchw->nohw", weight, out) + bias.view(-1, 1, 1)


def test_the_decoder_equals_one_written_by_hand() -> None:
    torch.manual_seed(0)
    model = Unet(downsampling_body(), 4)
    for name, tensor in model.state_dict().items():  # statistics and scales that are not 0 and 1
        if tensor.is_floating_point() and "body" not in name:
            tensor.add_((torch.rand_like(tensor) - 0.5) * 0.3)
    x = torch.rand(2, 3, 21, 26)  # the maps have 11 x 13 and 6 x 7
    with eval_mode(model):
        first = model.body[:2](x)
        smallest = model.body[2:](first)
        expected = decoded(model.state_dict(), smallest, [first, x])
        outputs = model(x)
    assert outputs.shape == (2, 4, 21, 26)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)


def test_a_decoder_block_has_half_the_channels_and_at_least_32() -> None:
    model = Unet(downsampling_body(), 4)
    convs = [layer for layer in model.decoder.modules() if isinstance(layer, nn.Conv2d)]
    expected = [(80 + 40, 40), (40, 40), (40 + 3, 32), (32, 32), (32, 4)]
    assert [(conv.in_channels, conv.out_channels) for conv in convs] == expected


def test_the_convolutions_of_the_decoder_start_with_kaimings_normal_weights() -> None:
    torch.manual_seed(0)
    decoder = Unet(downsampling_body(), 4).decoder
    for block in decoder[:-1]:
        for weight in (block.convs[0][0].weight, block.convs[1][0].weight):
            std = (2 / (weight.shape[1] * 9)) ** 0.5
            assert weight.std().item() == pytest.approx(std, rel=0.03)
            assert (weight.abs() < std).float().mean().item() == pytest.approx(0.683, abs=0.02)  # 0.577 if uniform


def test_a_copy_is_independent() -> None:
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


def test_it_learns_masks_and_changes_every_parameter() -> None:
    torch.manual_seed(0)
    model = Unet(downsampling_body(), 2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    x = torch.rand(4, 3, 16, 16)
    masks = (x[:, 0] > 0.5).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["vit_b_32"])
def test_a_network_without_feature_maps_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="one value per channel"):
        build_unet(name, 2, pretrained=False, image_size=(224, 224))


def test_a_body_that_keeps_the_size_is_refused() -> None:
    with refused("body", got="Conv2d", expected="a convolutional network that downsamples"):
        Unet(nn.Conv2d(3, 4, 3, padding=1), 2)


def test_the_body_is_not_changed() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    before = copy.deepcopy(body.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Unet(body, 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in body.state_dict().items())
    assert all(module.training for module in body.modules())
