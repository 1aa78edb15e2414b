"""What `augment=` means: transforms of single images in the workers, and of whole batches on the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.checks import nearest
from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation, Tonal, adjust_logits
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Dihedral, Flip, FlipVertical, Geometric, Rotate, Warp, Zoom, warp
from learnkit.data.augment.random import to_float
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive, preserve_all_rng, preserve_rng, seed_all, uniforms

__all__ = ["PRESETS", "Augmentation", "OnBatch", "OnItem", "apply_to_item", "resolve_augment"]

PRESETS = ("light", "strong", "trivial")
TRANSFORMS = (Flip, FlipVertical, Dihedral, Rotate, Zoom, Warp, Brightness, Contrast, Saturation, Hue, RandomErasing)
NAMES = (*(kind.__name__ for kind in TRANSFORMS), "RandomResizedCrop", "OnBatch", "OnItem")
EXPECTED = f"True, False, {', '.join(map(repr, PRESETS))}, or a list of transforms"


@dataclass(frozen=True)
class OnBatch:
    """Apply to the whole batch, on the device.

    Args:
        fn: called with x, float (N, C, H, W) in [0, 1]; with masks, it must not move pixels. A transform of
            torchvision.transforms.v2 is called with x and the masks, a tv_tensors.Mask, and may move both.
    """

    fn: Callable[..., Any]

    def __post_init__(self) -> None:
        _check_callable("OnBatch", self.fn)


@dataclass(frozen=True)
class OnItem:
    """Apply to each image separately, in the workers, after resizing.

    Args:
        fn: called with a tv_tensors.Image, uint8 (C, H, W), which it may overwrite; returns an image of the same kind.
            A transform of torchvision.transforms.v2 also gets the mask, a tv_tensors.Mask (H, W).
    """

    fn: Callable[..., Any]

    def __post_init__(self) -> None:
        _check_callable("OnItem", self.fn)


class Augmentation:
    """Transforms applied to a batch one after another.

    Adjacent geometric transforms are multiplied into one homography, so that an image is resampled once; adjacent
    brightness and contrast share one pass. The random numbers of an item depend only on (seed, epoch, its index, the
    position of the transform in the list).

    Args:
        transforms: those of geometry.py, color.py and erasing.py, or objects like them: with `n_numbers`, and
            `matrices`, `coefficients` or `apply(x, numbers)`. Any other callable gets the float (N, C, H, W) batch in
            [0, 1]; wrapped in OnBatch it may be used with masks.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        for transform in transforms:
            if isinstance(transform, type) or not (_draws_numbers(transform) or _is_callable(transform)):
                raise _unknown_error(transform)
        self.transforms = list(transforms)

    @torch.no_grad()
    def __call__(
        self, x: Tensor, seed: int, epoch: int, indices: Tensor, masks: Tensor | None = None, *, in_place: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The augmented batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1], or uint8; contiguous or channels_last.
            seed: seed of the run.
            epoch: number of the epoch.
            indices: dataset indices of the items, int64 (N,), on the CPU.
            masks: integers below 2**24, (N, H, W), moved with the images by nearest-neighbor interpolation.
            in_place: whether x may be overwritten, which saves time; use what is returned.

        Returns:
            x, and masks or None; x stays uint8 if there are only flips and quarter turns.

        Raises:
            UsageError: masks, and a callable that may move pixels; or a callable that does not return a batch.
        """
        keys = indices.numpy()
        for kind, group in groupby(enumerate(self.transforms), key=lambda pair: _group_of(pair[1])):
            places, transforms = zip(*group, strict=True)
            if kind is OnBatch:
                x = to_float(x)
                for place, transform in zip(places, transforms, strict=True):
                    first = derive(seed, Stream.AUGMENT, place, epoch, *np.atleast_1d(keys)[:1].tolist())
                    x, masks = _call_on_batch(transform, x, masks, first)
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
                x, masks = _warp_all(x, masks, transforms, drawn, in_place)
            elif kind is Tonal:
                x = adjust_logits(x, *_compose(transforms, drawn), in_place=in_place)
            else:
                for transform, numbers in zip(transforms, drawn, strict=True):
                    x = transform.apply(x, numbers)
            in_place = kind is not None and (in_place or x is not before)  # no one else holds a new tensor
        return x, masks


def _group_of(transform: Any) -> Any:
    """The kind that adjacent transforms are grouped by: Geometric, Tonal, OnBatch for callables, None for others."""
    if _draws_numbers(transform):
        return next((kind for kind in (Geometric, Tonal) if isinstance(transform, kind)), None)
    return OnBatch


def _draws_numbers(transform: Any) -> bool:
    can_apply = callable(getattr(transform, "apply", None)) and hasattr(transform, "n_numbers")
    return can_apply or isinstance(transform, Geometric | Tonal)


def _is_callable(transform: Any) -> bool:
    return isinstance(transform, OnBatch) or callable(transform)


def _warp_all(
    x: Tensor, masks: Tensor | None, transforms: Sequence[Geometric], drawn: Sequence[Tensor], in_place: bool
) -> tuple[Tensor, Tensor | None]:
    """One warp for adjacent transforms; their matrices map output to input points, so the last one comes first."""
    total = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    for transform, numbers in zip(transforms, drawn, strict=True):
        total = total @ transform.matrices(numbers, *x.shape[-2:]).double()
    if masks is not None:
        masks = warp(masks[:, None].float(), total, "nearest")[:, 0].to(masks.dtype)
    return warp(x, total, in_place=in_place), masks


def _compose(transforms: Sequence[Tonal], drawn: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(scale, shift), each (N,), of the transforms applied one after another: affine maps compose to an affine map."""
    scale, shift = torch.ones(len(drawn[0])), torch.zeros(len(drawn[0]))
    for transform, numbers in zip(transforms, drawn, strict=True):
        factor, term = transform.coefficients(numbers)
        scale, shift = factor * scale, factor * shift + term
    return scale, shift


def _call_on_batch(transform: Any, x: Tensor, masks: Tensor | None, seed: int) -> tuple[Tensor, Tensor | None]:
    """Call a transform with torch's global generator seeded, and restore the generator."""
    if masks is not None and not isinstance(transform, OnBatch):
        raise UsageError(
            f"augment: {transform!r} may move pixels, and the masks would have to move with them",
            fix="Wrap it in OnBatch(...) if it is a transform of torchvision v2 or does not move pixels.",
        )
    fn = transform.fn if isinstance(transform, OnBatch) else transform
    with preserve_rng():
        torch.default_generator.manual_seed(seed)
        out, masks = _call_with_masks(fn, x, masks)
    if not isinstance(out, Tensor) or out.ndim != 4 or len(out) != len(x) or not out.is_floating_point():
        raise UsageError(f"augment: {fn!r} returned", got=_describe(out), expected=f"floats ({len(x)}, C, H, W)")
    return out.contiguous(), masks


def apply_to_item(
    fn: Callable[..., Any], pixels: Tensor, mask: Tensor | None, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Transform one image and its mask; torch, NumPy and Python are seeded, and their generators restored.

    Args:
        fn: an OnItem, a callable, or a transform of torchvision.transforms.v2.
        pixels: uint8 (C, H, W).
        mask: integers (H, W).
        seed: seed of this item in this epoch.

    Raises:
        UsageError: `fn` did not return a uint8 image of as many channels, or its mask has another size.
    """
    from torchvision import tv_tensors

    fn = fn.fn if isinstance(fn, OnItem) else fn
    with preserve_all_rng():
        seed_all(seed)
        out, out_mask = _call_with_masks(fn, tv_tensors.Image(pixels.clone()), mask)  # a cache may own the pixels
    is_image = isinstance(out, Tensor) and out.dtype == torch.uint8 and out.ndim == 3 and len(out) == len(pixels)
    if not is_image:
        raise UsageError(f"augment: {fn!r} returned", got=_describe(out), expected=f"torch.uint8 ({len(pixels)}, H, W)")
    if out_mask is not None and out_mask.shape != out.shape[-2:]:
        raise UsageError(
            f"augment: {fn!r} returned a mask",
            got=_describe(out_mask),
            expected=f"{tuple(out.shape[-2:])}, the size of the image",
        )
    return out, out_mask


def _call_with_masks(fn: Callable[..., Any], x: Tensor, masks: Tensor | None) -> tuple[Any, Tensor | None]:
    """What `fn` returns for x, and for the masks if it is of torchvision v2, as plain tensors."""
    if masks is None or not _is_v2(fn):
        return _as_tensor(fn(x)), masks
    from torchvision import tv_tensors

    out = fn(tv_tensors.Image(x), tv_tensors.Mask(masks))
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise UsageError(f"augment: {fn!r} returned", got=_describe(out), expected="an image and a mask")
    return _as_tensor(out[0]), _as_tensor(out[1])


def _as_tensor(out: Any) -> Any:
    return out.as_subclass(Tensor) if isinstance(out, Tensor) else out


def _describe(out: Any) -> str:
    return f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__


def resolve_augment(augment: Any, size: tuple[int, int]) -> tuple[list[Any], Augmentation | None]:
    """What `augment=` means: (transforms of single images, in order; those of a batch, or None).

    Args:
        augment: True for the default; False, None or an empty list for nothing; "light", "strong" or "trivial"
            (Müller and Hutter, TrivialAugment, 2021); or a list: OnItem, RandomResizedCrop and transforms of
            torchvision.transforms.v2 apply to single images, all others to a batch.
        size: height and width of the images in pixels.

    Raises:
        UsageError: anything else.
    """
    if augment is None or augment is False:
        return [], None
    if augment is True:
        augment = [Flip(), Rotate(), Zoom(), Warp(), Brightness(), Contrast()]
    elif isinstance(augment, str):
        augment = _preset(augment, size)
    elif not isinstance(augment, list | tuple):
        raise _unknown_error(augment)
    per_item = [transform for transform in augment if _is_item_stage(transform)]
    per_batch = [transform for transform in augment if not _is_item_stage(transform)]
    return per_item, Augmentation(per_batch) if per_batch else None


def _preset(name: str, size: tuple[int, int]) -> list[Any]:
    if name == "light":
        return [Flip(), Brightness(0.1), Contrast(0.1)]
    if name == "strong":
        from learnkit.data.image.crops import RandomResizedCrop

        geometric = [RandomResizedCrop(size, min_scale=0.35), Flip(), Rotate(15), Zoom(1.2), Warp()]
        return [*geometric, Brightness(0.3), Contrast(0.3), Saturation(), Hue(), RandomErasing()]
    if name == "trivial":
        from torchvision.transforms import v2

        return [OnItem(v2.TrivialAugmentWide()), Flip()]
    raise UsageError("augment", got=name, expected=EXPECTED, fix=f"The nearest is {nearest(name, PRESETS, n=1)!r}.")


def _is_item_stage(transform: Any) -> bool:
    if isinstance(transform, type):
        return False
    return isinstance(transform, OnItem) or getattr(transform, "is_item_stage", False) is True or _is_v2(transform)


def _is_v2(fn: Any) -> bool:
    """Whether it is a transform of torchvision v2, checked without importing torchvision."""
    return any(kind.__module__.startswith("torchvision.transforms.v2") for kind in type(fn).__mro__)


def _check_callable(name: str, fn: Any) -> None:
    if not callable(fn) or isinstance(fn, type):
        raise UsageError(name, got=fn, expected="a function or an instance of a transform")


def _unknown_error(transform: Any) -> UsageError:
    if isinstance(transform, type):
        return UsageError("augment", got=transform, expected=EXPECTED, fix=f"Pass an instance: {transform.__name__}().")
    if _draws_numbers(transform) or _is_callable(transform):
        return UsageError("augment", got=transform, expected=EXPECTED, fix="Put it into a list.")
    if isinstance(transform, str):
        near = nearest(transform, NAMES, n=3)
        return UsageError("augment", got=transform, expected=EXPECTED, fix=f"The nearest transforms are {near}.")
    return UsageError("augment", got=transform, expected=EXPECTED)
