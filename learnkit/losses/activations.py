"""The activation that belongs to a loss: from raw outputs to predictions, and at a temperature."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnkit.arguments import unwrapped
from learnkit.errors import UsageError
from learnkit.text import name_of
from learnkit.tree import map_tensors
from learnkit.types import Activation, Loss

__all__ = [
    "CLASSES",
    "FUNCTIONS",
    "MAKE_TENSORS",
    "activation_of",
    "at_temperature",
    "check_is_softmax",
    "identity",
    "is_of_torch",
    "scaled",
    "softmax",
]


def identity(raw: Tensor) -> Tensor:
    """The raw outputs themselves, (N, ...) -> (N, ...)."""
    return raw


def softmax(raw: Tensor) -> Tensor:
    """Probabilities of classes on axis 1: (N, C, ...) -> (N, C, ...), adding up to 1 over C.

    >>> softmax(torch.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    return torch.softmax(raw, dim=1)


def scaled(activation: Activation, temperature: float) -> Activation:
    """The activation of raw outputs divided by `temperature`."""
    return activation if temperature == 1 else functools.partial(_at, temperature, activation)


def _at(temperature: float, activation: Activation, raw: Any) -> Tensor:
    return activation(at_temperature(raw, temperature))


def at_temperature(raw: Any, temperature: float) -> Any:
    """Raw outputs divided by `temperature`: of several, each that has floats.

    >>> at_temperature((torch.ones(2), torch.tensor([3])), 2.0)
    (tensor([0.5000, 0.5000]), tensor([3]))
    """
    return map_tensors(lambda output: output / temperature if output.is_floating_point() else output, raw)


FEW = 64  # items that tell an activation from another


def check_is_softmax(what: str, activation: Activation, raw: Tensor) -> None:
    """Refuse an activation whose predictions at a temperature are not softmax(raw / temperature), seen on raw (N, C).

    Raises:
        UsageError: such an activation; `what` begins the message.
    """
    warm = raw[:FEW] / 2
    found, expected = activation(warm), softmax(warm)
    is_alike = isinstance(found, Tensor) and found.shape == expected.shape
    if is_alike and torch.allclose(found, expected, atol=1e-3, equal_nan=True):
        return
    fix = "Leave out activation=, and let the model return the raw outputs of a softmax."
    if activation is torch.exp:
        fix = "Let the model return raw outputs, without log_softmax, and train it with nn.CrossEntropyLoss()."
    made_by = f"those of this learner are made by {name_of(activation)}"
    raise UsageError(f"{what}: it takes predictions that are the softmax of raw outputs; {made_by}", fix=fix)


MAKE_TENSORS = (softmax, torch.sigmoid, torch.exp)  # never return what they are called with

# torch's losses whose only inputs are raw outputs; a subclass has the activation of its base.
CLASSES: list[tuple[type[nn.Module], Activation]] = [
    (nn.CrossEntropyLoss, softmax),
    (nn.NLLLoss, torch.exp),
    (nn.KLDivLoss, torch.exp),
    (nn.BCEWithLogitsLoss, torch.sigmoid),
    (nn.MultiLabelSoftMarginLoss, torch.sigmoid),
    (nn.SoftMarginLoss, torch.sigmoid),  # log(1 + exp(-yx)) is the cross entropy of sigmoid(x), classes being -1 and 1
    (nn.BCELoss, identity),
    (nn.MSELoss, identity),
    (nn.L1Loss, identity),
    (nn.SmoothL1Loss, identity),
    (nn.HuberLoss, identity),
    (nn.GaussianNLLLoss, identity),
    (nn.MultiMarginLoss, identity),
    (nn.MultiLabelMarginLoss, identity),
    (nn.HingeEmbeddingLoss, identity),
]
FUNCTIONS: list[tuple[Callable[..., Any], Activation]] = [
    (F.cross_entropy, softmax),
    (F.nll_loss, torch.exp),
    (F.kl_div, torch.exp),
    (F.binary_cross_entropy_with_logits, torch.sigmoid),
    (F.multilabel_soft_margin_loss, torch.sigmoid),
    (F.soft_margin_loss, torch.sigmoid),
    (F.binary_cross_entropy, identity),
    (F.mse_loss, identity),
    (F.l1_loss, identity),
    (F.smooth_l1_loss, identity),
    (F.huber_loss, identity),
    (F.gaussian_nll_loss, identity),
    (F.multi_margin_loss, identity),
    (F.multilabel_margin_loss, identity),
    (F.hinge_embedding_loss, identity),
]


def activation_of(loss_func: Loss) -> Activation | None:
    """The activation that belongs to this loss; None if unknown.

    A loss's own `activation` attribute comes first. Otherwise torch's losses are known by type, torch's
    functional losses by themselves, also inside a `functools.partial`.

    Raises:
        UsageError: the loss has an `activation` that cannot be called.

    >>> activation_of(nn.BCEWithLogitsLoss()) is torch.sigmoid
    True
    """
    own = getattr(loss_func, "activation", None)
    if callable(own):
        return cast(Activation, own)
    if own is not None:
        raise UsageError(
            f"the activation of {type(loss_func).__name__}",
            got=own,
            expected="a function(raw outputs) -> outputs",
            fix="For example torch.sigmoid.",
        )
    if isinstance(loss_func, functools.partial):
        log_input = loss_func.keywords.get("log_input", True)
        return _of_poisson(log_input) if loss_func.func is F.poisson_nll_loss else activation_of(loss_func.func)
    if isinstance(loss_func, nn.PoissonNLLLoss):
        return _of_poisson(loss_func.log_input)
    if loss_func is F.poisson_nll_loss:
        return _of_poisson(True)
    if inspect.isclass(loss_func):  # a class instead of an instance computes no loss
        return None
    of_class = (activation for kind, activation in CLASSES if isinstance(loss_func, kind))
    of_function = (activation for function, activation in FUNCTIONS if loss_func is function)
    return next(of_class, None) or next(of_function, None)


def is_of_torch(loss_func: Loss) -> bool:
    """Whether this is one of torch's own losses, not a subclass; a partial of one too.

    >>> is_of_torch(nn.MSELoss()), is_of_torch(functools.partial(F.l1_loss, reduction="sum")), is_of_torch(max)
    (True, True, False)
    """
    inner = unwrapped(loss_func)
    return any(type(inner) is kind for kind, _ in CLASSES) or any(inner is function for function, _ in FUNCTIONS)


def _of_poisson(log_input: bool) -> Activation:
    return torch.exp if log_input else identity
