"""Layer groups: every parameter in exactly one."""

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.groups import split_groups
from tests.doubles import refused


def network() -> nn.Sequential:
    """Body of three layers and a head: 2, 2, 0 and 2 tensors."""
    return nn.Sequential(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 5), nn.ReLU()), nn.Linear(5, 2))


def counts(groups: list[nn.Module]) -> list[int]:
    return [len(list(group.parameters())) for group in groups]


def ids(modules: list[nn.Module]) -> list[int]:
    return [id(parameter) for module in modules for parameter in module.parameters()]


def test_modules_mark_where_the_second_and_third_group_begin() -> None:
    net = network()
    groups = split_groups(net, lambda model: (model[0][1], model[1]))
    assert counts(groups) == [2, 2, 2]
    assert ids(groups) == ids([net])
    assert groups[2] is net[1]


def test_modules_that_hold_the_whole_model_are_the_groups() -> None:
    net = network()
    assert split_groups(net, [net[0], net[1]]) == [net[0], net[1]]


def test_lists_of_modules_are_groups() -> None:
    net = network()
    assert counts(split_groups(net, [[net[0][0]], [net[0][1], net[1]]])) == [2, 4]


def test_one_start_makes_two_groups() -> None:
    net = network()
    assert counts(split_groups(net, [net[1]])) == [4, 2]


def test_the_order_of_the_starts_does_not_matter() -> None:
    net = network()
    assert counts(split_groups(net, [net[1], net[0][1]])) == [2, 2, 2]


class Token(nn.Module):
    """Has its own parameter next to its layers, as a vision transformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3))
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x + self.token))


def test_a_parameter_next_to_layers_goes_with_the_layers_before_the_first_start() -> None:
    net = nn.Sequential(Token(), nn.Linear(3, 2))
    groups = split_groups(net, lambda model: [model[0].second, model[1]])
    assert counts(groups) == [3, 2, 2]
    assert any(parameter is net[0].token for parameter in groups[0].parameters())


def test_a_start_around_a_start_begins_its_own_group() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    assert counts(split_groups(net, [net[1], net[1][1]])) == [2, 2, 2]


def test_a_left_out_parameter_is_named() -> None:
    net = network()
    with pytest.raises(UsageError, match=r"exactly one group, but 0\.1\.weight is in 0, 0\.1\.bias is in 0"):
        split_groups(net, [[net[0][0]], [net[1]]])


def test_a_parameter_in_two_groups_is_named() -> None:
    net = network()
    with pytest.raises(UsageError, match=r"0\.0\.weight is in 2"):
        split_groups(net, [[net[0]], [net[0][0], net[1]]])


def test_a_shared_parameter_across_groups_is_named() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    with pytest.raises(UsageError, match=r"0\.weight is in 2"):
        split_groups(net, [net[0], net[1]])


def test_foreign_parameters_are_counted() -> None:
    net = network()
    with pytest.raises(UsageError, match="2 parameters do not belong to this model"):
        split_groups(net, [[net[0]], [net[1]], [nn.Linear(1, 1)]])


def test_a_start_that_is_not_in_the_model_is_refused() -> None:
    with pytest.raises(UsageError, match="split_on: a Linear is not a layer of this model"):
        split_groups(network(), [nn.Linear(1, 1)])


def test_a_start_at_the_input_leaves_no_first_group() -> None:
    with pytest.raises(UsageError, match=r"0\.1\.weight is in 2"):
        split_groups(network(), lambda model: [model[0], model[0][1]])


@pytest.mark.parametrize("split_on", [[], 3, ["0"], lambda model: None, lambda model: [2, 3], nn.Linear(1, 1)])
def test_something_else_is_refused(split_on: object) -> None:
    expected = "a list of modules, a list of lists of modules, or a function(model) that returns one"
    with refused("split_on", expected=expected):
        split_groups(network(), split_on)  # type: ignore[arg-type]
