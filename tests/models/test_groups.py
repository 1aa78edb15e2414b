"""Layer groups: every parameter in exactly one."""

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.groups import group_numbers, regrouped, split_groups
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


# After layers were replaced


def regroup(
    net: nn.Module, change: object, starts: list[int]
) -> tuple[list[nn.Module], list[nn.Module], dict[str, int]]:
    """The groups before and after a change of the model, and the number of each parameter's group after it."""
    groups = split_groups(net, lambda model: [model[n] for n in starts])
    numbers = group_numbers(groups, net)
    change(net)  # type: ignore[operator]
    made = regrouped(groups, net, numbers)
    assert sorted(ids(made)) == sorted(ids([net]))
    return groups, made, group_numbers(made, net)


def deep() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2))


def test_groups_that_hold_the_model_are_kept() -> None:
    groups, made, _ = regroup(deep(), lambda net: None, [1, 2])
    assert all(old is new for old, new in zip(groups, made, strict=True))


def test_a_replaced_layer_joins_the_group_of_its_name() -> None:
    groups, made, numbers = regroup(deep(), lambda net: net.__setitem__(1, nn.Sequential(nn.Linear(2, 2))), [1, 2])
    assert numbers == {"0.weight": 0, "0.bias": 0, "1.0.weight": 1, "1.0.bias": 1, "2.weight": 2, "2.bias": 2}
    assert (made[0] is groups[0], made[1] is groups[1], made[2] is groups[2]) == (True, False, True)


@pytest.mark.parametrize(
    ("place", "expected"), [("0", {0}), ("1.0", {1}), ("1", {1}), ("2", {2})], ids=["first", "inner", "block", "head"]
)
def test_new_names_join_the_group_of_their_relatives(place: str, expected: set[int]) -> None:
    _, _, numbers = regroup(
        deep(), lambda net: net.get_submodule(place).register_module("lora", nn.Linear(2, 2)), [1, 2]
    )
    assert {number for name, number in numbers.items() if ".lora." in name} == expected


def test_a_new_layer_at_the_end_joins_the_head() -> None:
    _, _, numbers = regroup(deep(), lambda net: net.append(nn.Linear(2, 2)), [1, 2])
    assert numbers["3.weight"] == 2


def test_a_removed_head_leaves_an_empty_group() -> None:
    _, made, _ = regroup(deep(), lambda net: net.__setitem__(2, nn.Identity()), [1, 2])
    assert counts(made) == [2, 4, 0]


def test_a_parameter_beside_layers_of_several_groups_keeps_its_group() -> None:
    net = Token()
    groups = split_groups(net, lambda model: [model.second])
    numbers = group_numbers(groups, net)
    net.second = nn.Linear(3, 3)
    made = regrouped(groups, net, numbers)
    assert group_numbers(made, net) == {
        "token": 0, "first.weight": 0, "first.bias": 0, "second.weight": 1, "second.bias": 1
    }  # fmt: skip
    assert made[0] is groups[0]


def test_a_model_of_a_single_group_is_that_group() -> None:
    net, other = network(), network()
    assert regrouped([net], other, group_numbers([net], net)) == [other]


def test_another_model_without_a_name_in_common_is_refused() -> None:
    groups = split_groups(deep(), lambda model: [model[2]])
    with pytest.raises(UsageError, match=r"none of the parameters that the 2 layer groups hold.*learn\.split\(lambda"):
        regrouped(groups, nn.ModuleDict({"fc": nn.Linear(2, 2)}), {"0.weight": 0})
