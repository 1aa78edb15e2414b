"""Brightness, contrast, saturation and hue of a batch: pixel values change, pixels stay where they are."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from learnkit.checks import check_number
from learnkit.data.augment.random import happens, log_ratio, signed
from learnkit.device import to_device

__all__ = ["Brightness", "Contrast", "Hue", "Mixing", "Saturation", "Tonal", "adjust_logits", "mix_channels"]

EPS = 1e-3  # 0 and 1 have no logit: pixels are clamped to [EPS, 1 - EPS]
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))  # of NTSC; I and Q of gray are 0


@runtime_checkable
class Tonal(Protocol):
    """A transform that maps the logit l of every pixel of an item to scale * l + shift."""

    n_numbers: ClassVar[int]

    def coefficients(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (N,), from uniform numbers in [0, 1), float32 (N, n_numbers), on the CPU."""


@runtime_checkable
class Mixing(Protocol):
    """A transform that multiplies the three channels of every pixel of an item by a matrix."""

    n_numbers: ClassVar[int]

    def mixes(self, numbers: Tensor) -> Tensor:
        """The matrices, float32 (N, 3, 3), from uniform numbers in [0, 1), float32 (N, n_numbers), on the CPU."""


@dataclass(frozen=True)
class Brightness:
    """Lighter or darker: a shift of the logits of the pixels, so that no value is clipped.

    Args:
        max_change: middle gray becomes uniform between 0.5 (1 - m) and 0.5 (1 + m).
        p: probability of changing an item.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_change(self.max_change, self.p)

    def coefficients(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        middle = 0.5 * (1 + signed(numbers[:, 1]) * self.max_change)
        shift = torch.where(happens(numbers[:, 0], self.p), middle.logit(), 0.0)
        return torch.ones_like(shift), shift


@dataclass(frozen=True)
class Contrast:
    """More or less contrast: the logits of the pixels are scaled, so that middle gray stays.

    Args:
        max_change: the factor is log-uniform between 1 - m and 1 / (1 - m).
        p: probability of changing an item.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_change(self.max_change, self.p)

    def coefficients(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.where(happens(numbers[:, 0], self.p), log_ratio(numbers[:, 1], self.max_change), 1.0)
        return scale, torch.zeros_like(scale)


@dataclass(frozen=True)
class Saturation:
    """More or less color: a mix with the gray image. Only images of three channels change.

    Args:
        max_change: the weight of the image is log-uniform between 1 - m and 1 / (1 - m).
        p: probability of changing an item.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.3
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_change(self.max_change, self.p)

    def apply(self, x: Tensor, numbers: Tensor) -> Tensor:
        """x, float (N, C, H, W) in [0, 1], changed by uniform numbers, float32 (N, n_numbers), on the CPU."""
        return mix_channels(x, to_device(self.mixes(numbers), x.device))

    def mixes(self, numbers: Tensor) -> Tensor:
        weight = torch.where(happens(numbers[:, 0], self.p), log_ratio(numbers[:, 1], self.max_change), 1.0)
        weight = weight.view(-1, 1, 1)
        return weight * torch.eye(3) + (1 - weight) * torch.tensor(LUMA)


@dataclass(frozen=True)
class Hue:
    """All hues rotated by one angle: a rotation of the IQ plane of YIQ, which keeps the luma.

    Only images of three channels change.

    Args:
        max_change: the largest angle in either direction, as a fraction of a full turn; the angle is uniform.
        p: probability of changing an item.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.05
    p: float = 0.75

    def __post_init__(self) -> None:
        check_number("max_change", self.max_change, "[0, 0.5]")
        check_number("p", self.p, "[0, 1]")

    def apply(self, x: Tensor, numbers: Tensor) -> Tensor:
        """x, float (N, C, H, W) in [0, 1], changed by uniform numbers, float32 (N, n_numbers), on the CPU."""
        return mix_channels(x, to_device(self.mixes(numbers), x.device))

    def mixes(self, numbers: Tensor) -> Tensor:
        turns = torch.where(happens(numbers[:, 0], self.p), signed(numbers[:, 1].double()) * self.max_change, 0.0)
        cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
        rotation = torch.eye(3, dtype=torch.float64).repeat(len(turns), 1, 1)
        rotation[:, 1, 1], rotation[:, 1, 2], rotation[:, 2, 1], rotation[:, 2, 2] = cos, -sin, sin, cos
        to_yiq = torch.tensor(YIQ, dtype=torch.float64)
        return (to_yiq.inverse() @ rotation @ to_yiq).float()


def _check_change(max_change: float, p: float) -> None:
    check_number("max_change", max_change, "[0, 1)")
    check_number("p", p, "[0, 1]")


def adjust_logits(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    *,
    is_scaled: bool = True,
    is_changed: bool = True,
    in_place: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """sigmoid(scale * logit(x) + shift): any number of Tonal transforms in one pass.

    Args:
        x: float (N, C, H, W) in [0, 1].
        scale: (N,), on the device of x.
        shift: (N,), on the device of x.
        is_scaled: whether any scale is not 1; a shift alone needs no logarithm.
        is_changed: whether any scale is not 1 or any shift not 0; else x is only clamped to where logits are finite.
        in_place: whether x may be overwritten.
        out: where to write the result; None for x if it may be overwritten, else for a new tensor.
    """
    work = x if in_place else torch.empty_like(x) if out is None else out
    out = work if out is None else out
    if not is_changed:
        return torch.clamp(x, EPS, 1 - EPS, out=out)
    factor, term = scale.view(-1, 1, 1, 1), shift.view(-1, 1, 1, 1)
    if not is_scaled:  # with odds = exp(shift), odds * x / (1 + (odds - 1) * x)
        odds = term.exp()
        below = torch.clamp(x, EPS, 1 - EPS, out=work).mul(odds - 1).add_(1)
        return torch.div(work.mul_(odds), below, out=out)
    return torch.sigmoid(torch.logit(x, EPS, out=work).mul_(factor).add_(term), out=out)


def mix_channels(x: Tensor, mixes: Tensor) -> Tensor:
    """The three channels of each pixel multiplied by the matrix of its item, (N, 3, 3), and clipped to [0, 1].

    Images of other channels are unchanged.
    """
    if x.shape[1] != 3:
        return x
    mixed = torch.bmm(mixes, x.flatten(2)).clamp_(0, 1).view(x.shape)
    return mixed.contiguous(memory_format=torch.channels_last) if x.stride(1) == 1 else mixed
