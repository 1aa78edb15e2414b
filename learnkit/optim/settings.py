"""The hyper-parameters that an optimizer was made with: where every fit starts from, and how rates are spread."""

import inspect
from functools import partial
from typing import Any

from torch.optim import Optimizer

from learnkit.checks import plain
from learnkit.optim.fused import match_state
from learnkit.optim.groups import rate_ratios, spread_rates
from learnkit.optim.kept import SETTINGS, AsMade
from learnkit.optim.optimizers import OptimizerFactory, passes_rate
from learnkit.types import LearningRate

__all__ = ["Settings"]


class Settings:
    """The hyper-parameters an optimizer was made with, to start every fit from the same ones.

    Args:
        optimizer: as it was made.
        opt_func: what made it.
        passed: the learning rate that `opt_func` was called with if it takes one.
        n_groups: the number of layer groups.

    Attributes:
        rates: the learning rates that `opt_func` fixes, one per group; None if it fixes none.
        fixes_decay: whether `opt_func` fixes the weight decay.
        as_made: what the optimizer keeps before its first step.
        has_own_groups: whether `opt_func` made the groups, so that fits keep the ratios of their rates.
    """

    def __init__(self, optimizer: Optimizer, opt_func: str | OptimizerFactory, *, passed: float, n_groups: int) -> None:
        groups = optimizer.param_groups
        self._groups = [{key: group[key] for key in SETTINGS if key in group} for group in groups]
        self.as_made: AsMade = AsMade.of(optimizer)
        self.has_own_groups: bool = any("is_own" in group for group in groups)
        rate_of = {group["layer_group"]: _rate(group) for group in reversed(groups)}
        self._n_groups = max(rate_of) + 1 if self.has_own_groups else n_groups
        as_made = [rate_of.get(number, _rate(groups[-1])) for number in range(self._n_groups)]
        self._ratios = rate_ratios(as_made)
        is_fixed = not passes_rate(opt_func) or any(group["lr"] != passed for group in groups)
        self.rates: list[float] | None = as_made if is_fixed else None
        is_default = self.has_own_groups or _default(optimizer, "weight_decay") == optimizer.defaults.get(
            "weight_decay"
        )
        in_partial = isinstance(opt_func, partial) and "weight_decay" in opt_func.keywords
        self.fixes_decay: bool = in_partial or self.has_own_groups or not (isinstance(opt_func, str) or is_default)

    def restore(self, optimizer: Optimizer) -> None:
        """Undo what a schedule or a file changed, so that it does not leak into the next fit."""
        for group, settings in zip(optimizer.param_groups, self._groups, strict=False):  # a callback may add others
            group.update(settings)
        match_state(optimizer)

    def spread(self, lr: LearningRate) -> list[float]:
        """One learning rate per group, as `spread_rates`.

        Groups that `opt_func` made keep the ratios of their rates: a number is the rate of the last one, and so is the
        end of a slice; of the largest one, if the last is made with a rate of 0.
        """
        lr = plain(lr)
        if not self.has_own_groups or isinstance(lr, list | tuple):
            return spread_rates(lr, self._n_groups)
        return [spread_rates(lr, 1)[-1] * ratio for ratio in self._ratios]


def _rate(group: dict[str, Any]) -> float:
    """The rate of a group as it was made; `lr_scale` is timm's factor of a layer."""
    return float(group["lr"] * group.get("lr_scale", 1.0))


def _default(optimizer: Optimizer, name: str) -> Any:
    found = inspect.signature(type(optimizer).__init__).parameters.get(name)
    return None if found is None else found.default
