"""The head: its layers, sizes, dropouts and initial weights."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.head import AdaptiveConcatPool2d, SigmoidRange, check_range, create_head, init_weights
from tests.doubles import refused


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


def test_the_number_of_parameters_of_the_default_head() -> None:
    assert n_params(create_head(512, 10)) == (1024 + 1024) + (524288 + 512) + (512 + 512) + (5120 + 10) == 533002


def test_concat_pool_returns_maxima_then_averages() -> None:
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
def test_one_dropout_is_halved_before_hidden_layers_and_a_list_is_used_unchanged(
    ps: Any, lin_ftrs: Any, expected: list[float]
) -> None:
    assert dropouts(create_head(8, 2, ps=ps, lin_ftrs=lin_ftrs)) == expected


@pytest.mark.parametrize("ps", [[0.1], [0.1, 0.2, 0.3], []])
def test_a_list_of_dropouts_of_the_wrong_length_is_refused(ps: list[float]) -> None:
    with refused("ps", got=ps, expected="a number, or one value for each of the 2 linear layers"):
        create_head(8, 2, ps=ps)


@pytest.mark.parametrize("ps", [1.0, -0.1, True, "0.5", None, [0.1, 2], float("nan")])
def test_a_dropout_that_is_not_a_share_is_refused(ps: Any) -> None:
    with refused("ps", got=ps, expected="shares in [0, 1)"):
        create_head(8, 2, ps=ps)


@pytest.mark.parametrize(("keyword", "value"), [("n_out", 0), ("n_out", 2.0), ("n_out", True), ("lin_ftrs", [0])])
def test_a_size_that_is_not_a_positive_integer_is_refused(keyword: str, value: Any) -> None:
    with refused(keyword, got=value[0] if isinstance(value, list) else value, expected="an integer, 1 or more"):
        create_head(8, **{"n_out": 2, keyword: value})


def test_widths_that_are_not_a_list_are_refused() -> None:
    with refused("lin_ftrs", got=512, expected="a list of widths"):
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


def test_without_init_torchs_default_is_kept() -> None:
    torch.manual_seed(0)
    head = create_head(4, 2, init=None, lin_ftrs=[])
    torch.manual_seed(0)
    assert torch.equal(head[4].weight, nn.Linear(8, 2).weight)


@pytest.mark.parametrize(("init", "fix"), [("kaiming_normal", "Nearest: kaiming_normal_"), (3, "Nearest: ")])
def test_an_unknown_init_is_refused_with_the_nearest_names(init: Any, fix: str) -> None:
    with pytest.raises(UsageError, match=fix) as caught:
        create_head(8, 2, init=init)
    assert (caught.value.what, caught.value.got) == ("init", init)


def test_the_head_learns_two_classes_and_changes_every_parameter() -> None:
    torch.manual_seed(0)
    head = create_head(4, 2, ps=0)
    before = [parameter.detach().clone() for parameter in head.parameters()]
    y = torch.arange(16) % 2
    x = torch.rand(16, 4, 3, 3)
    x[:, 0] += y[:, None, None]
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    assert (head.eval()(x).argmax(1) == y).all()
    assert not any(torch.equal(old, new) for old, new in zip(before, head.parameters(), strict=True))


def test_the_head_equals_one_written_by_hand() -> None:
    torch.manual_seed(0)
    head = create_head(3, 2, lin_ftrs=[5], bn_final=True).eval()
    for tensor in head.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_((torch.rand_like(tensor) - 0.5) * 0.5)
    state = head.state_dict()

    def normalized(x: Tensor, number: int) -> Tensor:
        mean, var, weight, bias = (
            state[f"{number}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = torch.randn(4, 3, 2, 2)
    out = torch.cat([x.flatten(2).max(2).values, x.flatten(2).mean(2)], dim=1)
    out = (normalized(out, 2) @ state["4.weight"].T + state["4.bias"]).clamp(min=0)
    out = normalized(normalized(out, 6) @ state["8.weight"].T + state["8.bias"], 9)
    torch.testing.assert_close(head(x), out)


def test_a_range_bounds_the_outputs_by_a_sigmoid() -> None:
    torch.manual_seed(0)
    free, bounded = create_head(3, 2, ps=0), create_head(3, 2, ps=0, y_range=(-2, 6))
    bounded.load_state_dict(free.state_dict())
    x = 100 * torch.randn(8, 3, 2, 2)
    torch.testing.assert_close(bounded(x), -2 + 8 / (1 + torch.exp(-free(x))))
    assert SigmoidRange(0, 5)(torch.tensor([-1e9, 0.0, 1e9])).tolist() == [0.0, 2.5, 5.0]


@pytest.mark.parametrize(
    "ends", [(1, 0), (0, 0), (0,), (0, 1, 2), 3, "01", (0, math.inf), (math.nan, 1), (0, True), None]
)
def test_a_range_is_two_numbers_in_order(ends: Any) -> None:
    with refused("y_range", got=ends, expected="two finite numbers, the lower one first, such as (0, 5)"):
        check_range("y_range", ends)


@pytest.mark.parametrize("ends", [(0, 5), [0, 5], np.array([0, 5]), torch.tensor([0.0, 5.0]), (np.float32(0), 5)])
def test_a_range_in_any_form(ends: Any) -> None:
    assert check_range("y_range", ends) == (0.0, 5.0)
