"""Augmentation of a training batch on the device: one warp, then light; each item by its own coordinates."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive, kept_rng, uniforms

__all__ = ["Affine", "Augmentation", "Lighting", "augmentations"]


@dataclass(frozen=True)
class Affine:
    """Flip, rotate, zoom and tilt as one warp, so that a picture is resampled once.

    Args:
        flip: probability of a mirror image.
        flip_vert: probability of turning it upside down.
        max_rotate: largest rotation either way, degrees.
        max_zoom: largest magnification, 1 for none.
        max_warp: largest tilt of the plane of the picture, as a share of its size.
        p: probability of rotation, zoom and of tilt, each by itself.
    """

    n_numbers: ClassVar[int] = 9

    flip: float = 0.5
    flip_vert: float = 0.0
    max_rotate: float = 10.0
    max_zoom: float = 1.1
    max_warp: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in (self.flip, self.flip_vert, self.p)):
            raise UsageError(
                "flip, flip_vert, p", got=(self.flip, self.flip_vert, self.p), expected="shares from 0 to 1"
            )
        if self.max_zoom < 1 or self.max_rotate < 0 or not 0 <= self.max_warp < 1:
            raise UsageError(
                "max_zoom, max_rotate, max_warp", got=(self.max_zoom, self.max_rotate, self.max_warp),
                expected="max_zoom of 1 or more, max_rotate of 0 or more degrees, max_warp in [0, 1)",
            )  # fmt: skip

    def change(self, x: Tensor, numbers: Tensor) -> Tensor:
        return warp(x, self.matrices(numbers, x.shape[-2] / x.shape[-1]))

    def matrices(self, numbers: Tensor, aspect: float) -> Tensor:
        """(N, 3, 3): where each output point, in [-1, 1], is taken from."""
        u = numbers.double().cpu()
        on = (u[:, 5:8] < self.p).double()
        signed = 2 * u[:, 2:5] - 1
        angle = torch.deg2rad(signed[:, 0] * self.max_rotate) * on[:, 0]
        zoom = 1 / (1 + u[:, 8] * (self.max_zoom - 1) * on[:, 1])
        tilt = signed[:, 1:3] * self.max_warp / 2 * on[:, 2:3]
        mirror = 1 - 2 * (u[:, 0] < self.flip).double()
        upside = 1 - 2 * (u[:, 1] < self.flip_vert).double()
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rows = [mirror * cos, mirror * -sin * aspect, zero, upside * sin / aspect, upside * cos, zero, *tilt.T, one]
        return torch.stack(rows, 1).view(-1, 3, 3).float()


def warp(x: Tensor, matrices: Tensor) -> Tensor:
    """Resample a batch once, borders mirrored.

    Args:
        x: (N, C, H, W).
        matrices: (N, 3, 3) homographies from output to input points, both in [-1, 1].
    """
    n, _, height, width = x.shape
    across = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, device=x.device)
    down = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, device=x.device)
    y, z = torch.meshgrid(down, across, indexing="ij")
    points = torch.stack([z, y, torch.ones_like(z)], -1).view(1, -1, 3)  # (1, H*W, 3)
    moved = points @ matrices.to(x.device).transpose(1, 2)  # (N, H*W, 3)
    grid = (moved[..., :2] / moved[..., 2:]).view(n, height, width, 2)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


@dataclass(frozen=True)
class Lighting:
    """Brightness, added to the logits of the pixels, and contrast, multiplied with them.

    Args:
        max_change: brightness moves the middle gray to between 0.5 (1 - m) and 0.5 (1 + m); contrast is drawn evenly
            on a log scale between 1 - m and 1 / (1 - m).
        p: probability of each.
    """

    n_numbers: ClassVar[int] = 4

    max_change: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.max_change < 1 or not 0 <= self.p <= 1:
            raise UsageError(
                "max_change, p", got=(self.max_change, self.p), expected="max_change in [0, 1), p in [0, 1]"
            )

    def change(self, x: Tensor, numbers: Tensor) -> Tensor:
        on = numbers[:, 2:] < self.p
        middle = 0.5 * (1 + (2 * numbers[:, 0] - 1) * self.max_change)
        shift = torch.where(on[:, 0], middle.logit(), 0.0)
        scale = torch.where(on[:, 1], torch.exp((1 - 2 * numbers[:, 1]) * math.log1p(-self.max_change)), 1.0)
        column = (-1, 1, 1, 1)
        return x.logit(eps=1e-3).add_(shift.view(column)).mul_(scale.view(column)).sigmoid_()


class Augmentation:
    """A list of changes applied to a batch one after the other.

    Those of this module have `n_numbers`, how many uniform numbers in [0, 1) an item needs, and `change(x, numbers)`,
    x float (N, C, H, W) in [0, 1] and numbers (N, n_numbers).

    Args:
        transforms: those of this module, or any callable on a float (N, C, H, W) tensor in [0, 1].
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        for transform in transforms:
            if not callable(getattr(transform, "change", None)) and not callable(transform):
                raise UsageError("augment", got=transform, expected="True, False, or a list of transforms of a batch")
        self.transforms = list(transforms)

    def __call__(self, x: Tensor, seed: int, epoch: int, indices: Tensor) -> Tensor:
        """x changed; the numbers of an item depend on (seed, epoch, its index) alone."""
        keys = indices.numpy()
        for place, transform in enumerate(self.transforms):
            if hasattr(transform, "change"):
                numbers = uniforms(
                    derive(seed, Stream.AUGMENT, place), Stream.AUGMENT, epoch, keys, transform.n_numbers
                )
                x = transform.change(x, torch.from_numpy(numbers).to(x.device))
            else:
                x = _seeded(transform, x, derive(seed, Stream.AUGMENT, place, epoch, *np.atleast_1d(keys)[:1].tolist()))
        return x


def _seeded(transform: Callable[[Tensor], Tensor], x: Tensor, seed: int) -> Tensor:
    """A transform that draws from torch's global generator, given a seed; the generator is put back."""
    with kept_rng():
        torch.default_generator.manual_seed(seed)
        return transform(x)


def augmentations(augment: Any) -> Augmentation | None:
    """What `augment=` means: True for the default, False or an empty list for none.

    Raises:
        UsageError: anything else than a bool or a list of transforms.
    """
    if augment is True:
        return Augmentation([Affine(), Lighting()])
    if augment is False or augment is None:
        return None
    if not isinstance(augment, list | tuple):
        raise UsageError("augment", got=augment, expected="True, False, or a list of transforms of a batch")
    return Augmentation(augment) if augment else None
