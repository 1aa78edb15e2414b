"""How images are preprocessed for published weights."""

import pytest
import torchvision
from torch import nn
from torchvision.models import ViT_B_16_Weights

from learnkit.models import resnet18
from learnkit.models.pretrained_cfg import PretrainedCfg, get_pretrained_cfg, has_pretrained_cfg
from tests.doubles import refused

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("given", ["resnet18", resnet18, torchvision.models.resnet18])
def test_torchvision_records_it_with_the_default_weights(given: object) -> None:
    assert get_pretrained_cfg(given) == PretrainedCfg(*IMAGENET, 224, "bilinear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "weights",
    ["IMAGENET1K_SWAG_E2E_V1", "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1],
)
def test_other_weights_have_another_preprocessing(weights: object) -> None:
    assert get_pretrained_cfg("vit_b_16", weights)[2:] == (384, "bicubic")
    assert get_pretrained_cfg("vit_b_16")[2:] == (224, "bilinear")


def test_for_a_file_it_is_that_of_the_default_weights() -> None:
    assert get_pretrained_cfg("inception_v3", "mine.pth").size == 299
    assert get_pretrained_cfg("inception_v3", {}).size == 299


def test_timm_records_it_in_its_config() -> None:
    pytest.importorskip("timm")
    half = (0.5, 0.5, 0.5)
    assert get_pretrained_cfg("timm/tf_efficientnet_lite0") == PretrainedCfg(half, half, 224, "bicubic")
    assert get_pretrained_cfg("timm/resnet18", "tv_in1k") == PretrainedCfg(*IMAGENET, 224, "bilinear")
    assert get_pretrained_cfg("timm/resnet18.tv_in1k").interpolation == "bilinear"
    assert get_pretrained_cfg("timm/tf_efficientnet_lite0", "mine.pth").mean == half


def test_a_custom_network_has_none() -> None:
    assert not has_pretrained_cfg(nn.Identity())
    assert not has_pretrained_cfg(lambda: nn.Identity())
    assert has_pretrained_cfg("resnet18")
    with refused("base_arch", got="Identity", expected="a network with published weights"):
        get_pretrained_cfg(nn.Identity())


def test_statistics_for_other_than_three_channels_are_the_means() -> None:
    wanted = PretrainedCfg((0.2, 0.4, 0.6), (0.1, 0.2, 0.3), 224, "bilinear")
    assert wanted.statistics(3) == ((0.2, 0.4, 0.6), (0.1, 0.2, 0.3))
    assert wanted.statistics(1) == ((0.4,), (0.2,))
    assert wanted.statistics(2) == ((0.4, 0.4), (0.2, 0.2))


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (*IMAGENET, True),
        ((0.481, 0.458, 0.408), (0.229, 0.224, 0.225), True),  # measured on other images of ImageNet
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
        ((0.449,), (0.226,), True),
        ((0.1307,), (0.3081,), False),
    ],
)
def test_statistics_agree_up_to_the_choice_of_images(
    mean: tuple[float, ...], std: tuple[float, ...], expected: bool
) -> None:
    assert get_pretrained_cfg("resnet18").agrees(mean, std) is expected
