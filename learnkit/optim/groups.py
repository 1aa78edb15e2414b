"""Layer groups: their learning rates, their weight decay, and which of them train."""

import math
from collections.abc import Container, Iterable, Sequence
from itertools import chain
from typing import Any

from torch import nn

from learnkit.checks import check_int, check_number, is_number, plain
from learnkit.errors import UsageError
from learnkit.types import LayerDecay, LearningRate

__all__ = [
    "check_groups",
    "freeze_groups",
    "head_rate",
    "is_positive",
    "parameter_groups",
    "rate_ratios",
    "spread_decay",
    "spread_rates",
    "undecayed",
]

NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
EXEMPTS = ("_no_weight_decay", "no_weight_decay")  # attributes of parameters that never decay


def spread_rates(lr: LearningRate, n_groups: int) -> list[float]:
    """One learning rate per layer group, from the input side to the head.

    Args:
        lr: a number (the same for all), `slice(a, b)` (even ratios from a to b), `slice(b)` (b for the last group and a
            tenth of it for the others), one number per group, or a `LayerDecay`.
        n_groups: how many layer groups there are.

    Raises:
        UsageError: a rate that is not a finite positive number, an empty slice, or a list of the wrong length.

    >>> [f"{rate:.0e}" for rate in spread_rates(slice(1e-5, 1e-3), 3)]
    ['1e-05', '1e-04', '1e-03']
    >>> spread_rates(slice(None, 1e-3), 3)
    [0.0001, 0.0001, 0.001]
    """
    lr = plain(lr)
    if isinstance(lr, slice):
        return _spread_slice(lr, n_groups)
    if isinstance(lr, LayerDecay):
        decay = check_number("lr: decay of LayerDecay", lr.decay, "(0, 1]")
        return [_checked_rate(lr.lr, lr) * decay**depth for depth in reversed(range(n_groups))]
    if isinstance(lr, Sequence) and not isinstance(lr, str):
        if len(lr) != n_groups:
            raise UsageError("lr", got=list(lr), expected=f"{n_groups} rates, one per layer group, not {len(lr)}")
        return [_checked_rate(rate, lr) for rate in lr]
    return [_checked_rate(lr, lr)] * n_groups


def _spread_slice(lr: slice, n_groups: int) -> list[float]:
    if lr.stop is None or lr.step is not None:
        raise UsageError("lr", got=lr, expected="slice(stop) or slice(start, stop)", fix="Try slice(1e-4, 1e-3).")
    stop = _checked_rate(lr.stop, lr)
    if not lr.start:  # slice(0, b) means slice(b)
        return [stop / 10] * (n_groups - 1) + [stop]
    start = _checked_rate(lr.start, lr)
    if n_groups == 1:
        return [stop]
    return [*(start * (stop / start) ** (i / (n_groups - 1)) for i in range(n_groups - 1)), stop]


def head_rate(rates: Sequence[float]) -> float:
    """The rate that stands for those of all groups: the last one, or the largest if the last group is fixed at 0."""
    return rates[-1] or max(rates)


def rate_ratios(rates: Sequence[float]) -> list[float]:
    """Each group's rate divided by `head_rate`; all 1 if all rates are 0.

    >>> rate_ratios([0.05, 0.1]), rate_ratios([0.1, 0.0])
    ([0.5, 1.0], [1.0, 0.0])
    """
    head = head_rate(rates)
    return [rate / head if head else 1.0 for rate in rates]


def is_positive(value: object) -> bool:
    """Whether this is a finite number above 0, NumPy's included (and not a bool)."""
    return is_number(value) and 0 < float(value) < math.inf


def _checked_rate(rate: Any, lr: object) -> float:
    if not is_positive(rate):
        raise UsageError("lr", got=lr, expected="finite rates above 0", fix="Find one with learn.lr_find().")
    return float(rate)


def spread_decay(wd: float | Sequence[float], n_groups: int) -> list[float]:
    """One weight decay per layer group; a number is the same for all.

    Raises:
        UsageError: a decay that is negative or not finite, or a list whose length is not that of the groups.
    """
    wd = plain(wd)
    decays = list(wd) if isinstance(wd, Sequence) else [wd] * n_groups
    if len(decays) != n_groups or not all(is_number(decay) and 0 <= decay < math.inf for decay in decays):
        raise UsageError("wd", got=wd, expected=f"a finite decay of 0 or more, or {n_groups} of them")
    return [float(decay) for decay in decays]


def check_groups(model: nn.Module, groups: Any) -> list[nn.Module]:
    """The layer groups of a model, if they hold each of its parameters exactly once.

    Raises:
        UsageError: something else than modules; a parameter in no group, in two, or in a group but not in the model.
    """
    modules: list[nn.Module] = list(groups) if isinstance(groups, Iterable) else [groups]
    if strange := [group for group in modules if not isinstance(group, nn.Module)]:
        expected = "modules; or pass a function of the model that returns these, or where groups begin"
        raise UsageError("layer groups", got=strange[0], expected=expected)
    names = {id(p): name for name, p in model.named_parameters()}
    held = [id(p) for group in modules for p in group.parameters()]
    missing = sorted(names[i] for i in names.keys() - set(held))
    if missing or len(held) != len(names):
        got = f"without {', '.join(missing[:5])}" if missing else "with a parameter in two groups, or of another model"
        raise UsageError("layer groups", got=got, expected="each of the model's parameters in exactly one group")
    return modules


def parameter_groups(
    groups: Sequence[nn.Module],
    loss: Sequence[nn.Parameter] = (),
    *,
    decay_norm_and_bias: bool = False,
    undecayed: Container[int] = (),
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: per layer group the weights that decay, then those that do not.

    Parameters of one dimension (biases, the scale and shift of norm layers) do not decay by default. Each torch group
    keeps its `layer_group` number and whether it `decays`; empty ones are left out.

    Args:
        groups: the layer groups, from the input side to the head.
        loss: parameters of the loss; they have torch groups of their own, and the rate of the last layer group.
        decay_norm_and_bias: decay parameters of one dimension too.
        undecayed: the ids of parameters that never decay; see `undecayed`.
    """

    def decays(parameter: nn.Parameter) -> bool:
        return id(parameter) not in undecayed and (decay_norm_and_bias or parameter.ndim > 1)

    made: list[dict[str, Any]] = []
    of_layers = [(number, list(group.parameters())) for number, group in enumerate(groups)]
    for number, weights in (*of_layers, (len(groups) - 1, list(loss))):
        made += [
            {"params": params, "layer_group": number, "decays": is_decaying}
            for is_decaying in (True, False)
            if (params := [p for p in weights if decays(p) == is_decaying])
        ]
    return made


def undecayed(model: nn.Module) -> set[int]:
    """The ids of the parameters that a model exempts from weight decay.

    By the conventions of the field: a method `no_weight_decay()` of a module (timm), which returns names of parameters
    within it, and an attribute `_no_weight_decay` (or `no_weight_decay`) of a parameter.
    """
    exempt = {id(p) for p in model.parameters() if any(getattr(p, name, False) for name in EXEMPTS)}
    for module in model.modules():
        listed = getattr(module, "no_weight_decay", None)
        if callable(listed):
            parameters = dict(module.named_parameters())
            exempt |= {id(parameters[name]) for name in listed() or () if name in parameters}
    return exempt


def freeze_groups(
    groups: Sequence[nn.Module], n: int, *, train_bn: bool = True, held: Container[int] = ()
) -> list[nn.Parameter]:
    """Train only groups[n:]; with `train_bn` also the norm layers of the frozen groups.

    Args:
        groups: the layer groups, from the input side to the head.
        n: how many to freeze; a negative number counts from the end, as an index does.
        train_bn: whether norm layers stay trainable.
        held: the ids of parameters that stay frozen whatever n is; see `held_by_adapters`.

    Returns:
        The parameters that are frozen by this.

    Raises:
        UsageError: n is not an integer, or beyond the number of groups.
    """
    expected = f"an integer from {-len(groups)} to {len(groups)}, the number of layer groups"
    n = check_int("freeze_to", n, -len(groups), len(groups), expected=expected)
    first = n + len(groups) if n < 0 else n
    frozen = []
    for number, group in enumerate(groups):
        for module in group.modules():
            trains = number >= first or (train_bn and isinstance(module, NORM_LAYERS))
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(trains and id(parameter) not in held)
                if not trains:
                    frozen.append(parameter)
    for parameter in chain.from_iterable(group.parameters() for group in groups[:first]):
        if not parameter.requires_grad:
            parameter.grad = None  # the optimizer would use a stale gradient
    return [parameter for parameter in frozen if id(parameter) not in held]
