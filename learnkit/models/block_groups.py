"""Layer groups of one block each, from the stem to the head, for rates that fall from layer to layer."""

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from torch import nn

from learnkit.models.groups import largest_parts

__all__ = ["blocks"]

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
AFTER = "after the last block"  # a name that no parameter has, and no pattern of timm's matches


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layer groups of a model by block: the stem, each block, the head.

    Networks of timm are grouped by their own `group_matcher`. Of others a block is a layer of several parts whose kind
    occurs more than once in lists of layers, such as a residual block; without any, each layer with weights is one.
    Layers between the last block and the head are in the group of that block, so that `freeze` trains the head alone.

    Args:
        model: a whole network, or one with a body and a head as `cnn_learner` makes it.

    >>> layers = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)), nn.Linear(8, 2))
    >>> len(blocks(layers))
    3
    """
    found = next(((path, m) for path, m in model.named_modules() if hasattr(m, "group_matcher")), None)
    numbers = _by_container(model) if found is None else _by_matcher(model, *found)
    places = {number: place for place, number in enumerate(sorted(set(numbers.values())))}
    placed = {id(p): places[numbers[name]] for name, p in model.named_parameters()}
    return largest_parts(model, placed, len(places)) if places else [model]


def _by_matcher(model: nn.Module, path: str, network: Any) -> dict[str, int]:
    """The number of the group of each parameter, by name; those outside of the network are the head."""
    from timm.models import group_parameters

    named = [*network.named_parameters(), (AFTER, None)]
    source: Any = SimpleNamespace(named_parameters=lambda: named)
    matched = group_parameters(source, network.group_matcher(), reverse=True)
    head, prefix = int(matched[AFTER]), f"{path}." if path else ""
    own = {f"{prefix}{name}": int(number) for name, number in matched.items() if name != AFTER}
    has_head = any(name not in own for name, _ in model.named_parameters())
    last = head - 1 if has_head else head  # where layers that no pattern matches are
    return {name: min(own[name], last) if name in own else head for name, _ in model.named_parameters()}


def _by_container(model: nn.Module) -> dict[str, int]:
    """The same for a network without patterns."""
    layers = list(model.named_children())
    with_weights = [name for name, child in layers if any(True for _ in child.parameters())]
    starts = set(_starts(model)) or {id(m) for m in _weighted(model)[1:]}
    head = dict(layers).get(with_weights[-1]) if with_weights else None
    if head is not None and (len(with_weights) == 1 or any(id(m) in starts for m in _repeated(head, starts))):
        head = None
    numbers: dict[str, int] = {}
    number, in_head = 0, set() if head is None else {id(p) for p in head.parameters()}
    for path, module in model.named_modules():
        number += id(module) in starts and (head is None or module not in set(head.modules()))
        numbers |= {f"{path}.{name}" if path else name: number for name, _ in module.named_parameters(recurse=False)}
    return {name: number + 1 if id(p) in in_head else numbers[name] for name, p in model.named_parameters()}


def _repeated(head: nn.Module, starts: set[int]) -> Iterator[nn.Module]:
    """The blocks inside of a layer: a list of linear layers has none."""
    return (m for m in head.modules() if id(m) in starts and list(m.children()))


def _starts(model: nn.Module) -> list[int]:
    """The ids of the blocks."""
    kinds = Counter(type(part) for m in model.modules() if isinstance(m, CONTAINERS) for part in m.children())

    def gather(module: nn.Module) -> Iterator[nn.Module]:
        for child in module.children():
            is_block = isinstance(module, CONTAINERS) and kinds[type(child)] > 1 and list(child.children())
            if is_block and not isinstance(child, CONTAINERS) and any(True for _ in child.parameters()):
                yield child
            else:
                yield from gather(child)

    return [id(block) for block in gather(model)]


def _weighted(model: nn.Module) -> list[nn.Module]:
    """The layers with a weight of two dimensions or more."""
    return [m for m in model.modules() if any(p.ndim > 1 for p in m.parameters(recurse=False))]
