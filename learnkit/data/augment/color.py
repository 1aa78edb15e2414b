"""Changing the light and the colours of a batch: the pixels stay where they are."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from learnkit.data.augment.random import check_range, happens, log_ratio, pieces, signed

__all__ = ["Brightness", "Contrast", "Hue", "Saturation", "Tonal", "relight"]

EPS = 1e-3  # the darkest and the lightest pixel have no logit: they are brought this far in
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))  # the colours of NTSC: I and Q of a gray are 0


@runtime_checkable
class Tonal(Protocol):
    """A transform that changes the logit of every pixel of an item from l to scale * l + shift."""

    n_numbers: ClassVar[int]

    def line(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (N,), of uniform numbers in [0, 1), float32 (N, n_numbers), on the CPU."""


@dataclass(frozen=True)
class Brightness:
    """Lighter or darker: added to the logits of the pixels, so that nothing is cut off.

    Args:
        max_change: the middle gray moves to between 0.5 (1 - m) and 0.5 (1 + m), drawn evenly.
        p: probability.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_change(self.max_change, self.p)

    def line(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        middle = 0.5 * (1 + signed(numbers[:, 1]) * self.max_change)
        shift = torch.where(happens(numbers[:, 0], self.p), middle.logit(), 0.0)
        return torch.ones_like(shift), shift


@dataclass(frozen=True)
class Contrast:
    """More or less contrast: the logits of the pixels multiplied, the middle gray kept.

    Args:
        max_change: the factor is drawn evenly on a log scale between 1 - m and 1 / (1 - m).
        p: probability.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_change(self.max_change, self.p)

    def line(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.where(happens(numbers[:, 0], self.p), log_ratio(numbers[:, 1], self.max_change), 1.0)
        return scale, torch.zeros_like(scale)


@dataclass(frozen=True)
class Saturation:
    """More or less colour: a mix with the gray picture. Pictures of other than three channels stay as they are.

    Args:
        max_change: the share of the picture is drawn evenly on a log scale between 1 - m and 1 / (1 - m).
        p: probability.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.3
    p: float = 0.75

    def __post_init__(self) -> None:
        _check_change(self.max_change, self.p)

    def change(self, x: Tensor, numbers: Tensor) -> Tensor:
        """x float (N, C, H, W) in [0, 1] changed by uniform numbers, float32 (N, n_numbers), on the CPU."""
        share = torch.where(happens(numbers[:, 0], self.p), log_ratio(numbers[:, 1], self.max_change), 1.0)
        share = share.view(-1, 1, 1)
        return _recoloured(x, share * torch.eye(3) + (1 - share) * torch.tensor(LUMA))


@dataclass(frozen=True)
class Hue:
    """All colours moved round the circle of hues: a rotation of the plane of I and Q in YIQ, which keeps the luma.

    Pictures of other than three channels stay as they are.

    Args:
        max_change: the largest angle either way, drawn evenly, as a share of a full turn.
        p: probability.
    """

    n_numbers: ClassVar[int] = 2

    max_change: float = 0.05
    p: float = 0.75

    def __post_init__(self) -> None:
        check_range("max_change", self.max_change, 0, 0.5)
        check_range("p", self.p, 0, 1)

    def change(self, x: Tensor, numbers: Tensor) -> Tensor:
        """x float (N, C, H, W) in [0, 1] changed by uniform numbers, float32 (N, n_numbers), on the CPU."""
        turns = torch.where(happens(numbers[:, 0], self.p), signed(numbers[:, 1].double()) * self.max_change, 0.0)
        cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
        rotation = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
        rotation[:, 1, 1], rotation[:, 1, 2], rotation[:, 2, 1], rotation[:, 2, 2] = cos, -sin, sin, cos
        to_yiq = torch.tensor(YIQ, dtype=torch.float64)
        return _recoloured(x, (to_yiq.inverse() @ rotation @ to_yiq).float())


def _check_change(max_change: float, p: float) -> None:
    check_range("max_change", max_change, 0, 1, may_reach_high=False)
    check_range("p", p, 0, 1)


def relight(x: Tensor, scale: Tensor, shift: Tensor, *, in_place: bool = False) -> Tensor:
    """The sigmoid of scale * logit + shift: any number of Tonal transforms in one pass.

    Args:
        x: float (N, C, H, W) in [0, 1].
        scale: (N,), on the CPU.
        shift: (N,), on the CPU.
        in_place: write over x.
    """
    out = x if in_place else torch.empty_like(x)
    is_changed = (scale != 1) | (shift != 0)
    for part in pieces(x):
        if not is_changed[part].any():
            torch.clamp(x[part], EPS, 1 - EPS, out=out[part])
            continue
        factor, term = (line[part].to(x.device, non_blocking=True).view(-1, 1, 1, 1) for line in (scale, shift))
        torch.logit(x[part], EPS, out=out[part]).mul_(factor).add_(term).sigmoid_()
    return out


def _recoloured(x: Tensor, matrices: Tensor) -> Tensor:
    """Each pixel's three colours multiplied by its item's matrix (N, 3, 3), cut off at 0 and 1."""
    if x.shape[1] != 3:
        return x
    out = torch.empty_like(x)
    matrices = matrices.to(x.device, non_blocking=True)
    for part in pieces(x):
        out[part] = torch.bmm(matrices[part], x[part].flatten(2)).view_as(x[part]).clamp_(0, 1)
    return out
