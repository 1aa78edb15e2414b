"""The table of architectures, and finding one in it."""

import pytest
import torch
import torchvision
from torch import nn

import learnkit.models
from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture, torchvision_name

FAMILY = [
    "resnet101", "resnet152", "resnet18", "resnet34", "resnet50", "resnext101_32x8d", "resnext101_64x4d",
    "resnext50_32x4d", "wide_resnet101_2", "wide_resnet50_2",
]  # fmt: skip


def test_the_table_holds_all_that_torchvision_classifies_with_but_maxvit() -> None:
    assert sorted([*ARCHITECTURES, "maxvit_t"]) == torchvision.models.list_models(module=torchvision.models)


def test_the_resnet_family_is_cut_and_split_in_one_way() -> None:
    assert {(ARCHITECTURES[name].cut, ARCHITECTURES[name].splits) for name in FAMILY} == {(-2, (6,))}


def test_every_architecture_is_a_name_of_the_package() -> None:
    assert [getattr(learnkit.models, name) for name in ARCHITECTURES] == list(ARCHITECTURES.values())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_networks_that_ask_how_to_begin_are_told(name: str) -> None:
    with torch.device("meta"):
        ARCHITECTURES[name]()  # a warning would be an error here


def test_the_public_names_are_sorted_and_there() -> None:
    assert learnkit.models.__all__ == sorted(learnkit.models.__all__)
    assert all(hasattr(learnkit.models, name) for name in learnkit.models.__all__)


@pytest.mark.parametrize("name", FAMILY)
def test_an_architecture_is_found_by_itself_its_name_and_torchvisions_builder(name: str) -> None:
    found = [find_architecture(given) for given in (ARCHITECTURES[name], name, getattr(torchvision.models, name))]
    assert found == [ARCHITECTURES[name]] * 3


def test_a_called_architecture_builds_the_torchvision_model() -> None:
    model = learnkit.models.resnet18(num_classes=7)
    assert type(model) is torchvision.models.ResNet
    assert model.fc.out_features == 7


def test_an_unknown_name_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(
        UsageError, match=r"base_arch: got 'resnet35', expected a known architecture\. Nearest: .*resnet34"
    ):
        find_architecture("resnet35")


def test_a_torchvision_builder_outside_the_table_is_refused() -> None:
    with pytest.raises(UsageError, match="got 'maxvit_t', expected a known architecture"):
        find_architecture(torchvision.models.maxvit_t)


def test_a_name_that_only_timm_knows_is_refused_with_the_way_to_ask_timm() -> None:
    pytest.importorskip("timm")
    with pytest.raises(
        UsageError, match=r'got .convnext_nano., .*timm has a network of that name: pass "timm/convnext'
    ):
        find_architecture("convnext_nano")


def test_a_function_of_the_users_own_is_not_taken_for_torchvisions() -> None:
    def resnet18() -> nn.Module:
        return nn.Identity()

    assert torchvision_name(resnet18) is None
    with pytest.raises(UsageError, match="expected an architecture, its name or a torchvision builder"):
        find_architecture(resnet18)


@pytest.mark.parametrize("given", [18, None, nn.Identity()])
def test_something_else_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match=r"base_arch: got .* Pass for example learnkit\.models\.resnet18"):
        find_architecture(given)  # type: ignore[arg-type]


def test_an_architecture_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Architecture("mine", -1, (3,)).cut = -2  # type: ignore[misc]
