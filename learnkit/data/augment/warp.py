"""Resampling of a batch by homographies: once, and exactly where they are flips and quarter turns."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from learnkit.data.augment.constants import centers
from learnkit.data.augment.geometry import Padding
from learnkit.data.augment.random import chunks
from learnkit.device import to_device

__all__ = ["N_COLUMNS", "Mode", "Motion", "motion_columns", "move", "warp", "warped"]

Mode = Literal["bilinear", "nearest"]
N_COLUMNS = 10
TRANSPOSED, MIRRORED, UPSIDE_DOWN = 4, 2, 1  # the bits of a symmetry


class Motion(NamedTuple):
    """How the items of a batch move: a homography each, and which of them are symmetries of the image.

    Attributes:
        rows: float32 (N, 10), in the memory of the host: the matrix from output to input points, row by row, and the
            bits of the symmetry, -1 for none.
        table: the same on the device of the batch.
    """

    rows: npt.NDArray[np.float32]
    table: Tensor

    @classmethod
    def of(cls, matrices: Tensor, x: Tensor) -> "Motion":
        """That of a batch: (N, 3, 3) homographies from output to input points, both in [-1, 1], on the CPU."""
        columns = motion_columns(matrices, is_square=x.shape[-1] == x.shape[-2])
        return cls(columns.numpy(), to_device(columns, x.device))

    def part(self, items: slice) -> "Motion":
        """That of some of the items."""
        return Motion(self.rows[items], self.table[items])

    @property
    def symmetries(self) -> npt.NDArray[np.float32]:
        """Those of the items, (N,)."""
        return self.rows[:, -1]

    @property
    def is_affine(self) -> bool:
        """Whether no matrix has a perspective."""
        return bool((self.rows[:, 6:9] == (0, 0, 1)).all())

    @property
    def matrices(self) -> Tensor:
        """The homographies, float32 (N, 3, 3), on the device."""
        return self.table[:, :9].reshape(-1, 3, 3)


def motion_columns(matrices: Tensor, *, is_square: bool) -> Tensor:
    """The rows of a `Motion`, float32 (N, 10), from homographies (N, 3, 3) on the CPU."""
    rounded = matrices.round()
    top = rounded[:, :2, :2]
    is_exact = (matrices - rounded).abs().amax((1, 2)) < 1e-6
    is_exact &= (top.abs().sum(1) == 1).all(1) & (top.abs().sum(2) == 1).all(1)
    is_exact &= (rounded[:, 2] == torch.tensor([0, 0, 1])).all(1) & (rounded[:, :2, 2] == 0).all(1)
    is_transposed = top[:, 0, 0] == 0
    is_exact &= is_square | ~is_transposed
    across, down = (top.sum(2) < 0).T
    bits = TRANSPOSED * is_transposed.int() + MIRRORED * across.int() + UPSIDE_DOWN * down.int()
    return torch.cat([matrices.flatten(1).float(), torch.where(is_exact, bits, -1)[:, None].float()], 1)


def warp(
    x: Tensor,
    matrices: Tensor,
    mode: Mode = "bilinear",
    *,
    padding: Padding = "reflection",
    size: tuple[int, int] | None = None,
    in_place: bool = False,
) -> Tensor:
    """`warped` by homographies (N, 3, 3) from output to input points, both in [-1, 1], on the CPU."""
    return warped(x, Motion.of(matrices, x), mode, padding=padding, size=size, in_place=in_place)


def warped(
    x: Tensor,
    motion: Motion,
    mode: Mode = "bilinear",
    *,
    padding: Padding = "reflection",
    size: tuple[int, int] | None = None,
    in_place: bool = False,
) -> Tensor:
    """A batch resampled once.

    Flips and quarter turns are exact: their pixels are moved without interpolation.

    Args:
        x: float (N, C, H, W), contiguous or channels_last; of any dtype if all matrices are flips or quarter turns.
        motion: how each item moves.
        mode: interpolation; "nearest" creates no new values.
        padding: what is seen beyond the border.
        size: height and width of the output; None for those of x.
        in_place: overwrite x, if the size stays.

    Returns:
        a new tensor, or x itself if nothing moves.
    """
    size = (x.shape[-2], x.shape[-1]) if size is None else size
    if size == x.shape[-2:] and not motion.symmetries.any():
        return x
    out = x.new_empty(*x.shape[:2], *size) if size != x.shape[-2:] else x if in_place else torch.empty_like(x)
    for part in chunks(x):
        out[part] = move(x[part], motion.part(part), mode, padding=padding, size=size)
    return out


def move(x: Tensor, motion: Motion, mode: Mode = "bilinear", *, padding: Padding, size: tuple[int, int]) -> Tensor:
    """As `warped`, in one piece: a new tensor, or x itself if nothing moves."""
    if size != (x.shape[-2], x.shape[-1]):
        return _resampled(x, motion, mode, padding, size)
    is_exact = motion.symmetries >= 0
    if not is_exact.any():
        return _resampled(x, motion, mode, padding, size)
    if not motion.symmetries.any():
        return x
    resampled = None if is_exact.all() else _resampled(x, motion, mode, padding, size)
    return _with_symmetries_one_by_one(x, resampled, motion) if x.is_cpu else _with_symmetries(x, resampled, motion)


def _with_symmetries(x: Tensor, resampled: Tensor | None, motion: Motion) -> Tensor:
    """Symmetric items moved all at once: few calls, and no numbers of items that would have to be copied."""
    bits = motion.table[:, -1].int().view(-1, 1, 1, 1)
    kinds = np.unique(motion.symmetries[motion.symmetries > 0]).astype(int)
    moved = x
    for bit, dim in ((MIRRORED, -1), (UPSIDE_DOWN, -2)):
        if (kinds & bit).any():
            moved = torch.where((bits & bit) > 0, moved.flip(dim), moved)
    if (kinds & TRANSPOSED).any():
        moved = torch.where((bits & TRANSPOSED) > 0, moved.transpose(-1, -2), moved)
    return moved if resampled is None else torch.where(bits >= 0, moved, resampled)


def _with_symmetries_one_by_one(x: Tensor, resampled: Tensor | None, motion: Motion) -> Tensor:
    """The same on the CPU, where a copy of each item alone moves the fewest bytes."""
    out = torch.empty_like(x) if resampled is None else resampled
    for i, kind in enumerate(motion.symmetries.astype(int).tolist()):
        if kind >= 0:
            moved = x[i].flip([dim for bit, dim in ((MIRRORED, -1), (UPSIDE_DOWN, -2)) if kind & bit])
            out[i] = moved.transpose(-1, -2) if kind & TRANSPOSED else moved
    return out


def _resampled(x: Tensor, motion: Motion, mode: Mode, padding: Padding, size: tuple[int, int]) -> Tensor:
    out = F.grid_sample(x, _sampling_grid(x, motion, *size), mode=mode, padding_mode=padding, align_corners=False)
    is_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return out.contiguous(memory_format=torch.channels_last) if is_last else out


def _sampling_grid(x: Tensor, motion: Motion, height: int, width: int) -> Tensor:
    """Where each of height x width output pixels is sampled, (N, H, W, 2), as `grid_sample` takes it.

    Before the division, a homography is the sum of a term of the column and a term of the row: cheaper than a matrix
    product per point.
    """
    is_affine = motion.is_affine
    m = motion.matrices[:, : 2 if is_affine else 3].to(x.dtype)[..., None]
    across, down = centers(width, x.device), centers(height, x.device)
    points = (m[:, :, 0] * across + m[:, :, 2])[:, :, None, :] + (m[:, :, 1] * down)[:, :, :, None]
    if not is_affine:
        points = points[:, :2].div_(points[:, 2:])
    return points.permute(0, 2, 3, 1)
