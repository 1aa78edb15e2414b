"""The head after a body: pooling, then batch norm, dropout and linear layers down to the outputs."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from learnkit.checks import check_int, is_number, nearest, plain
from learnkit.errors import UsageError

__all__ = ["INITS", "AdaptiveConcatPool2d", "Init", "SigmoidRange", "check_range", "create_head", "init_weights"]

Init: TypeAlias = str | Callable[[Tensor], Any] | None

INITS: dict[str, Callable[[Tensor], Any]] = {
    "kaiming_normal_": nn.init.kaiming_normal_,
    "kaiming_uniform_": nn.init.kaiming_uniform_,
    "normal_": nn.init.normal_,
    "orthogonal_": nn.init.orthogonal_,
    "trunc_normal_": nn.init.trunc_normal_,
    "uniform_": nn.init.uniform_,
    "xavier_normal_": nn.init.xavier_normal_,
    "xavier_uniform_": nn.init.xavier_uniform_,
    "zeros_": nn.init.zeros_,
}


class AdaptiveConcatPool2d(nn.Module):
    """Concatenated maximum and average pooling: (N, C, H, W) -> (N, 2C, size, size), maxima first.

    `size` counts features, not pixels.

    >>> AdaptiveConcatPool2d()(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist()
    [3.0, 2.0]
    """

    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.max: nn.AdaptiveMaxPool2d = nn.AdaptiveMaxPool2d(size)
        self.avg: nn.AdaptiveAvgPool2d = nn.AdaptiveAvgPool2d(size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2C, size, size)."""
        return torch.cat([self.max(x), self.avg(x)], dim=1)


class SigmoidRange(nn.Module):
    """low + (high - low) * sigmoid(x): numbers between two others, as the last layer of a regression.

    >>> SigmoidRange(0, 5)(torch.zeros(1)).item()
    2.5
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low: float
        self.high: float
        self.low, self.high = check_range("low, high", (low, high))

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (N, ...) between low and high."""
        return torch.sigmoid(x) * (self.high - self.low) + self.low

    def extra_repr(self) -> str:
        return f"{self.low:g}, {self.high:g}"


def check_range(what: str, got: Any) -> tuple[float, float]:
    """Two finite numbers, the lower one first, as floats; tuples, lists and arrays of two are accepted.

    Raises:
        UsageError: anything else.
    """
    ends = plain(got)
    if isinstance(ends, list | tuple) and len(ends) == 2:
        low, high = ends
        if is_number(low) and is_number(high) and -math.inf < low < high < math.inf:
            return float(low), float(high)
    raise UsageError(what, got=got, expected="two finite numbers, the lower one first, such as (0, 5)")


def create_head(
    n_features: int,
    n_out: int,
    *,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    concat_pool: bool = True,
    bn_final: bool = False,
    y_range: tuple[float, float] | None = None,
    init: Init = "kaiming_normal_",
) -> nn.Sequential:
    """The layers from features (N, n_features, H, W) to raw outputs (N, n_out).

    Pooling and flattening, then for each linear layer: batch norm, dropout, linear, and a ReLU between two of them.
    The linear layers have a bias, as in fastai 1, so heads trained there have the same tensors.

    Args:
        n_features: channels of the body's output; `concat_pool` doubles them inside the head.
        n_out: number of outputs.
        lin_ftrs: widths of the hidden linear layers; None for [512], [] for a single linear layer.
        ps: dropout before each linear layer, in [0, 1). A number p is halved before all layers but the last.
        concat_pool: maximum and average pooling; otherwise average only.
        bn_final: end with a batch norm of momentum 0.01.
        y_range: end with a sigmoid between these two numbers, see `SigmoidRange`.
        init: see `init_weights`.

    Raises:
        UsageError: sizes that are not positive integers, a `ps` of the wrong length or outside [0, 1), an unknown init.

    >>> [layer.p for layer in create_head(8, 2, lin_ftrs=[256, 128]) if isinstance(layer, nn.Dropout)]
    [0.25, 0.25, 0.5]
    """
    hidden = [512] if lin_ftrs is None else _widths(lin_ftrs)
    n_pooled = n_features * 2 if concat_pool else n_features
    widths = [n_pooled, *hidden, check_int("n_out", n_out, 1)]
    dropouts = _dropouts(ps, len(widths) - 1)
    layers: list[nn.Module] = [AdaptiveConcatPool2d() if concat_pool else nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for n_in, n_next, p in zip(widths, widths[1:], dropouts, strict=False):
        layers += [nn.BatchNorm1d(n_in), nn.Dropout(p), nn.Linear(n_in, n_next), nn.ReLU(inplace=True)]
    layers.pop()  # no ReLU on the outputs
    if bn_final:
        layers.append(nn.BatchNorm1d(widths[-1], momentum=0.01))
    if y_range is not None:
        layers.append(SigmoidRange(*check_range("y_range", y_range)))
    head = nn.Sequential(*layers)
    init_weights(head, init)
    return head


def init_weights(module: nn.Module, init: Init) -> None:
    """Initialize the weights of the linear and convolution layers by `init`, and their biases to 0.

    Args:
        module: changed in place; its batch norms are not changed.
        init: a name in `INITS`, a function that fills a tensor in place, or None to keep torch's default.
    """
    fill = _find_init(init)
    if fill is None:
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear | _ConvNd):
            fill(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _find_init(init: Init) -> Callable[[Tensor], Any] | None:
    if isinstance(init, str) and init in INITS:
        return INITS[init]
    if init is None or callable(init):
        return init
    fix = f"Nearest: {nearest(str(init), INITS)}."
    raise UsageError("init", got=init, expected="a known initialization, a function(tensor) or None", fix=fix)


def _dropouts(ps: object, n_linear: int) -> list[float]:
    if isinstance(ps, list | tuple | np.ndarray):
        shares = list(ps)
        if len(shares) != n_linear:
            raise UsageError(
                "ps",
                got=ps,
                expected=f"a number, or one value for each of the {n_linear} linear layers",
                fix="The layers are those of lin_ftrs and the outputs.",
            )
    else:
        shares = [ps / 2] * (n_linear - 1) + [ps] if is_number(ps) else [ps]
    for p in shares:
        if not is_number(p) or not 0 <= p < 1:
            raise UsageError("ps", got=ps, expected="shares in [0, 1)", fix="Pass ps=0.5, or 0 for no dropout.")
    return [float(p) for p in shares]


def _widths(lin_ftrs: object) -> list[int]:
    if not isinstance(lin_ftrs, list | tuple | np.ndarray):
        raise UsageError("lin_ftrs", got=lin_ftrs, expected="a list of widths", fix="Pass lin_ftrs=[512].")
    return [check_int("lin_ftrs", width, 1) for width in lin_ftrs]
