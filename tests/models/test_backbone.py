"""Weights, channels and cuts in families other than resnet."""

import re
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES
from learnkit.models.build import build_cnn
from learnkit.models.cut import create_body
from learnkit.models.stem import first_conv
from tests.doubles import slow

State = dict[str, Tensor]
LIGHT = [
    "squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v2", "mobilenet_v3_small",
    "mnasnet0_5", "efficientnet_b0", "regnet_x_400mf",
]  # fmt: skip
HEAVY = [slow(name) for name in ("convnext_tiny", "densenet121", "googlenet", "inception_v3", "swin_t", "swin_v2_t")]


def state_of(name: str) -> State:
    torch.manual_seed(5)
    return dict(ARCHITECTURES[name]().state_dict())


def stem(model: nn.Module) -> Tensor:
    conv = first_conv(model)
    assert conv is not None
    return conv.weight.detach()


@pytest.mark.parametrize("name", [*LIGHT, *HEAVY])
def test_every_tensor_of_the_body_is_that_of_the_state_dict(name: str) -> None:
    state = state_of(name)
    given = {tensor.numpy().tobytes() for tensor in state.values()}
    body = build_cnn(name, 3, weights=state).model[0]
    loaded = list(body.state_dict().values())
    assert len(loaded) > 20
    assert all(tensor.numpy().tobytes() in given for tensor in loaded)


@pytest.mark.parametrize("in_chans", [1, 4])
@pytest.mark.parametrize("name", [*LIGHT, *HEAVY])
def test_the_pretrained_planes_are_adapted_in_every_family(name: str, in_chans: int) -> None:
    state = state_of(name)
    cnn = build_cnn(name, 3, weights=state, in_chans=in_chans)
    old = stem(build_cnn(name, 3, weights=state).model)
    expected = old.sum(1, keepdim=True) if in_chans == 1 else old[:, [0, 1, 2, 0]] * 0.75
    torch.testing.assert_close(stem(cnn.model), expected)
    with torch.no_grad():
        assert cnn.model.eval()(torch.rand(1, in_chans, 96, 96)).shape == (1, 3)


@pytest.mark.parametrize("name", ["alexnet", "densenet121", "googlenet", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_a_custom_cut_is_used(name: str) -> None:
    first = build_cnn(name, 3, cut=1, pretrained=False)
    assert [type(layer) for layer in first.model[0]] == [type(next(ARCHITECTURES[name]().children()))]
    seen: list[nn.Module] = []

    def stem_alone(network: nn.Module) -> nn.Module:
        conv = first_conv(network)
        assert conv is not None
        seen.append(conv)
        return nn.Sequential(conv)

    cnn = build_cnn(name, 3, cut=stem_alone, pretrained=False)
    assert cnn.model[0][0] is seen[0]
    assert len(cnn.groups) == 2


@pytest.mark.slow
def test_for_a_cut_without_features_the_error_names_the_network_and_the_fix() -> None:
    with pytest.raises(UsageError, match=r"the body cut from alexnet returns a tensor of shape .* Pass another cut="):
        build_cnn("alexnet", 3, cut=lambda network: network, pretrained=False)
    with pytest.raises(UsageError, match=r"the body cut from alexnet does not run .* Pass another cut="):
        build_cnn("alexnet", 3, cut=3, pretrained=False)


def test_a_network_outside_the_table_that_cannot_be_cut_is_named_too() -> None:
    with pytest.raises(UsageError, match=r"the body cut from maxvit_t does not run .* Pass another cut="):
        build_cnn(torchvision.models.maxvit_t, 3, pretrained=False)


def test_images_too_small_are_refused_with_the_size_of_the_weights() -> None:
    with pytest.raises(
        UsageError, match=r"inception_v3: images of 64 x 64 pixels are too small, it needs at least 75 x 75.*size=299"
    ):
        build_cnn("inception_v3", 3, pretrained=False, image_size=(64, 64))


SMALLEST = [
    "alexnet", "squeezenet1_0", "squeezenet1_1", "densenet121", "googlenet", "inception_v3", "swin_t", "swin_v2_t",
    "convnext_tiny", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vit_b_32",
]  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_image_of_the_table_is_the_smallest_that_runs(name: str) -> None:
    side = ARCHITECTURES[name].min_side
    with torch.device("meta"):
        body = create_body(ARCHITECTURES[name]().eval(), ARCHITECTURES[name].cut)
        assert runs(body, side)
        assert not runs(body, side - 1)


def runs(body: nn.Module, side: int) -> bool:
    try:
        features: Tensor = body(torch.empty(1, 3, side, side))
    except RuntimeError:  # a kernel larger than the remaining image
        return False
    return features.numel() > 0


def test_the_old_names_of_densenets_file_are_updated() -> None:
    state = state_of("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): tensor for key, tensor in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert torch.equal(
        build_cnn("densenet121", 3, weights=old).model[0].state_dict()["4.denselayer1.conv2.weight"],
        state["features.denseblock1.denselayer1.conv2.weight"],
    )


@pytest.mark.slow
def test_the_old_names_of_a_transformers_file_are_updated_and_its_larger_grid_resized() -> None:
    state = state_of("vit_b_32")
    old = {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): t for key, t in state.items()}
    large = torch.full((1, 1 + 12 * 12, 768), 0.5)  # of images of 384 x 384
    body = build_cnn("vit_b_32", 3, weights=old | {"encoder.pos_embedding": large}).model[0]
    torch.testing.assert_close(body[0].pos_embedding, torch.full((1, 50, 768), 0.5))
    assert torch.equal(body[1].mlp[3].weight, state["encoder.layers.encoder_layer_0.mlp.3.weight"])


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1])
def test_torchvisions_entries_are_read_from_the_cache(weights: object) -> None:
    state = state_of("shufflenet_v2_x0_5")
    url = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    assert torch.equal(stem(build_cnn("shufflenet_v2_x0_5", 3, weights=weights).model), state["conv1.0.weight"])
