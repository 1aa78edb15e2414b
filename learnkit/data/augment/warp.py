"""Resampling of a batch by homographies: once, and exactly where they are flips and quarter turns."""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from learnkit.data.augment.geometry import Padding
from learnkit.data.augment.random import chunks

__all__ = ["warp"]

Mode = Literal["bilinear", "nearest"]
Symmetry: TypeAlias = tuple[bool, bool, bool]  # transposed, mirrored left-right, mirrored up-down


def warp(
    x: Tensor,
    matrices: Tensor,
    mode: Mode = "bilinear",
    *,
    padding: Padding = "reflection",
    size: tuple[int, int] | None = None,
    in_place: bool = False,
) -> Tensor:
    """Resample a batch once.

    Flips and quarter turns are exact: their pixels are moved without interpolation.

    Args:
        x: float (N, C, H, W), contiguous or channels_last; of any dtype if all matrices are flips or quarter turns.
        matrices: (N, 3, 3) homographies from output to input points, both in [-1, 1], on the CPU.
        mode: interpolation; "nearest" creates no new values.
        padding: what is seen beyond the border.
        size: height and width of the output; None for those of x.
        in_place: overwrite x, if the size stays.

    Returns:
        a new tensor, or x itself if nothing moves.
    """
    if size is not None and size != x.shape[-2:]:
        out = x.new_empty(*x.shape[:2], *size)
        for part in chunks(x):
            out[part] = _resample(x[part], matrices[part], mode, padding, size)
        return out
    kinds = _find_symmetries(matrices, is_square=x.shape[-1] == x.shape[-2])
    if not any(kind is None or any(kind) for kind in kinds):
        return x
    out = x if in_place else torch.empty_like(x)
    groups = _group_by_symmetry(kinds, x, skip_identity=in_place)
    exact = [(rows, _apply_symmetry(x[rows], kind)) for rows, kind in groups]
    for part in chunks(x):
        if None in kinds[part]:
            out[part] = _resample(x[part], matrices[part], mode, padding, (x.shape[-2], x.shape[-1]))
    for rows, moved in exact:
        out[rows] = moved
    return out


def _group_by_symmetry(
    kinds: list[Symmetry | None], x: Tensor, *, skip_identity: bool
) -> Iterator[tuple[Any, Symmetry]]:
    """Rows of one symmetry: on the CPU one by one, which copies least; on an accelerator together."""
    moving = [(i, kind) for i, kind in enumerate(kinds) if kind is not None and (any(kind) or not skip_identity)]
    if x.is_cpu:
        yield from ((slice(i, i + 1), kind) for i, kind in moving)
        return
    for kind in {kind for _, kind in moving}:
        rows = torch.tensor([i for i, other in moving if other == kind])
        yield rows.to(x.device, non_blocking=True), kind


def _find_symmetries(matrices: Tensor, is_square: bool) -> list[Symmetry | None]:
    """The symmetry that each matrix represents; None for other matrices."""
    rounded = matrices.round()
    top = rounded[:, :2, :2]
    is_exact = (matrices - rounded).abs().amax((1, 2)) < 1e-6
    is_exact &= (top.abs().sum(1) == 1).all(1) & (top.abs().sum(2) == 1).all(1)
    is_exact &= (rounded[:, 2] == torch.tensor([0, 0, 1])).all(1) & (rounded[:, :2, 2] == 0).all(1)
    transposed = top[:, 0, 0] == 0
    mirrored = top.sum(2) < 0
    is_exact &= is_square | ~transposed
    found = zip(transposed.tolist(), *mirrored.T.tolist(), strict=True)
    return [kind if exact else None for exact, kind in zip(is_exact.tolist(), found, strict=True)]


def _apply_symmetry(x: Tensor, kind: Symmetry) -> Tensor:
    is_transposed, across, down = kind
    x = x.flip([dim for dim, is_mirrored in ((-1, across), (-2, down)) if is_mirrored])
    return x.transpose(-1, -2) if is_transposed else x


def _resample(x: Tensor, matrices: Tensor, mode: Mode, padding: Padding, size: tuple[int, int]) -> Tensor:
    return F.grid_sample(x, _sampling_grid(x, matrices, *size), mode=mode, padding_mode=padding, align_corners=False)


def _sampling_grid(x: Tensor, matrices: Tensor, height: int, width: int) -> Tensor:
    """Where each of height x width output pixels is sampled, (N, H, W, 2), as `grid_sample` takes it.

    Before the division, a homography is the sum of a term of the column and a term of the row: cheaper than a matrix
    product per point.
    """
    across = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, device=x.device)
    down = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, device=x.device)
    is_affine = bool((matrices[:, 2] == torch.tensor([0.0, 0.0, 1.0])).all())
    m = (matrices[:, :2] if is_affine else matrices).to(x.device, x.dtype, non_blocking=True)[..., None]
    points = (m[:, :, 0] * across + m[:, :, 2])[:, :, None, :] + (m[:, :, 1] * down)[:, :, :, None]
    if not is_affine:
        points = points[:, :2].div_(points[:, 2:])
    return points.permute(0, 2, 3, 1)
