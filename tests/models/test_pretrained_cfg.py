"""How pictures are prepared for published weights."""

import pytest
import torchvision
from torch import nn
from torchvision.models import ViT_B_16_Weights

from learnkit.errors import UsageError
from learnkit.models import resnet18
from learnkit.models.pretrained_cfg import Preprocessing, differs, has_preprocessing, preprocessing_of

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("given", ["resnet18", resnet18, torchvision.models.resnet18])
def test_a_torchvision_network_is_read_off_its_default_weights(given: object) -> None:
    assert preprocessing_of(given) == Preprocessing(*IMAGENET, 224, "bilinear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "weights",
    ["IMAGENET1K_SWAG_E2E_V1", "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1],
)
def test_other_weights_have_their_own(weights: object) -> None:
    assert preprocessing_of("vit_b_16", weights)[2:] == (384, "bicubic")
    assert preprocessing_of("vit_b_16")[2:] == (224, "bilinear")


def test_a_file_says_nothing_so_the_default_weights_speak() -> None:
    assert preprocessing_of("inception_v3", "mine.pth").size == 299
    assert preprocessing_of("inception_v3", {}).size == 299


def test_timm_networks_are_read_off_their_config() -> None:
    pytest.importorskip("timm")
    half = (0.5, 0.5, 0.5)
    assert preprocessing_of("timm/tf_efficientnet_lite0") == Preprocessing(half, half, 224, "bicubic")
    assert preprocessing_of("timm/resnet18", "tv_in1k") == Preprocessing(*IMAGENET, 224, "bilinear")
    assert preprocessing_of("timm/resnet18.tv_in1k").interpolation == "bilinear"
    assert preprocessing_of("timm/tf_efficientnet_lite0", "mine.pth").mean == half


def test_a_network_of_ones_own_has_none() -> None:
    assert not has_preprocessing(nn.Identity())
    assert not has_preprocessing(lambda: nn.Identity())
    assert has_preprocessing("resnet18")
    with pytest.raises(UsageError, match="expected a network with published weights"):
        preprocessing_of(nn.Identity())


def test_statistics_for_other_than_three_channels_are_the_means() -> None:
    wanted = Preprocessing((0.2, 0.4, 0.6), (0.1, 0.2, 0.3), 224, "bilinear")
    assert wanted.statistics(3) == ((0.2, 0.4, 0.6), (0.1, 0.2, 0.3))
    assert wanted.statistics(1) == ((0.4,), (0.2,))
    assert wanted.statistics(2) == ((0.4, 0.4), (0.2, 0.2))


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (*IMAGENET, False),
        ((0.481, 0.458, 0.408), (0.229, 0.224, 0.225), False),  # measured on other pictures of ImageNet
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), True),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), True),
        ((0.449,), (0.226,), False),
        ((0.1307,), (0.3081,), True),
    ],
)
def test_statistics_that_differ(mean: tuple[float, ...], std: tuple[float, ...], expected: bool) -> None:
    assert differs(preprocessing_of("resnet18"), mean, std) is expected
