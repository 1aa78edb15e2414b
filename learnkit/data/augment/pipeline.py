"""The augmentation of a batch and of single images, in order, with random numbers that depend on the item alone."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.data.augment.color import Tonal, adjust_logits
from learnkit.data.augment.geometry import Geometric, padding_of
from learnkit.data.augment.others import OnBatch, call
from learnkit.data.augment.presize import Presize
from learnkit.data.augment.random import to_float
from learnkit.data.augment.targets import Moving, describe
from learnkit.data.augment.warp import warp
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive, preserve_all_rng, preserve_rng, seed_all, uniforms

__all__ = ["Augmentation", "apply_to_item", "draws_numbers"]

FIX = "The bunch converts and normalizes: leave ToTensor, ToDtype and Normalize out."


class Augmentation:
    """Transforms applied to a batch one after another.

    Adjacent geometric transforms are multiplied into one homography, so that an image is resampled once; adjacent
    brightness and contrast share one pass. The random numbers of an item depend only on (seed, epoch, its index, the
    position of the transform in the list).

    Args:
        transforms: those of geometry.py, color.py and erasing.py, or objects like them: with `n_numbers`, and
            `matrices`, `coefficients` or `apply(x, numbers)`. Any other callable gets the float (N, C, H, W) batch in
            [0, 1]; wrapped in OnBatch it may say whether it moves pixels.
        size: (height, width) of what a Presize crops to.
    """

    def __init__(self, transforms: Sequence[Any], size: tuple[int, int] | None = None) -> None:
        self.transforms = list(transforms)
        self.size = size

    @torch.no_grad()
    def __call__(
        self, x: Tensor, seed: int, epoch: int, indices: Tensor, moving: Moving | None = None, *, in_place: bool = False
    ) -> tuple[Tensor, Moving | None]:
        """The augmented batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1], or uint8; contiguous or channels_last.
            seed: seed of the run.
            epoch: number of the epoch.
            indices: dataset indices of the items, int64 (N,), on the CPU.
            moving: what moves with the images: masks, by nearest-neighbor interpolation, or key points.
            in_place: whether x may be overwritten, which saves time; use what is returned.

        Returns:
            x, and what moved with it; x stays uint8 if there are only flips and quarter turns.

        Raises:
            UsageError: something moves, and a callable may move pixels; or a callable does not return a batch.
        """
        keys = indices.numpy()
        for (kind, *padding), group in groupby(enumerate(self.transforms), key=lambda pair: _group_of(pair[1])):
            places, transforms = zip(*group, strict=True)
            if kind is OnBatch:
                x = to_float(x)
                for place, transform in zip(places, transforms, strict=True):
                    first = derive(seed, Stream.AUGMENT, place, epoch, *np.atleast_1d(keys)[:1].tolist())
                    x, moving = _call_on_batch(transform, x, moving, first)
                in_place = False  # the callable may keep a reference to what it returned
                continue
            drawn = [
                torch.from_numpy(
                    uniforms(derive(seed, Stream.AUGMENT, place), Stream.AUGMENT, epoch, keys, t.n_numbers)
                )
                for place, t in zip(places, transforms, strict=True)
            ]
            before = x
            if not all(getattr(transform, "is_symmetry", False) for transform in transforms):
                x = to_float(x)
            if kind is Geometric:
                x, moving = self._warp(x, moving, transforms, drawn, padding[0], in_place=in_place)
            elif kind is Tonal:
                x = adjust_logits(x, *_compose(transforms, drawn), in_place=in_place)
            else:
                for transform, numbers in zip(transforms, drawn, strict=True):
                    x = transform.apply(x, numbers)
            in_place = kind is not None and (in_place or x is not before)  # no one else holds a new tensor
        return x, moving

    def _warp(
        self,
        x: Tensor,
        moving: Moving | None,
        transforms: Sequence[Geometric],
        drawn: Sequence[Tensor],
        padding: Any,
        *,
        in_place: bool,
    ) -> tuple[Tensor, Moving | None]:
        """One warp for adjacent transforms; their matrices map output to input points, so the last one comes first."""
        crops = any(isinstance(transform, Presize) for transform in transforms)
        size = self.size if crops and self.size is not None else (x.shape[-2], x.shape[-1])
        total = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
        for transform, numbers in zip(transforms, drawn, strict=True):
            total = total @ transform.matrices(numbers, *size).double()
        moving = None if moving is None else moving.warped(total, padding, size)
        return warp(x, total, padding=padding, size=size, in_place=in_place), moving


def _group_of(transform: Any) -> tuple[Any, ...]:
    """What adjacent transforms share: Geometric and a padding, Tonal, OnBatch for callables, None for others."""
    if not draws_numbers(transform):
        return (OnBatch,)
    if isinstance(transform, Geometric):
        return Geometric, padding_of(transform)
    return (Tonal if isinstance(transform, Tonal) else None,)


def draws_numbers(transform: Any) -> bool:
    """Whether a transform is one of learnkit's, or like them: a function of an image and of random numbers."""
    can_apply = callable(getattr(transform, "apply", None)) and hasattr(transform, "n_numbers")
    return can_apply or isinstance(transform, Geometric | Tonal)


def _compose(transforms: Sequence[Tonal], drawn: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(scale, shift), each (N,), of the transforms applied one after another: affine maps compose to an affine map."""
    scale, shift = torch.ones(len(drawn[0])), torch.zeros(len(drawn[0]))
    for transform, numbers in zip(transforms, drawn, strict=True):
        factor, term = transform.coefficients(numbers)
        scale, shift = factor * scale, factor * shift + term
    return scale, shift


def _call_on_batch(transform: Any, x: Tensor, moving: Moving | None, seed: int) -> tuple[Tensor, Moving | None]:
    """Call a transform with torch's global generator seeded, and restore the generator."""
    with preserve_rng():
        torch.default_generator.manual_seed(seed)
        out, moved = call(transform, x, moving)
    if not isinstance(out, Tensor) or out.ndim != 4 or len(out) != len(x) or not out.is_floating_point():
        fn = getattr(transform, "fn", transform)
        raise UsageError(f"augment: {fn!r} returned", got=describe(out), expected=f"floats ({len(x)}, C, H, W)")
    return out.contiguous(), moved


def apply_to_item(fn: Any, pixels: Tensor, moving: Moving | None, seed: int) -> tuple[Tensor, Moving | None]:
    """Transform one image and what moves with it; torch, NumPy and Python are seeded, and their generators restored.

    Args:
        fn: an OnItem, an Albumentations, a callable, or a transform of torchvision.
        pixels: uint8 (C, H, W).
        moving: its mask, integers (H, W), or its key points (P, 2).
        seed: seed of this item in this epoch.

    Raises:
        UsageError: `fn` fails or does not return a uint8 image of as many channels, or its mask has another size.
    """
    from torchvision import tv_tensors

    with preserve_all_rng():
        seed_all(seed)
        out, moved = call(fn, tv_tensors.Image(pixels.clone()), moving)  # a cache may own the pixels
    is_image = isinstance(out, Tensor) and out.dtype == pixels.dtype and out.ndim == 3 and len(out) == len(pixels)
    if not is_image:
        inner, expected = getattr(fn, "fn", fn), f"{pixels.dtype} ({len(pixels)}, H, W)"
        raise UsageError(f"augment: {inner!r} returned", got=describe(out), expected=expected, fix=FIX)
    return out, moved
