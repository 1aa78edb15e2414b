"""Adapting the first convolution to another number of channels."""

import pytest
import torch
from torch import nn

from learnkit.models.stem import adapt_planes, set_in_chans
from tests.doubles import refused


def network() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.ReLU()), nn.Conv2d(8, 4, 1))


def test_one_channel_has_the_outputs_of_the_gray_image_in_color() -> None:
    net = network()
    gray = torch.rand(2, 1, 9, 9)
    expected = net(gray.expand(-1, 3, -1, -1))
    set_in_chans(net, 1, keep_weights=True)
    torch.testing.assert_close(net(gray), expected)


@pytest.mark.parametrize("in_chans", [2, 4, 6, 7])
def test_more_channels_repeat_the_planes_scaled(in_chans: int) -> None:
    weight = torch.rand(5, 3, 2, 2)
    adapted = adapt_planes(weight, in_chans)
    assert adapted.shape == (5, in_chans, 2, 2)
    for plane in range(in_chans):
        torch.testing.assert_close(adapted[:, plane], weight[:, plane % 3] * 3 / in_chans)


def test_six_channels_of_a_repeated_image_have_the_outputs_of_three() -> None:
    net = network()
    x = torch.rand(2, 3, 9, 9)
    expected = net(x)
    set_in_chans(net, 6, keep_weights=True)
    torch.testing.assert_close(net(torch.cat([x, x], 1)), expected)


def test_the_same_number_of_channels_changes_nothing() -> None:
    net = network()
    weight = net[0][0].weight
    set_in_chans(net, 3, keep_weights=False)
    assert net[0][0].weight is weight


def test_from_scratch_only_the_weights_are_drawn_again() -> None:
    net = network()
    net[0][0].weight.requires_grad_(False)
    torch.manual_seed(0)
    set_in_chans(net, 2, keep_weights=False)
    torch.manual_seed(0)
    fresh = nn.Conv2d(2, 8, 3, stride=2, bias=False)
    assert torch.equal(net[0][0].weight, fresh.weight)
    assert not net[0][0].weight.requires_grad
    assert repr(net[0][0]) == repr(fresh)


@pytest.mark.parametrize("in_chans", [0, -1, 1.0, True, "3"])
def test_a_number_of_channels_that_is_not_a_positive_integer_is_refused(in_chans: object) -> None:
    with refused("in_chans", got=in_chans, expected="an integer, 1 or more"):
        set_in_chans(network(), in_chans, keep_weights=True)  # type: ignore[arg-type]


def test_a_network_of_other_channels_is_refused() -> None:
    with refused("in_chans", got=3, expected="1, the channels of the first convolution"):
        set_in_chans(nn.Conv2d(1, 4, 3), 3, keep_weights=True)


def test_a_grouped_convolution_is_refused() -> None:
    with refused("in_chans", got=1, fix="Only an ungrouped convolution of 3 channels can be adapted."):
        set_in_chans(nn.Conv2d(3, 6, 3, groups=3), 1, keep_weights=True)


def test_a_network_without_convolution_is_refused_only_if_it_must_change() -> None:
    set_in_chans(nn.Linear(3, 3), 3, keep_weights=True)
    with refused("in_chans", got=1, expected="3, as this network has no convolution to adapt"):
        set_in_chans(nn.Linear(3, 3), 1, keep_weights=True)
