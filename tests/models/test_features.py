"""The layers at the end of a network, and the features that they get."""

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.features import HeadInputs, NoHead, head_layers
from learnkit.modes import eval_mode


@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_group_may_be_several_layers_with_dropout_before(layers: int) -> None:
    linear = [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)][-layers:]
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.MaxPool2d(4), nn.Flatten(), nn.Dropout(), *linear
    )
    found = head_layers(model, nn.Sequential(*linear))
    assert found == [model[3], *linear]


def test_a_layer_with_a_hook_is_called_as_it_is() -> None:
    inner = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    inner.register_forward_hook(lambda layer, inputs, outputs: outputs * 2)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), inner)
    assert head_layers(model, inner) == [inner]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 2))


def test_what_the_head_gets_is_what_the_layers_before_it_return() -> None:
    model, x = network(), torch.rand(5, 1, 6, 6)
    first: list[Tensor] = []
    inputs = HeadInputs(model, head_layers(model, model[4]), first.append)
    with eval_mode(inputs):
        found = [inputs(x), inputs(x[:2])]
        expected = model[0](x).mean((2, 3))
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(found[1], expected[:2])
    assert [len(features) for features in first] == [5]
    assert all(part.training for part in model.modules())


def test_no_hook_stays_after_an_error() -> None:
    model = network()
    inputs = HeadInputs(model, head_layers(model, model[4]))
    with eval_mode(inputs), pytest.raises(UsageError, match="does not fit its input"):
        inputs(torch.rand(5, 2, 6, 6))
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_a_group_without_the_layers_between_is_no_head() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(NoHead, match="the last layer group is not the last part of the model"):
        head_layers(model, nn.ModuleList([model[0], model[3]]))


def test_a_head_of_broken_weights_stands_apart_all_the_same() -> None:
    model, x = network(), torch.rand(5, 1, 6, 6)
    nn.init.constant_(model[0][0].weight, torch.nan)
    inputs = HeadInputs(model, head_layers(model, model[4]))
    with eval_mode(inputs):
        assert inputs(x).isnan().all()
