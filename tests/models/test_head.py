"""The head: its layers, sizes, dropouts and first weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.head import AdaptiveConcatPool2d, create_head, init_weights


def dropouts(head: nn.Module) -> list[float]:
    return [layer.p for layer in head.modules() if isinstance(layer, nn.Dropout)]


def n_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_default_head_of_resnet18_has_these_nine_layers() -> None:
    head = create_head(512, 10)
    linear = [nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in head] == [AdaptiveConcatPool2d, nn.Flatten, *linear, nn.ReLU, *linear]
    assert [head[2].num_features, head[6].num_features] == [1024, 512]
    assert dropouts(head) == [0.25, 0.5]
    assert [(layer.in_features, layer.out_features) for layer in (head[4], head[8])] == [(1024, 512), (512, 10)]


def test_the_default_head_counts_its_parameters() -> None:
    assert n_params(create_head(512, 10)) == (1024 + 1024) + (524288 + 512) + (512 + 512) + (5120 + 10) == 533002


def test_concat_pool_gives_maxima_then_averages() -> None:
    x = torch.arange(12.0).view(1, 3, 2, 2)
    assert AdaptiveConcatPool2d()(x).flatten().tolist() == [3, 7, 11, 1.5, 5.5, 9.5]
    assert AdaptiveConcatPool2d(2)(x).shape == (1, 6, 2, 2)


def test_without_concat_pool_the_features_are_not_doubled() -> None:
    head = create_head(16, 2, concat_pool=False)
    assert isinstance(head[0], nn.AdaptiveAvgPool2d)
    assert head[2].num_features == 16
    assert head(torch.rand(2, 16, 3, 3)).shape == (2, 2)


def test_bn_final_ends_with_a_slow_batch_norm() -> None:
    last = create_head(8, 3, bn_final=True)[-1]
    assert isinstance(last, nn.BatchNorm1d)
    assert (last.num_features, last.momentum) == (3, 0.01)


@pytest.mark.parametrize(
    ("ps", "lin_ftrs", "expected"),
    [
        (0.5, [256, 128], [0.25, 0.25, 0.5]),
        ([0.1, 0.2], None, [0.1, 0.2]),
        (0, None, [0, 0]),
        (0.3, [], [0.3]),
        ((0.1, 0.2, 0.3), (20, 10), [0.1, 0.2, 0.3]),
    ],
)
def test_one_dropout_is_halved_before_hidden_layers_and_a_list_is_used_as_it_is(
    ps: Any, lin_ftrs: Any, expected: list[float]
) -> None:
    assert dropouts(create_head(8, 2, ps=ps, lin_ftrs=lin_ftrs)) == expected


@pytest.mark.parametrize("ps", [[0.1], [0.1, 0.2, 0.3], []])
def test_a_list_of_dropouts_of_the_wrong_length_is_refused(ps: list[float]) -> None:
    with pytest.raises(UsageError, match=r"ps: got .* expected a number, or one value for each of the 2 linear layers"):
        create_head(8, 2, ps=ps)


@pytest.mark.parametrize("ps", [1.0, -0.1, True, "0.5", None, [0.1, 2], float("nan")])
def test_a_dropout_that_is_no_share_is_refused(ps: Any) -> None:
    with pytest.raises(UsageError, match=r"ps: got .* expected shares in \[0, 1\)"):
        create_head(8, 2, ps=ps)


@pytest.mark.parametrize(("keyword", "value"), [("n_out", 0), ("n_out", 2.0), ("n_out", True), ("lin_ftrs", [0])])
def test_a_size_that_is_no_positive_int_is_refused(keyword: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"{keyword}: got .* expected a positive int"):
        create_head(8, **{"n_out": 2, keyword: value})


def test_widths_that_are_no_list_are_refused() -> None:
    with pytest.raises(UsageError, match="lin_ftrs: got 512, expected a list of widths"):
        create_head(8, 2, lin_ftrs=512)  # type: ignore[arg-type]


def test_kaiming_init_is_torchs_own_draw_and_biases_are_zero() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(40, 30))
    torch.manual_seed(1)
    init_weights(layer, "kaiming_normal_")
    torch.manual_seed(1)
    assert torch.equal(layer[0].weight, nn.init.kaiming_normal_(torch.empty(30, 40)))
    assert layer[0].bias.count_nonzero() == 0


def test_a_function_fills_weights_and_leaves_batch_norm_alone() -> None:
    head = create_head(4, 2, init=lambda weight: nn.init.constant_(weight, 7.0))
    filled = {type(layer).__name__: layer.weight.unique().tolist() for layer in head if hasattr(layer, "weight")}
    assert filled == {"BatchNorm1d": [1.0], "Linear": [7.0]}


def test_convolutions_are_filled_too() -> None:
    conv = nn.Conv2d(3, 4, 3)
    init_weights(conv, nn.init.ones_)
    assert conv.weight.unique().tolist() == [1.0]
    assert conv.bias is not None
    assert conv.bias.unique().tolist() == [0.0]


def test_no_init_keeps_torchs_start() -> None:
    torch.manual_seed(0)
    head = create_head(4, 2, init=None, lin_ftrs=[])
    torch.manual_seed(0)
    assert torch.equal(head[4].weight, nn.Linear(8, 2).weight)


@pytest.mark.parametrize(("init", "fix"), [("kaiming_normal", "Nearest: kaiming_normal_"), (3, "Nearest: ")])
def test_an_unknown_init_is_refused_with_the_nearest_names(init: Any, fix: str) -> None:
    with pytest.raises(UsageError, match=rf"init: got .* expected a known initialisation.* {fix}"):
        create_head(8, 2, init=init)


def test_the_head_learns_from_a_batch() -> None:
    head = create_head(4, 2)
    x: Tensor = torch.rand(6, 4, 3, 3)
    head(x).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
