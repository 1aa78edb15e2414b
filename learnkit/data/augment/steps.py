"""The steps of an augmentation: adjacent transforms that share a pass over the pixels, and what they draw.

A step says what it will do in columns of numbers, one row per item, drawn on the CPU before the batch is there; then it
changes pixels by these columns alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learnkit.data.augment import erasing, warp
from learnkit.data.augment.color import Mixing, Tonal, adjust_logits, mix_channels
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Geometric, Padding, padding_of
from learnkit.data.augment.targets import Moving
from learnkit.data.augment.warp import Motion, motion_columns, move

__all__ = ["Columns", "Step", "WarpStep", "join", "step_of"]


class Columns(NamedTuple):
    """What was drawn for one step: float32 (N, n_columns), in the memory of the host and on the device of the batch."""

    rows: npt.NDArray[np.float32]
    table: Tensor

    def part(self, items: slice) -> "Columns":
        """Those of some of the items."""
        return Columns(self.rows[items], self.table[items])


class Step(Protocol):
    """Adjacent transforms that share a pass.

    Attributes:
        transforms: in their order.
        n_columns: numbers per item.
        keeps_bytes: whether a uint8 batch stays one.
    """

    @property
    def transforms(self) -> Sequence[Any]: ...
    @property
    def n_columns(self) -> int: ...
    @property
    def keeps_bytes(self) -> bool: ...

    def columns(self, drawn: Sequence[Tensor], height: int, width: int) -> Tensor:
        """What the step will do, float32 (N, n_columns).

        Args:
            drawn: uniform in [0, 1) for each transform, float32 (N, n_numbers), on the CPU.
            height: of the images that it will be given.
            width: of these images.
        """

    def change(self, x: Tensor, columns: Columns, *, in_place: bool, out: Tensor | None) -> Tensor:
        """A new batch, x itself if nothing changes or it may be overwritten, or `out`.

        Args:
            x: (N, C, H, W), float in [0, 1], or uint8 if `keeps_bytes`.
            columns: one row per item.
            in_place: whether x may be overwritten.
            out: a place for the result, which need not be used.
        """


@dataclass(frozen=True)
class WarpStep:
    """One warp for adjacent transforms; their matrices map output to input points, so the last one comes first."""

    transforms: Sequence[Geometric]
    padding: Padding
    crop: tuple[int, int] | None = None  # the size of the result; None for that of the batch

    n_columns = warp.N_COLUMNS

    @property
    def keeps_bytes(self) -> bool:
        return all(getattr(transform, "is_symmetry", False) for transform in self.transforms)

    def columns(self, drawn: Sequence[Tensor], height: int, width: int) -> Tensor:
        total = torch.eye(3, dtype=torch.float64)
        for transform, numbers in zip(self.transforms, drawn, strict=True):
            total = total @ transform.matrices(numbers, *(self.crop or (height, width))).double()
        return motion_columns(total, is_square=height == width)

    def change(self, x: Tensor, columns: Columns, *, in_place: bool, out: Tensor | None) -> Tensor:
        return move(x, Motion(*columns), padding=self.padding, size=self.crop or (x.shape[-2], x.shape[-1]))

    def carry(self, moving: Moving, columns: Columns, height: int, width: int) -> Moving:
        """What moves with images of this size."""
        return moving.warped(Motion(*columns), self.padding, self.crop or (height, width))


@dataclass(frozen=True)
class LightStep:
    """Adjacent Tonal transforms: affine maps of the logits compose to an affine map."""

    transforms: Sequence[Tonal]

    n_columns = 2
    keeps_bytes = False

    def columns(self, drawn: Sequence[Tensor], height: int, width: int) -> Tensor:
        scale, shift = torch.ones(len(drawn[0])), torch.zeros(len(drawn[0]))
        for transform, numbers in zip(self.transforms, drawn, strict=True):
            factor, term = transform.coefficients(numbers)
            scale, shift = factor * scale, factor * shift + term
        return torch.stack([scale, shift], 1)

    def change(self, x: Tensor, columns: Columns, *, in_place: bool, out: Tensor | None) -> Tensor:
        is_scaled, is_shifted = (columns.rows != (1, 0)).any(0)
        return adjust_logits(
            x, *columns.table.unbind(1), in_place=in_place, out=out,
            is_scaled=is_scaled, is_changed=is_scaled or is_shifted,
        )  # fmt: skip


@dataclass(frozen=True)
class MixStep:
    """One transform that mixes the channels; the result is clipped, so two of them do not compose."""

    transforms: Sequence[Mixing]

    n_columns = 9
    keeps_bytes = False

    def columns(self, drawn: Sequence[Tensor], height: int, width: int) -> Tensor:
        return self.transforms[0].mixes(drawn[0]).flatten(1)

    def change(self, x: Tensor, columns: Columns, *, in_place: bool, out: Tensor | None) -> Tensor:
        return mix_channels(x, columns.table.reshape(-1, 3, 3))


@dataclass(frozen=True)
class EraseStep:
    """One RandomErasing."""

    transforms: Sequence[RandomErasing]

    n_columns = erasing.N_COLUMNS
    keeps_bytes = False

    def columns(self, drawn: Sequence[Tensor], height: int, width: int) -> Tensor:
        return self.transforms[0].columns(drawn[0], height, width)

    def change(self, x: Tensor, columns: Columns, *, in_place: bool, out: Tensor | None) -> Tensor:
        return self.transforms[0].erase(x, *columns, in_place=in_place)


def step_of(transform: Any, crop: tuple[int, int] | None) -> Step | None:
    """The step of a transform alone; None for one that makes no step.

    Args:
        transform: a transform.
        crop: the size that a Presize crops to.
    """
    if isinstance(transform, Geometric):
        return WarpStep([transform], padding_of(transform), crop)
    if isinstance(transform, Tonal):
        return LightStep([transform])
    if isinstance(transform, Mixing):
        return MixStep([transform])
    return EraseStep([transform]) if isinstance(transform, RandomErasing) else None


def join(one: Step, other: Step) -> Step | None:
    """One step of the transforms of two, if they share a pass."""
    if isinstance(one, WarpStep) and isinstance(other, WarpStep) and one.padding == other.padding:
        return replace(one, transforms=[*one.transforms, *other.transforms])
    if isinstance(one, LightStep) and isinstance(other, LightStep):
        return replace(one, transforms=[*one.transforms, *other.transforms])
    return None
