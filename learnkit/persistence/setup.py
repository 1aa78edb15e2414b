"""How a learner trained its model: layer groups, what is frozen, metrics, optimizer and decay, in plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from learnkit.metrics.factories import FACTORIES
from learnkit.metrics.functions import METRICS
from learnkit.models.groups import largest_parts
from learnkit.text import name_of

__all__ = ["TrainingSetup", "groups_at"]


@dataclass(frozen=True)
class TrainingSetup:
    """What a learner needs to go on training a model as before.

    Attributes:
        groups: the number of the layer group of each parameter, in the order of `named_parameters`.
        trained: whether each of them is trained.
        metrics: names of learnkit's own.
        optimizer: the name of learnkit's own; None for the default.
        wd: weight decay; None for that of the optimizer.
        wd_bn_bias, train_bn: as in `Learner`.
        lost: what only code can make, by the attribute that sets it: "metrics my_metric".
    """

    groups: tuple[int, ...]
    trained: tuple[bool, ...]
    metrics: tuple[str, ...] = ()
    optimizer: str | None = None
    wd: float | None = None
    wd_bn_bias: bool = False
    train_bn: bool = True
    lost: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, model: nn.Module, groups: Sequence[nn.Module], *, metrics: Any, optimizer: Any, **settings: Any
    ) -> Self:
        """The setup of a learner; `metrics` and `optimizer` as they were passed to it."""
        number_of = {id(p): number for number, group in enumerate(groups) for p in group.parameters()}
        parameters = list(model.parameters())
        parts = metrics if isinstance(metrics, list | tuple) else [metrics]
        names = [(_metric_name(part), part) for part in parts if part is not None]
        lost = [f"metrics {_label(part)}" for name, part in names if name is None]
        lost += [] if isinstance(optimizer, str) else [f"opt_func {_label(optimizer)}"]
        return cls(
            tuple(number_of.get(id(p), len(groups) - 1) for p in parameters),
            tuple(p.requires_grad for p in parameters),
            tuple(name for name, _ in names if name is not None),
            optimizer.lower() if isinstance(optimizer, str) else None,
            lost=tuple(lost),
            **settings,
        )


def _metric_name(part: Any) -> str | None:
    """The name of one of learnkit's metrics, passed by name or as the function of that name; None for any other."""
    functions = {name: named.function for name, named in METRICS.items()} | FACTORIES
    return next((name for name, function in functions.items() if part is function or _is_text(part, name)), None)


def _is_text(part: Any, name: str) -> bool:
    return isinstance(part, str) and part == name


def _label(part: Any) -> str:
    """The name of what was passed, shortened."""
    own = getattr(part, "name", None)
    return (own if isinstance(own, str) else name_of(part))[:100]


def groups_at(model: nn.Module, numbers: Sequence[int]) -> list[nn.Module]:
    """Layer groups of a model from the number of each parameter, made of the largest modules that are in one group."""
    if len(set(numbers)) < 2:
        return [model]
    places = {number: place for place, number in enumerate(sorted(set(numbers)))}
    placed = {id(p): places[number] for p, number in zip(model.parameters(), numbers, strict=True)}
    return largest_parts(model, placed, len(places))
