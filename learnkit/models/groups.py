"""Layer groups: parts of a model, from input to head, with their own learning rates, frozen or not."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from torch import nn

from learnkit.errors import UsageError

__all__ = ["SplitFunction", "SplitOn", "group_numbers", "largest_parts", "regrouped", "split_groups"]

SplitFunction: TypeAlias = Callable[[nn.Module], Sequence[Any]]
SplitOn: TypeAlias = SplitFunction | Sequence[Any]


def split_groups(model: nn.Module, split_on: SplitOn) -> list[nn.Module]:
    """Layer groups of `model` that share its layers and together hold every parameter exactly once.

    Args:
        model: the whole network.
        split_on: a function(model) that returns one of the following, or one of them itself:
            a list of groups, each a module or a list of modules;
            a list of modules at which the second, third... group begins. Their order is that of registration.

    Raises:
        UsageError: a parameter in no group or in two, a module that is not in the model.

    >>> layers = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [len(list(group.parameters())) for group in split_groups(layers, lambda model: [model[2]])]
    [2, 2]
    """
    is_function = callable(split_on) and not isinstance(split_on, nn.Module)
    parts = _checked(split_on(model) if is_function else split_on)  # type: ignore[operator]
    groups = [part if isinstance(part, nn.Module) else nn.Sequential(*part) for part in parts]
    wrong = _misplaced(model, groups)
    if wrong and all(isinstance(part, nn.Module) for part in parts):
        split = _split_at(model, parts)
        if list(split[0].children()):  # layers precede the first of them, so they are starts of groups
            groups, wrong = split, _misplaced(model, split)
    if wrong:
        raise UsageError(
            f"split_on: every parameter must be in exactly one group, but {', '.join(wrong[:5])}",
            fix="Return groups that together hold the whole model, or the modules at which new groups begin.",
        )
    return groups


def _checked(parts: object) -> list[Any]:
    """The parts as a list of modules and lists of modules."""
    if isinstance(parts, list | tuple) and parts:
        inner = [m for part in parts for m in (part if isinstance(part, list | tuple) else [part])]
        if all(isinstance(m, nn.Module) for m in inner):
            return list(parts)
    raise UsageError(
        "split_on",
        got=type(parts).__name__,
        expected="a list of modules, a list of lists of modules, or a function(model) that returns one",
        fix="For example split_on=lambda model: [model[0][6], model[1]].",
    )


def _misplaced(model: nn.Module, groups: list[nn.Module]) -> list[str]:
    """What is wrong with these groups, one entry per parameter: '0.weight is in 2'."""
    times = Counter(id(parameter) for group in groups for parameter in group.parameters())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    wrong = [f"{name} is in {times[key]}" for key, name in names.items() if times[key] != 1]
    n_foreign = sum(key not in names for key in times)
    return wrong + [f"{n_foreign} parameters do not belong to this model"] * (n_foreign > 0)


def _split_at(model: nn.Module, starts: list[nn.Module]) -> list[nn.Module]:
    known = {id(module) for module in model.modules()}
    for start in starts:
        if id(start) not in known:
            raise UsageError(
                f"split_on: a {type(start).__name__} is not a layer of this model",
                fix="Take the layers from the function's argument: lambda model: [model[1]].",
            )
    groups: list[list[nn.Module]] = [[]]
    for begins, piece in _pieces(model, {id(start) for start in starts}):
        if begins:
            groups.append([])
        groups[-1].append(piece)
    first, *others = groups
    return [nn.Sequential(*first), *(group[0] if len(group) == 1 else nn.Sequential(*group) for group in others)]


def _pieces(module: nn.Module, starts: set[int]) -> Iterator[tuple[bool, nn.Module]]:
    """The largest parts of `module` without the start of a group inside, and whether a group begins at each."""
    begins = id(module) in starts
    if not any(id(inner) in starts for inner in module.modules() if inner is not module):
        yield begins, module
        return
    own = list(module.parameters(recurse=False))
    if own:  # a class token, for example: it belongs to the group in which its module begins
        yield begins, nn.ParameterList(own)
        begins = False
    for child in module.children():
        for child_begins, piece in _pieces(child, starts):
            yield begins or child_begins, piece
            begins = False


def group_numbers(groups: Sequence[nn.Module], model: nn.Module) -> dict[str, int]:
    """The number of the layer group of each parameter of a model, by name; those in no group are left out."""
    numbers = {id(parameter): number for number, group in enumerate(groups) for parameter in group.parameters()}
    return {name: numbers[id(p)] for name, p in model.named_parameters() if id(p) in numbers}


def regrouped(groups: Sequence[nn.Module], model: nn.Module, before: Mapping[str, int]) -> list[nn.Module]:
    """The layer groups after layers of the model were replaced, added or removed, or the model was.

    A parameter that is in no group joins the group that held its name before; one with a new name joins that of its
    nearest relatives by name (`layer4.1.conv1.lora_A` that of `layer4.1.conv1`), the last one of several.

    Args:
        groups: the layer groups until now; returned unchanged if they hold the model.
        model: the whole network.
        before: `group_numbers` when the groups were set.

    Raises:
        UsageError: several groups, and another model without a name in common.
    """
    own = dict(model.named_parameters())
    held = Counter(id(parameter) for group in groups for parameter in group.parameters())
    if held == Counter(id(parameter) for parameter in own.values()):
        return list(groups)
    if len(groups) == 1:
        return [model]
    known = group_numbers(groups, model)
    before = {**before, **known}
    if own and not before.keys() & own.keys():
        raise UsageError(
            f"this model has none of the parameters that the {len(groups)} layer groups hold",
            fix="Set its groups: learn.split(lambda model: [model[1]]) begins the second group at model[1].",
        )
    placed = {id(p): known.get(name, _nearest_group(name, before, len(groups))) for name, p in own.items()}
    parts = largest_parts(model, placed, len(groups))
    return [_unless_changed(old, made) for old, made in zip(groups, parts, strict=True)]


def _nearest_group(name: str, numbers: Mapping[str, int], n_groups: int) -> int:
    """The group of a name, or the last group of the names that share most of its path."""
    if name in numbers:
        return numbers[name]
    path = name
    while path:
        path = path.rpartition(".")[0]
        if related := [number for other, number in numbers.items() if path and other.startswith(f"{path}.")]:
            return max(related)
    return n_groups - 1


def largest_parts(model: nn.Module, placed: Mapping[int, int], n_groups: int) -> list[nn.Module]:
    """Groups of the largest parts of the model whose parameters are all placed in one of them."""
    parts: list[list[nn.Module]] = [[] for _ in range(n_groups)]

    def gather(module: nn.Module) -> None:
        numbers = {placed[id(parameter)] for parameter in module.parameters()}
        if len(numbers) == 1:
            parts[numbers.pop()].append(module)
            return
        for number in sorted(numbers):
            direct = [p for p in module.parameters(recurse=False) if placed[id(p)] == number]
            if direct:
                parts[number].append(nn.ParameterList(direct))
        for child in module.children():
            gather(child)

    gather(model)
    return [part[0] if len(part) == 1 else nn.Sequential(*part) for part in parts]


def _unless_changed(old: nn.Module, new: nn.Module) -> nn.Module:
    """The old group if it holds the same parameters."""
    is_same = {id(parameter) for parameter in old.parameters()} == {id(parameter) for parameter in new.parameters()}
    return old if is_same else new
