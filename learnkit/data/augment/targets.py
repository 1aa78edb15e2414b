"""Targets that lie in an image and move with it: masks and key points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from learnkit.data.augment.constants import constant
from learnkit.data.augment.geometry import Padding
from learnkit.data.augment.warp import Motion, warped
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Task
from learnkit.errors import UsageError

__all__ = ["Masks", "Moving", "MovingPoints", "describe", "moving_noun", "moving_targets"]

BASE = 256  # class k travels as BASE + k: any other value is what a transform of another library filled in


class Moving(Protocol):
    """Targets that lie in their images.

    Attributes:
        values: of one image, or of a batch with one more axis.
        noun: what they are called, in messages.
    """

    noun: str

    @property
    def values(self) -> Tensor: ...

    @property
    def targets(self) -> Tensor:
        """The values as the loss takes them."""

    def warped(self, motion: Motion, padding: Padding, size: tuple[int, int]) -> Self:
        """Moved as their batch of images is, whose new size is `size`."""

    def packed(self, height: int, width: int) -> Tensor:
        """What a transform of torchvision v2 takes and moves, for images of this size."""

    def unpacked(self, moved: Any, height: int, width: int, fn: object) -> Self:
        """Back from what the transform `fn` made of `packed`, for images that now have this size.

        Raises:
            UsageError: pixels that have no class now.
        """

    def replaced(self, values: Any, height: int, width: int, fn: object) -> Self:
        """With the values that `fn`, which moves them itself, returned.

        Raises:
            UsageError: values of another kind or shape.
        """


@dataclass(frozen=True)
class Masks:
    """Class indices per pixel.

    Attributes:
        values: integers (..., H, W).
        fill: the target of pixels that a transform uncovers; None if it is not known.
        encode: the masks as the loss takes them.
        known: the targets that there are; () for any.
    """

    noun = "masks"

    values: Tensor
    fill: int | None = None
    encode: Callable[[Tensor], Tensor] = Tensor.long
    known: Sequence[int] = ()

    def warped(self, motion: Motion, padding: Padding, size: tuple[int, int]) -> Self:
        numbers, fill = self.values[:, None].float(), 0
        if padding == "zeros":  # which grid_sample fills with 0
            fill = self._uncovered(f"padding_mode={padding!r}")
        moved = warped(numbers - fill if fill else numbers, motion, "nearest", padding=padding, size=size)[:, 0]
        return replace(self, values=(moved + fill if fill else moved).to(self.values.dtype))

    @property
    def targets(self) -> Tensor:
        return self.encode(self.values)

    def packed(self, height: int, width: int) -> Tensor:
        from torchvision import tv_tensors

        mask: Tensor = tv_tensors.Mask(self.shifted())
        return mask

    def shifted(self) -> Tensor:
        """The values plus BASE, int32."""
        return self.values.int() + BASE

    def unpacked(self, moved: Any, height: int, width: int, fn: object) -> Self:
        moved = _plain(moved, "a mask", fn)
        is_uncovered = moved < BASE
        if moved.shape[-2:] != (height, width):
            expected = f"{(height, width)}, the size of the image"
            raise UsageError(f"augment: {fn!r} returned a mask", got=tuple(moved.shape[-2:]), expected=expected)
        if is_uncovered.any():
            moved = torch.where(is_uncovered, BASE + self._uncovered(repr(fn)), moved)
        return replace(self, values=(moved - BASE).to(self.values.dtype))

    def replaced(self, values: Any, height: int, width: int, fn: object) -> Self:
        moved = _plain(values, "a mask", fn)
        shape = (*self.values.shape[:-2], height, width)
        if moved.is_floating_point() or moved.shape != shape:
            raise UsageError(f"augment: {fn!r} returned a mask", got=describe(moved), expected=f"integers {shape}")
        if self.known and not (are_known := torch.isin(moved, moved.new_tensor(self.known))).all():
            got = sorted(set(moved[~are_known].tolist()))[:5]
            raise UsageError(f"augment: {fn!r} returned a mask with", got=got, expected=f"the classes {self.known}")
        return replace(self, values=moved.to(self.values.dtype))

    def _uncovered(self, name: str) -> int:
        """The target of pixels that a transform uncovers."""
        if self.fill is None:
            raise UsageError(
                f"augment: {name} uncovers pixels that have no class",
                fix="Give the task an ignore_index= or border=, or use Rotate, Zoom and Warp, which mirror the border.",
            )
        return self.fill


@dataclass(frozen=True)
class MovingPoints:
    """Key points.

    Attributes:
        values: float (..., P, 2), x and y in [-1, 1]; nan for a missing point.
        swaps: the point that each one is in a mirror image; None if they all stay.
    """

    noun = "key points"

    values: Tensor
    swaps: Sequence[int] | None = None

    @property
    def targets(self) -> Tensor:
        return self.values

    def warped(self, motion: Motion, padding: Padding, size: tuple[int, int]) -> Self:
        values = self.values
        homogeneous = torch.cat([values, torch.ones_like(values[..., :1])], -1)
        across, down, depth = motion.matrices.to(values.dtype).unbind(1)
        inverse = torch.stack(  # times the determinant, which the division below removes
            [torch.linalg.cross(down, depth), torch.linalg.cross(depth, across), torch.linalg.cross(across, down)], 1
        )
        moved = homogeneous @ inverse
        is_mirrored = (across * inverse[:, 0]).sum(-1) < 0
        return self._moved(moved[..., :2] / moved[..., 2:], is_mirrored)

    def packed(self, height: int, width: int) -> Tensor:
        """Pixels, followed by three points that show whether the image was mirrored."""
        from torchvision import tv_tensors

        marks = self.values.new_tensor([[0.0, 0.0], [1 / width, 0.0], [0.0, 1 / height]])
        known = self.values.nan_to_num(0.0)  # a missing point goes anywhere
        points = torch.cat([known, marks.expand(*known.shape[:-2], 3, 2)], -2)
        sides = points.new_tensor([width, height])
        pixels: Tensor = tv_tensors.KeyPoints((points + 1) / 2 * sides - 0.5, canvas_size=(height, width))
        return pixels

    def unpacked(self, moved: Any, height: int, width: int, fn: object) -> Self:
        points = _plain(moved, "key points", fn)
        points = (points + 0.5) * 2 / points.new_tensor([width, height]) - 1
        center, right, below = points[..., -3:, :].unbind(-2)
        (a, b), (c, d) = (right - center).unbind(-1), (below - center).unbind(-1)
        is_missing = self.values.isnan()
        return self._moved(points[..., :-3, :].masked_fill(is_missing, torch.nan), a * d < b * c)

    def replaced(self, values: Any, height: int, width: int, fn: object) -> Self:
        moved = _plain(values, "key points", fn)
        if not moved.is_floating_point() or moved.shape != self.values.shape:
            expected = f"floats {tuple(self.values.shape)}"
            raise UsageError(f"augment: {fn!r} returned key points", got=describe(moved), expected=expected)
        return replace(self, values=moved.to(self.values.dtype))

    def _moved(self, values: Tensor, is_mirrored: Tensor) -> Self:
        """With these values; points outside the image are missing, and those of a mirror image swap."""
        if self.swaps is not None:
            swapped = values.index_select(-2, constant(tuple(self.swaps), torch.int64, values.device))
            values = torch.where(is_mirrored[..., None, None], swapped, values)
        is_outside = (values.abs() > 1).any(-1, keepdim=True)
        return replace(self, values=values.masked_fill(is_outside, torch.nan))


def moving_targets(task: Task | None, values: Tensor) -> Moving | None:
    """The targets of one image or of a batch, if they lie in the images."""
    if isinstance(task, Segmentation):
        known = dict.fromkeys([*range(len(task.classes)), *([] if task.ignored is None else [task.ignored])])
        return Masks(values, task.fill, task.targets, tuple(known))
    return MovingPoints(values, task.mirrored) if isinstance(task, Points) else None


def moving_noun(task: Task | None) -> str | None:
    """ "masks" or "key points" if the targets of a task lie in the images, None otherwise."""
    return Masks.noun if isinstance(task, Segmentation) else MovingPoints.noun if isinstance(task, Points) else None


def _plain(moved: Any, what: str, fn: object) -> Tensor:
    if not isinstance(moved, Tensor):
        raise UsageError(f"augment: {fn!r} returned", got=type(moved).__name__, expected=f"{what}, a tensor")
    return moved.as_subclass(Tensor)


def describe(out: Any) -> str:
    """The type and shape of a tensor, or what else something is."""
    return f"{out.dtype} {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
