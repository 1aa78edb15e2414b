"""What `augment=` means: changes of single pictures in the workers, and of whole batches on the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learnkit.checks import nearest
from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation, Tonal, relight
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Dihedral, Flip, FlipVertical, Geometric, Rotate, Warp, Zoom, warp
from learnkit.data.augment.random import unit_floats
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive, preserve_all_rng, preserve_rng, seed_all, uniforms

__all__ = ["PRESETS", "Augmentation", "OnBatch", "OnItem", "apply_to_item", "stages"]

PRESETS = ("light", "strong", "trivial")
OWN = (Flip, FlipVertical, Dihedral, Rotate, Zoom, Warp, Brightness, Contrast, Saturation, Hue, RandomErasing)
NAMES = (*(kind.__name__ for kind in OWN), "RandomResizedCrop", "OnBatch", "OnItem")
EXPECTED = f"True, False, {', '.join(map(repr, PRESETS))}, or a list of transforms"


@dataclass(frozen=True)
class OnBatch:
    """Apply to the whole batch, on the device.

    Args:
        fn: called with x, float (N, C, H, W) in [0, 1], alone; it must leave the pixels where they are when there are
            masks. A transform of torchvision.transforms.v2 gets the masks too, as a tv_tensors.Mask, and changes both
            alike.
    """

    fn: Callable[..., Any]

    def __post_init__(self) -> None:
        _check_callable("OnBatch", self.fn)


@dataclass(frozen=True)
class OnItem:
    """Apply to each picture by itself, in the workers, after resizing.

    Args:
        fn: called with a tv_tensors.Image, uint8 (C, H, W), which it may write over; returns a picture of the same
            kind. A transform of torchvision.transforms.v2 gets the mask too, as a tv_tensors.Mask (H, W).
    """

    fn: Callable[..., Any]

    def __post_init__(self) -> None:
        _check_callable("OnItem", self.fn)


class Augmentation:
    """A list of changes applied to a batch one after the other.

    Neighbours that move pixels are multiplied into one homography, so that a picture is resampled once; neighbours
    that change the light share one pass. An item's random numbers depend on (seed, epoch, its index, the place of the
    transform in the list) alone.

    Args:
        transforms: of geometry.py, lighting.py and erasing.py, or of the same form: `matrices`, `line`, or
            `change(x, numbers)`, with `n_numbers`. Any other callable gets the float (N, C, H, W) batch in [0, 1];
            wrapped in OnBatch it may be used where there are masks.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        for transform in transforms:
            if isinstance(transform, type) or not (_draws_numbers(transform) or _is_foreign(transform)):
                raise _unknown(transform)
        self.transforms = list(transforms)

    @torch.no_grad()
    def __call__(
        self, x: Tensor, seed: int, epoch: int, indices: Tensor, masks: Tensor | None = None, *, in_place: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The batch changed.

        Args:
            x: float32 (N, C, H, W) in [0, 1], or uint8; contiguous or channels_last.
            seed: of the run.
            epoch: its number.
            indices: int64 (N,), the items' numbers, on the CPU.
            masks: integers below 2**24, (N, H, W): they move with the pictures, by nearest neighbours.
            in_place: x may be written over, which saves time; use what is returned.

        Returns:
            x and masks; masks is None if none were given. x stays uint8 where nothing but mirrors touched it.

        Raises:
            UsageError: a callable that may move pixels, and there are masks; or what one returned is no batch.
        """
        keys = indices.numpy()
        for kind, group in groupby(enumerate(self.transforms), key=lambda pair: _kind(pair[1])):
            places, transforms = zip(*group, strict=True)
            if kind is OnBatch:
                x = unit_floats(x)
                for place, transform in zip(places, transforms, strict=True):
                    first = derive(seed, Stream.AUGMENT, place, epoch, *np.atleast_1d(keys)[:1].tolist())
                    x, masks = _by_callable(transform, x, masks, first)
                in_place = False  # the callable may have kept what it returned
                continue
            drawn = [
                torch.from_numpy(
                    uniforms(derive(seed, Stream.AUGMENT, place), Stream.AUGMENT, epoch, keys, t.n_numbers)
                )
                for place, t in zip(places, transforms, strict=True)
            ]
            before = x
            if not all(getattr(transform, "is_symmetry", False) for transform in transforms):
                x = unit_floats(x)
            if kind is Geometric:
                x, masks = _moved(x, masks, transforms, drawn, in_place)
            elif kind is Tonal:
                x = relight(x, *_one_line(transforms, drawn), in_place=in_place)
            else:
                for transform, numbers in zip(transforms, drawn, strict=True):
                    x = transform.change(x, numbers)
            in_place = kind is not None and (in_place or x is not before)  # a new tensor is ours
        return x, masks


def _kind(transform: Any) -> Any:
    """What runs of transforms are grouped by: Geometric, Tonal, OnBatch for callables, None for those that change."""
    if _draws_numbers(transform):
        return next((kind for kind in (Geometric, Tonal) if isinstance(transform, kind)), None)
    return OnBatch


def _draws_numbers(transform: Any) -> bool:
    has_change = callable(getattr(transform, "change", None)) and hasattr(transform, "n_numbers")
    return has_change or isinstance(transform, Geometric | Tonal)


def _is_foreign(transform: Any) -> bool:
    return isinstance(transform, OnBatch) or callable(transform)


def _moved(
    x: Tensor, masks: Tensor | None, transforms: Sequence[Geometric], drawn: Sequence[Tensor], in_place: bool
) -> tuple[Tensor, Tensor | None]:
    """One warp for a run of transforms: the last one says first where an output point comes from."""
    total = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    for transform, numbers in zip(transforms, drawn, strict=True):
        total = total @ transform.matrices(numbers, *x.shape[-2:]).double()
    if masks is not None:
        masks = warp(masks[:, None].float(), total, "nearest")[:, 0].to(masks.dtype)
    return warp(x, total, in_place=in_place), masks


def _one_line(transforms: Sequence[Tonal], drawn: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Lines one after the other are a line: (scale, shift), each (N,)."""
    scale, shift = torch.ones(len(drawn[0])), torch.zeros(len(drawn[0]))
    for transform, numbers in zip(transforms, drawn, strict=True):
        factor, term = transform.line(numbers)
        scale, shift = factor * scale, factor * shift + term
    return scale, shift


def _by_callable(transform: Any, x: Tensor, masks: Tensor | None, seed: int) -> tuple[Tensor, Tensor | None]:
    """A callable that draws from torch's global generator, given a seed; the generator is put back."""
    if masks is not None and not isinstance(transform, OnBatch):
        raise UsageError(
            f"augment: {transform!r} may move pixels, and there are masks that would have to move with them",
            fix="Wrap it in OnBatch(...) if it is a transform of torchvision v2 or moves none.",
        )
    fn = transform.fn if isinstance(transform, OnBatch) else transform
    with preserve_rng():
        torch.default_generator.manual_seed(seed)
        out, masks = _with_masks(fn, x, masks)
    if not isinstance(out, Tensor) or out.ndim != 4 or len(out) != len(x) or not out.is_floating_point():
        raise UsageError(f"augment: {fn!r} returned", got=_described(out), expected=f"floats ({len(x)}, C, H, W)")
    return out, masks


def apply_to_item(
    fn: Callable[..., Any], pixels: Tensor, mask: Tensor | None, seed: int
) -> tuple[Tensor, Tensor | None]:
    """One picture changed; torch, NumPy and Python draw from `seed`, and their generators are put back.

    Args:
        fn: an OnItem, what it holds, or a transform of torchvision.transforms.v2.
        pixels: uint8 (C, H, W).
        mask: integers (H, W).
        seed: of this item in this epoch.

    Raises:
        UsageError: what `fn` returned is no uint8 picture of as many channels, or its mask is not of its size.
    """
    from torchvision import tv_tensors

    fn = fn.fn if isinstance(fn, OnItem) else fn
    with preserve_all_rng():
        seed_all(seed)
        out, out_mask = _with_masks(fn, tv_tensors.Image(pixels.clone()), mask)  # a cache may hold them
    is_picture = isinstance(out, Tensor) and out.dtype == torch.uint8 and out.ndim == 3 and len(out) == len(pixels)
    if not is_picture:
        raise UsageError(
            f"augment: {fn!r} returned", got=_described(out), expected=f"torch.uint8 ({len(pixels)}, H, W)"
        )
    if out_mask is not None and out_mask.shape != out.shape[-2:]:
        raise UsageError(
            f"augment: {fn!r} returned a mask",
            got=_described(out_mask),
            expected=f"{tuple(out.shape[-2:])}, as the picture",
        )
    return out, out_mask


def _with_masks(fn: Callable[..., Any], x: Tensor, masks: Tensor | None) -> tuple[Any, Tensor | None]:
    """x, and if `fn` is of torchvision v2 masks too, changed; plain tensors again."""
    if masks is None or not _is_v2(fn):
        return _plain(fn(x)), masks
    from torchvision import tv_tensors

    out = fn(tv_tensors.Image(x), tv_tensors.Mask(masks))
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise UsageError(f"augment: {fn!r} returned", got=_described(out), expected="a picture and a mask")
    return _plain(out[0]), _plain(out[1])


def _plain(out: Any) -> Any:
    return out.as_subclass(Tensor) if isinstance(out, Tensor) else out


def _described(out: Any) -> str:
    return f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__


def stages(augment: Any, size: tuple[int, int]) -> tuple[list[Any], Augmentation | None]:
    """What `augment=` means: the transforms of single pictures, in order, and those of a batch, or None.

    Args:
        augment: True for the default; False, None or an empty list for nothing; "light", "strong" or "trivial"
            (Müller and Hutter, TrivialAugment, 2021); or a list: OnItem, RandomResizedCrop and transforms of
            torchvision.transforms.v2 change single pictures, all others a batch.
        size: height and width of the pictures, pixels.

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
        raise _unknown(augment)
    of_items = [transform for transform in augment if _is_item_stage(transform)]
    of_batches = [transform for transform in augment if not _is_item_stage(transform)]
    return of_items, Augmentation(of_batches) if of_batches else None


def _preset(name: str, size: tuple[int, int]) -> list[Any]:
    if name == "light":
        return [Flip(), Brightness(0.1), Contrast(0.1)]
    if name == "strong":
        from learnkit.data.image.crops import RandomResizedCrop

        moves = [RandomResizedCrop(size, min_scale=0.35), Flip(), Rotate(15), Zoom(1.2), Warp()]
        return [*moves, Brightness(0.3), Contrast(0.3), Saturation(), Hue(), RandomErasing()]
    if name == "trivial":
        from torchvision.transforms import v2

        return [OnItem(v2.TrivialAugmentWide()), Flip()]
    raise UsageError("augment", got=name, expected=EXPECTED, fix=f"The nearest is {nearest(name, PRESETS, n=1)!r}.")


def _is_item_stage(transform: Any) -> bool:
    if isinstance(transform, type):
        return False
    return isinstance(transform, OnItem) or getattr(transform, "is_item_stage", False) is True or _is_v2(transform)


def _is_v2(fn: Any) -> bool:
    """Whether it is a transform of torchvision v2, found out without importing torchvision."""
    return any(kind.__module__.startswith("torchvision.transforms.v2") for kind in type(fn).__mro__)


def _check_callable(name: str, fn: Any) -> None:
    if not callable(fn) or isinstance(fn, type):
        raise UsageError(name, got=fn, expected="a function or a transform made already")


def _unknown(transform: Any) -> UsageError:
    if isinstance(transform, type):
        return UsageError("augment", got=transform, expected=EXPECTED, fix=f"Make one: {transform.__name__}().")
    if _draws_numbers(transform) or _is_foreign(transform):
        return UsageError("augment", got=transform, expected=EXPECTED, fix="Put it into a list.")
    if isinstance(transform, str):
        near = nearest(transform, NAMES, n=3)
        return UsageError("augment", got=transform, expected=EXPECTED, fix=f"The nearest transforms are {near}.")
    return UsageError("augment", got=transform, expected=EXPECTED)
