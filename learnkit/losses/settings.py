"""The settings of losses: those that torch takes without a word and that would train nonsense are refused."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.arguments import unwrapped
from learnkit.checks import check_choice, check_number, is_int, plain
from learnkit.errors import UsageError
from learnkit.losses.activations import is_of_torch
from learnkit.losses.reduction import setting
from learnkit.losses.scores import REDUCTIONS
from learnkit.text import name_of
from learnkit.types import Loss

__all__ = ["are_weights", "check_settings", "weights_of"]

WEIGHTS = "finite numbers of 0 or more, not all of them 0"


def are_weights(weights: Tensor) -> bool:
    """Whether these are finite numbers of 0 or more, and not all of them 0."""
    return bool((weights.isfinite() & (weights >= 0)).all()) and bool(weights.any())


def weights_of(what: str, got: Any) -> Tensor | None:
    """Weights as a tensor of floats; None for none.

    Args:
        what: the argument's name.
        got: a tensor, an array or a list of numbers, or None.

    Raises:
        UsageError: not numbers, or weights that are negative, not finite, or all 0.

    >>> weights_of("weight", [1, 2])
    tensor([1., 2.])
    """
    if got is None:
        return None
    try:
        weights = torch.as_tensor(got)
        weights = weights if weights.is_floating_point() else weights.to(torch.get_default_dtype())
    except (OverflowError, TypeError, ValueError, RuntimeError):
        weights = torch.empty(0)
    if not are_weights(weights):
        raise UsageError(what, got=got, expected=WEIGHTS)
    return weights


def check_settings(loss_func: Loss) -> None:
    """Refuse what a loss of torch or learnkit is set to, if it cannot be meant; others are not looked at.

    torch takes a `label_smoothing` below 0 for none and weights that are nan or negative as they are.

    Raises:
        UsageError: naming the loss, the setting, what was got and what was expected.
    """
    inner = unwrapped(loss_func)
    if not is_of_torch(loss_func) and not isinstance(inner, nn.modules.loss._Loss):
        return
    name = name_of(inner)
    for what in ("weight", "pos_weight"):
        weights = setting(loss_func, what)
        weights_of(f"{name}: {what}", weights)
        if isinstance(weights, Tensor) and not weights.is_floating_point():
            raise UsageError(f"{name}: {what}", got=weights, expected="floats", fix=f"Pass {what}={what}.float().")
    if (smoothing := setting(loss_func, "label_smoothing")) is not None:
        check_number(f"{name}: label_smoothing", plain(smoothing), "[0, 1]")
    if (reduction := setting(loss_func, "reduction")) is not None:
        known = (*REDUCTIONS, "batchmean") if isinstance(inner, nn.KLDivLoss) or inner is F.kl_div else REDUCTIONS
        check_choice(f"{name}: reduction", reduction, known)
    ignored = setting(loss_func, "ignore_index")
    if ignored is not None and not is_int(plain(ignored)):
        raise UsageError(f"{name}: ignore_index", got=ignored, expected="an integer")
