"""The augmentation of a batch and of single images, in order, with random numbers that depend on the item alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.data.augment.others import call
from learnkit.data.augment.passes import CallPass, Coordinates, Finish, FusedPass
from learnkit.data.augment.presize import Presize
from learnkit.data.augment.steps import Columns, step_of
from learnkit.data.augment.targets import Moving, describe
from learnkit.device import to_device
from learnkit.errors import UsageError
from learnkit.seeds import preserve_all_rng, seed_all

__all__ = ["Augmentation", "Plan", "apply_to_item", "draws_numbers"]

FIX = "The bunch converts and normalizes: leave ToTensor, ToDtype and Normalize out."


class Plan(NamedTuple):
    """What an augmentation will do to a batch: drawn where the batch is read, and moved to the device with it.

    Attributes:
        at: what the random numbers depend on.
        rows: float32 (N, n), in the memory of the host.
        table: the same on the device.
    """

    at: Coordinates
    rows: npt.NDArray[np.float32]
    table: Tensor

    def part(self, items: slice) -> "Plan":
        """That of some of the items."""
        at = self.at._replace(indices=self.at.indices[items])
        return Plan(at, self.rows[items], self.table[items])


class Augmentation:
    """Transforms applied to a batch one after another.

    Adjacent geometric transforms are multiplied into one homography, so that an image is resampled once; adjacent
    brightness and contrast share one pass. The random numbers of an item depend only on (seed, epoch, its index, the
    position of the transform in the list).

    Args:
        transforms: those of geometry.py, color.py and erasing.py, or objects like them: with `n_numbers`, and
            `matrices`, `coefficients`, `mixes` or `apply(x, numbers)`. Any other callable gets the float (N, C, H, W)
            batch in [0, 1]; wrapped in OnBatch it may say whether it moves pixels.
        size: (height, width) of what a Presize crops to.
    """

    def __init__(self, transforms: Sequence[Any], size: tuple[int, int] | None = None) -> None:
        self.transforms: list[Any] = list(transforms)
        self.size = size
        crops = any(isinstance(transform, Presize) for transform in self.transforms)
        self._passes = _make_passes(self.transforms, size if crops else None)

    def __call__(
        self, x: Tensor, seed: int, epoch: int, indices: Tensor, moving: Moving | None = None, *, in_place: bool = False
    ) -> tuple[Tensor, Moving | None]:
        """The batch augmented as `plan` draws and `apply` does it.

        Args:
            x: float32 (N, C, H, W) in [0, 1], or uint8; contiguous or channels_last.
            seed: seed of the run.
            epoch: number of the epoch.
            indices: dataset indices of the items, int64 (N,), on the CPU.
            moving: what moves with the images: masks, by nearest-neighbor interpolation, or key points.
            in_place: whether x may be overwritten, which saves time; use what is returned.
        """
        plan = self.plan(seed, epoch, indices.numpy(), x.shape[-2], x.shape[-1])
        return self.apply(x, to_device(plan, x.device), moving, in_place=in_place)

    def plan(self, seed: int, epoch: int, indices: npt.NDArray[np.int64], height: int, width: int) -> Plan:
        """What will be done to the images of these indices, of this size; on the CPU."""
        at = Coordinates(seed, epoch, np.atleast_1d(indices))
        first = self._passes[0]
        table = first.columns(at, height, width) if isinstance(first, FusedPass) else torch.empty(len(at.indices), 0)
        return Plan(at, table.numpy(), table)

    @property
    def drawn_first(self) -> "Augmentation":
        """The transforms that `plan` draws for, those before a function of the batch, which a worker need not have."""
        first = self._passes[0]
        n = sum(map(len, first.places)) if isinstance(first, FusedPass) else 0
        return Augmentation(self.transforms[:n], self.size)

    @torch.no_grad()
    def apply(
        self,
        x: Tensor,
        plan: Plan,
        moving: Moving | None = None,
        *,
        in_place: bool = False,
        finish: Finish | None = None,
    ) -> tuple[Tensor, Moving | None]:
        """The augmented batch.

        Args:
            x: float32 (N, C, H, W) in [0, 1], or uint8; contiguous or channels_last.
            plan: what `plan` drew for it, on the device of x.
            moving: what moves with the images: masks, by nearest-neighbor interpolation, or key points.
            in_place: whether x may be overwritten, which saves time; use what is returned.
            finish: changes the result last, chunk by chunk: normalization.

        Returns:
            x, and what moved with it; x stays uint8 if there are only flips and quarter turns.

        Raises:
            UsageError: something moves, and a callable may move pixels; or a callable does not return a batch.
        """
        *_, last = self._passes
        for number, one in enumerate(self._passes):
            if isinstance(one, CallPass):
                x, moving = one.run(x, plan.at, moving)
                in_place = False  # the callable may keep a reference to what it returned
                continue
            columns = Columns(plan.rows, plan.table)
            if number:  # the size of its images is known only now
                table = one.columns(plan.at, x.shape[-2], x.shape[-1])
                columns = Columns(table.numpy(), to_device(table, x.device))
            made, moving = one.run(x, columns, moving, in_place=in_place, finish=finish if one is last else None)
            x, in_place = made, in_place or made is not x
        if finish is not None and isinstance(last, CallPass):
            x = finish(x, in_place=in_place, out=None)
        return x, moving


def _make_passes(transforms: Sequence[Any], crop: tuple[int, int] | None) -> list[FusedPass | CallPass]:
    """The passes of a list of transforms; one without steps for an empty list."""
    passes: list[FusedPass | CallPass] = []
    for place, transform in enumerate(transforms):
        step = step_of(transform, crop)
        if step is None:
            passes.append(CallPass(transform, place, draws_numbers(transform)))
            continue
        last = passes[-1] if passes else None
        if not isinstance(last, FusedPass):
            passes.append(last := FusedPass())
        last.add(step, place)
    return passes or [FusedPass()]


def draws_numbers(transform: Any) -> bool:
    """Whether a transform is one of learnkit's, or like them: a function of an image and of random numbers."""
    can_apply = callable(getattr(transform, "apply", None)) and hasattr(transform, "n_numbers")
    return can_apply or step_of(transform, None) is not None


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
