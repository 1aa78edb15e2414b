"""The settings an optimizer was made with: what every fit starts from, and what its factory fixes."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.errors import UsageError
from learnkit.optim.groups import parameter_groups
from learnkit.optim.optimizers import make_optimizer, momentum_of, set_learning_rates, set_momentum
from learnkit.optim.settings import Settings

AdamW, SGD = torch.optim.AdamW, torch.optim.SGD
PASSED = 0.003


def settings_of(opt_func: Any) -> Settings:
    groups = parameter_groups([nn.Linear(2, 2), nn.Linear(2, 2)])
    return Settings(make_optimizer(opt_func, groups, PASSED), opt_func, passed=PASSED, n_groups=2)


def own(*settings: dict[str, float], **more: Any) -> Any:
    """A factory that makes one group per dict."""
    layers = [nn.Linear(2, 2) for _ in settings]
    groups = [{"params": list(layer.parameters()), **of} for layer, of in zip(layers, settings, strict=True)]
    return lambda _, lr: SGD([{"lr": lr, **group} for group in groups], **more)


def test_what_a_schedule_or_a_file_changed_is_restored() -> None:
    made = make_optimizer("adamw", parameter_groups([nn.Linear(2, 2), nn.Linear(2, 2)]), 0.1)
    settings = Settings(made, "adamw", passed=0.1, n_groups=2)
    set_momentum(made, 0.5)
    set_learning_rates(made, [1.0, 2.0])
    made.param_groups[0] |= {"layer_group": 5, "weight_decay": 0.7, "seen": 3}
    settings.restore(made)
    assert momentum_of(made) == 0.9
    assert [group["lr"] for group in made.param_groups] == [0.1] * 4
    assert made.param_groups[0]["layer_group"] == 0
    assert made.param_groups[0]["weight_decay"] == 0.01
    assert made.param_groups[0]["seen"] == 3, "what an optimizer counts itself is not undone"


@pytest.mark.parametrize(
    ("opt_func", "rates"),
    [
        ("adamw", None),
        (AdamW, None),
        (partial(AdamW, eps=1e-6), None),
        (lambda groups, lr: SGD(groups, lr=lr), None),
        (lambda groups, **options: SGD(groups, **options), None),
        (partial(SGD, lr=0.1), [0.1, 0.1]),
        (lambda groups: SGD(groups, lr=0.1), [0.1, 0.1]),
        (lambda groups: SGD(groups), [1e-3, 1e-3]),  # torch's own default: nothing else was passed
        (lambda groups, lr: SGD(groups, lr=0.1), [0.1, 0.1]),
        (own({}, {}), None),
        (own({"lr": 0.1}, {"lr": 0.5}, {"lr": 0.2}), [0.1, 0.5, 0.2]),
        (own({"lr_scale": 0.5}, {"lr_scale": 1.0}), None),
    ],
)
def test_rates_that_a_factory_fixes_are_known(opt_func: Any, rates: list[float] | None) -> None:
    assert settings_of(opt_func).rates == rates


@pytest.mark.parametrize(
    ("opt_func", "fixes"),
    [
        ("adamw", False),
        ("sgd", False),
        (AdamW, False),
        (lambda groups, lr: AdamW(groups, lr=lr), False),
        (partial(AdamW, weight_decay=0.01), True),
        (partial(AdamW, weight_decay=0.0), True),
        (lambda groups, lr: AdamW(groups, lr=lr, weight_decay=0.3), True),
        (own({}, {}), True),
    ],
)
def test_a_decay_that_a_factory_fixes_is_known(opt_func: Any, fixes: bool) -> None:
    assert settings_of(opt_func).fixes_decay is fixes


def test_rates_are_spread_over_layer_groups() -> None:
    settings = settings_of("sgd")
    assert settings.spread(0.5) == [0.5, 0.5]
    assert settings.spread(slice(0.1, 0.4)) == pytest.approx([0.1, 0.4])
    assert settings.spread([0.1, 0.2]) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("opt_func", "ratios"),
    [
        (own({}, {}, {}), [1, 1, 1]),
        (own({"lr": 0.1}, {"lr": 0.4}, {"lr": 0.2}), [0.5, 2, 1]),
        (own({"lr": 0.1}, {"lr": 0.4}, {"lr": 0.0}), [0.25, 1, 0]),
        (own({"lr_scale": 0.25}, {"lr_scale": 0.5}, {"lr_scale": 1.0}), [0.25, 0.5, 1]),
    ],
)
def test_groups_of_a_factory_keep_the_ratios_of_their_rates(opt_func: Any, ratios: list[float]) -> None:
    settings = settings_of(opt_func)
    assert settings.has_own_groups
    for lr in (0.5, slice(None, 0.5), slice(0.01, 0.5)):
        assert settings.spread(lr) == pytest.approx([0.5 * ratio for ratio in ratios])
    assert settings.spread([0.1, 0.2, 0.3]) == [0.1, 0.2, 0.3]
    with pytest.raises(UsageError, match="3 rates"):
        settings.spread([0.1, 0.2])
    with pytest.raises(UsageError, match="finite rates above 0"):
        settings.spread(-1.0)
