"""The table of architectures, and finding one in it."""

import math

import pytest
import torch
import torchvision
from torch import nn

import learnkit.models
from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name
from learnkit.models.cut import create_body
from learnkit.models.meta import built_on_meta
from tests.doubles import refused

FAMILY = [
    "resnet101", "resnet152", "resnet18", "resnet34", "resnet50", "resnext101_32x8d", "resnext101_64x4d",
    "resnext50_32x4d", "wide_resnet101_2", "wide_resnet50_2",
]  # fmt: skip


def test_the_table_has_all_classifiers_of_torchvision_except_maxvit() -> None:
    assert sorted([*ARCHITECTURES, "maxvit_t"]) == torchvision.models.list_models(module=torchvision.models)


def test_the_resnet_family_is_cut_and_split_in_one_way() -> None:
    assert {(ARCHITECTURES[name].cut, ARCHITECTURES[name].splits) for name in FAMILY} == {(-2, (6,))}


BY_STRIDE = [
    "resnet18", "resnext50_32x4d", "wide_resnet50_2", "googlenet", "inception_v3", "shufflenet_v2_x0_5",
    "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet0_5", "efficientnet_b0", "efficientnet_b4", "efficientnet_v2_s",
    "convnext_tiny", "regnet_x_400mf", "regnet_x_8gf", "regnet_y_400mf", "regnet_y_8gf", "swin_t", "swin_v2_t",
]  # fmt: skip


def sides(name: str, n_layers: int) -> tuple[int, int]:
    """The side of the feature map of a 512 x 512 image before and after the first weights of layer `n_layers`."""
    known = ARCHITECTURES[name]
    body = built_on_meta(lambda: create_body(known(), known.cut)).eval()
    assert isinstance(body, nn.Sequential)
    outputs, weighted = [torch.empty(1, 3, 512, 512, device="meta")], []
    for layer in body[: n_layers + 1]:
        outputs.append(layer(outputs[-1]))
        weighted.append(bool(list(layer.parameters())))
    last = max(number for number in range(n_layers) if weighted[number])
    place = 1 if "swin" in name else 2  # swin has its channels last
    return outputs[last + 1].shape[place], outputs[-1].shape[place]


@pytest.mark.parametrize("name", BY_STRIDE)
def test_the_second_group_begins_with_the_stage_of_stride_16(name: str) -> None:
    (split,) = ARCHITECTURES[name].splits
    before, after = sides(name, split)
    assert (round(math.log2(512 / before)), round(math.log2(512 / after))) == (3, 4)


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19", "vgg13_bn"])
def test_the_second_group_of_vgg_begins_at_the_third_pooling(name: str) -> None:
    layers = built_on_meta(ARCHITECTURES[name]).get_submodule("features").children()
    pooling = [number for number, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    assert ARCHITECTURES[name].splits == (pooling[2],)


def test_the_splits_of_fastai_1() -> None:
    expected: dict[str, tuple[int, ...]] = {"alexnet": (6,), "mobilenet_v2": (10,)}
    expected |= dict.fromkeys(("vgg11_bn", "vgg16_bn", "vgg19_bn"), (22,))
    expected |= dict.fromkeys(("squeezenet1_0", "squeezenet1_1"), (5, 8))
    expected |= dict.fromkeys(("densenet121", "densenet161", "densenet169", "densenet201"), (7,))
    assert {name: ARCHITECTURES[name].splits for name in expected} == expected


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"])
def test_the_second_group_of_a_transformer_begins_at_half_of_its_layers(name: str) -> None:
    n_layers = len(list(built_on_meta(ARCHITECTURES[name]).get_submodule("encoder.layers").children()))
    assert ARCHITECTURES[name].splits == (1 + n_layers // 2,)  # the tokens come first
    assert ARCHITECTURES[name].pooled
    assert ARCHITECTURES[name].min_side == int(name[-2:])  # one patch


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_would_warn_about_their_init_do_not(name: str) -> None:
    with torch.device("meta"):
        ARCHITECTURES[name]()  # a warning would be an error here


def test_the_public_names_are_sorted_and_exist() -> None:
    assert learnkit.models.__all__ == sorted(learnkit.models.__all__)
    assert all(hasattr(learnkit.models, name) for name in learnkit.models.__all__)


@pytest.mark.parametrize("name", FAMILY)
def test_an_architecture_is_found_by_instance_name_and_torchvision_builder(name: str) -> None:
    found = [find_architecture(given) for given in (ARCHITECTURES[name], name, getattr(torchvision.models, name))]
    assert found == [ARCHITECTURES[name]] * 3


def test_a_called_architecture_builds_the_torchvision_model() -> None:
    model = learnkit.models.resnet18(num_classes=7)
    assert type(model) is torchvision.models.ResNet
    assert model.fc.out_features == 7


def test_an_unknown_name_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match=r"Nearest: .*resnet34") as caught:
        find_architecture("resnet35")
    assert (caught.value.what, caught.value.got) == ("base_arch", "resnet35")


def test_a_torchvision_builder_outside_the_table_is_refused() -> None:
    with refused("base_arch", got="maxvit_t", expected="a known architecture"):
        find_architecture(torchvision.models.maxvit_t)


def test_a_name_that_only_timm_has_is_refused_with_the_timm_name() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match=r'timm has a network of that name: pass "timm/convnext_nano"'):
        find_architecture("convnext_nano")


def test_a_user_defined_function_is_not_mistaken_for_torchvisions() -> None:
    def resnet18() -> nn.Module:
        return nn.Identity()

    assert torchvision_name(resnet18) is None
    with refused("base_arch", got=resnet18, expected="an architecture, its name or a torchvision builder"):
        find_architecture(resnet18)


@pytest.mark.parametrize("given", [18, None, nn.Identity()])
def test_something_else_is_refused(given: object) -> None:
    with refused("base_arch", got=given, fix="Pass for example learnkit.models.resnet18."):
        find_architecture(given)  # type: ignore[arg-type]


def test_an_architecture_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Architecture("mine", -1, (3,)).cut = -2  # type: ignore[misc]
