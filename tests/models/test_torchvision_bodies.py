"""The bodies of torchvision's families: each outputs exactly the input of the network's own classifier."""

import pytest
import torch
from torch import Tensor, nn

from learnkit.models.architectures import ARCHITECTURES
from learnkit.models.cut import create_body
from learnkit.models.torchvision_bodies import ScaleInput, resized_positions

# name -> the layer of the whole network whose input is the features, and the size of the image
RECEIVERS = {
    "densenet121": ("classifier", 64),
    "googlenet": ("avgpool", 64),
    "inception_v3": ("avgpool", 96),
    "mnasnet0_5": ("classifier", 64),
    "mobilenet_v2": ("classifier", 64),
    "regnet_x_400mf": ("avgpool", 64),
    "shufflenet_v2_x0_5": ("fc", 64),
    "squeezenet1_1": ("classifier", 64),
    "swin_t": ("avgpool", 64),
    "vit_b_32": ("heads", 224),
}


def input_of(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    given: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
    with torch.no_grad():
        network(x)
    handle.remove()
    return given[0]


@pytest.mark.parametrize("name", RECEIVERS)
def test_the_body_outputs_what_the_classifier_was_trained_on(name: str) -> None:
    torch.manual_seed(0)
    layer, side = RECEIVERS[name]
    network = ARCHITECTURES[name]().eval()
    if hasattr(network, "transform_input"):
        network.transform_input = True  # as torchvision sets it for its weights
    body = create_body(network, ARCHITECTURES[name].cut)
    x = torch.rand(1, 3, side, side)
    expected = input_of(network, layer, x)
    with torch.no_grad():
        features = body(x)
    assert features.ndim == 4
    torch.testing.assert_close(
        features.mean((2, 3)) if expected.ndim == 2 else features, expected, rtol=1e-4, atol=1e-4 * expected.abs().max()
    )


@pytest.mark.parametrize("side", [32, 96])
def test_a_transformer_accepts_images_of_another_size(side: int) -> None:
    with torch.device("meta"):
        known = ARCHITECTURES["vit_b_32"]
        body = create_body(known(), known.cut)
        assert body(torch.empty(2, 3, side, side)).shape == (2, 768, 1, 1)


def test_positions_of_the_same_grid_are_not_changed() -> None:
    positions = torch.rand(1, 1 + 9, 4)
    assert resized_positions(positions, 3, 3) is positions


def test_resized_positions_keep_the_class_token_and_a_constant_grid() -> None:
    positions = torch.cat([torch.full((1, 1, 2), 7.0), torch.full((1, 16, 2), 3.0)], dim=1)
    resized = resized_positions(positions, 2, 5)
    assert resized.shape == (1, 11, 2)
    assert resized[0, 0].tolist() == [7, 7]
    torch.testing.assert_close(resized[0, 1:], torch.full((10, 2), 3.0))


def test_resized_positions_do_not_swap_rows_and_columns() -> None:
    rows = torch.arange(4.0)[:, None].expand(4, 4)
    positions = torch.cat([torch.zeros(1, 1, 1), rows.reshape(1, 16, 1)], dim=1)
    grid = resized_positions(positions, 2, 3)[0, 1:, 0].view(2, 3)
    assert (grid[1] > grid[0]).all()
    torch.testing.assert_close(grid[:, 0], grid[:, 2])


def test_scaled_input_equals_input_normalized_by_a_mean_and_std_of_one_half() -> None:
    pixels = torch.rand(2, 3, 4, 4)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalized = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(ScaleInput()(normalized), (pixels - 0.5) / 0.5)


def test_scaled_gray_input_is_scaled_by_the_means_over_the_channels() -> None:
    mean, std = (0.485 + 0.456 + 0.406) / 3, (0.229 + 0.224 + 0.225) / 3
    pixels = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(ScaleInput()((pixels - mean) / std), (pixels - 0.5) / 0.5)
    assert not ScaleInput().state_dict()
