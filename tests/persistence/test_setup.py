"""How a model was trained, in plain values: layer groups by parameter, and what only code can make."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.metrics import accuracy, f1, top_k
from learnkit.models.groups import split_groups
from learnkit.optim.groups import freeze_groups
from learnkit.persistence.setup import TrainingSetup, groups_at


def own_metric(preds: Any, targets: Any) -> float:
    return 0.0


class Tied(nn.Module):
    """A token of its own, and a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3))
        self.first, self.norm, self.last = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)
        self.last.weight = self.first.weight


def layered() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), nn.ReLU(), nn.Conv2d(4, 2, 1))


CASES: list[tuple[nn.Module, Any]] = [
    (layered(), lambda m: [m]),
    (layered(), lambda m: [m[0], m[2]]),
    (layered(), lambda m: [m[0][0], [m[0][1], m[2]]]),
    (layered(), lambda m: [m[2]]),
    (nn.Sequential(layered(), nn.Linear(2, 2)), lambda m: [[m[0][0], m[1]], m[0][2]]),
]


@pytest.mark.parametrize(("model", "split"), CASES)
def test_groups_come_back_with_the_same_parameters_and_norm_layers(model: nn.Module, split: Any) -> None:
    groups = split_groups(model, split)
    setup = TrainingSetup.of(model, groups, metrics=(), optimizer="adamw")
    again = groups_at(model, setup.groups)
    assert [[id(p) for p in group.parameters()] for group in again] == [
        [id(p) for p in group.parameters()] for group in groups
    ] or [{id(p) for p in group.parameters()} for group in again] == [
        {id(p) for p in group.parameters()} for group in groups
    ]
    frozen = []
    for some in (groups, again):
        freeze_groups(some, len(some) - 1, train_bn=True)
        frozen.append([p.requires_grad for p in model.parameters()])
    assert frozen[0] == frozen[1]


def test_own_and_shared_parameters_stay_in_one_group() -> None:
    model = Tied()
    numbers = [0, 0, 0, 0, 0, 1]  # token, first (2), norm (2), the bias of last
    groups = groups_at(model, numbers)
    held = [id(p) for group in groups for p in group.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert [id(p) for p in groups[1].parameters()] == [id(model.last.bias)]


def test_what_is_frozen_is_noted() -> None:
    model = layered()
    model[0].requires_grad_(False)
    assert TrainingSetup.of(model, [model], metrics=(), optimizer="sgd").trained == (False,) * 4 + (True,) * 2


METRICS: list[tuple[Any, tuple[str, ...], tuple[str, ...]]] = [
    ((), (), ()),
    (None, (), ()),
    ("accuracy", ("accuracy",), ()),
    (["accuracy", "f1"], ("accuracy", "f1"), ()),
    ([accuracy, f1], ("accuracy", "f1"), ()),
    (own_metric, (), ("metrics own_metric",)),
    (["accuracy", own_metric], ("accuracy",), ("metrics own_metric",)),
    (top_k(3), (), ("metrics top_3_accuracy",)),
    (lambda preds, targets: 0.0, (), ("metrics <lambda>",)),
]


@pytest.mark.parametrize(("metrics", "names", "lost"), METRICS)
def test_metrics_by_name_are_kept_and_others_named(metrics: Any, names: tuple[str, ...], lost: tuple[str, ...]) -> None:
    setup = TrainingSetup.of(layered(), [layered()], metrics=metrics, optimizer="adamw")
    assert (setup.metrics, setup.lost) == (names, lost)


@pytest.mark.parametrize(
    ("optimizer", "name", "lost"),
    [
        ("AdamW", "adamw", ()),
        ("sgd", "sgd", ()),
        (torch.optim.NAdam, None, ("opt_func NAdam",)),
        (partial(torch.optim.SGD, momentum=0.9), None, ("opt_func SGD",)),
    ],
)
def test_optimizers_by_name_are_kept_and_others_named(optimizer: Any, name: str | None, lost: tuple[str, ...]) -> None:
    setup = TrainingSetup.of(layered(), [layered()], metrics=(), optimizer=optimizer)
    assert (setup.optimizer, setup.lost) == (name, lost)
