"""Geometric transforms of a batch: each is a homography, so that several of them resample an image once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from learnkit.checks import check_choice, check_number
from learnkit.data.augment.random import chunks, happens, signed
from learnkit.device import to_device
from learnkit.errors import UsageError

__all__ = ["Dihedral", "Flip", "FlipVertical", "Geometric", "Padding", "Rotate", "Warp", "Zoom", "padding_of", "warp"]

Mode = Literal["bilinear", "nearest"]
Padding = Literal["reflection", "border", "zeros"]
Symmetry: TypeAlias = tuple[bool, bool, bool]  # transposed, mirrored left-right, mirrored up-down


@runtime_checkable
class Geometric(Protocol):
    """A transform defined by the input point at which each output point is sampled."""

    n_numbers: ClassVar[int]

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        """Homographies from output to input points, x right and y down, both in [-1, 1].

        A transform may have a `padding_mode`, what is seen beyond the border: "reflection" unless it says otherwise.

        Args:
            numbers: uniform in [0, 1), float32 (N, n_numbers), on the CPU.
            height: height of the image, pixels.
            width: width of the image, pixels.

        Returns:
            float64 (N, 3, 3).
        """


@dataclass(frozen=True)
class Flip:
    """A left-right flip.

    Args:
        p: probability of changing an item.
    """

    n_numbers: ClassVar[int] = 1
    is_symmetry: ClassVar[bool] = True  # pixels are moved without interpolation, so a uint8 batch stays uint8
    axis: ClassVar[int] = 0

    p: float = 0.5

    def __post_init__(self) -> None:
        check_number("p", self.p, "[0, 1]")

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        sign = torch.where(happens(numbers[:, 0], self.p), -1.0, 1.0)
        return _identities_with(numbers, {(self.axis, self.axis): sign})


@dataclass(frozen=True)
class FlipVertical(Flip):
    """An up-down flip; `p` as for Flip."""

    axis: ClassVar[int] = 1


@dataclass(frozen=True)
class Dihedral:
    """One of the eight symmetries of a square, all equally likely: flips and quarter turns, the identity included.

    Images that are not square get one of the four that keep their shape.

    Args:
        p: probability of drawing one.
    """

    n_numbers: ClassVar[int] = 2
    is_symmetry: ClassVar[bool] = True

    p: float = 1.0

    def __post_init__(self) -> None:
        check_number("p", self.p, "[0, 1]")

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        n = 8 if height == width else 4
        which = torch.where(happens(numbers[:, 0], self.p), (numbers[:, 1] * n).long(), 0)
        across, down, turned = 1 - 2 * (which % 2), 1 - 2 * (which // 2 % 2), which // 4
        cells = {(0, 0): across * (1 - turned), (0, 1): across * turned}
        return _identities_with(numbers, {**cells, (1, 0): down * turned, (1, 1): down * (1 - turned)})


@dataclass(frozen=True)
class Rotate:
    """Rotation about the center; angles are preserved in images that are not square.

    Args:
        max_degrees: the largest angle in either direction; the angle is uniform.
        p: probability of changing an item.
        padding_mode: what is seen beyond the border: "reflection", "border" (its pixels repeated) or "zeros" (black;
            in masks, ignored pixels).
    """

    n_numbers: ClassVar[int] = 2

    max_degrees: float = 10.0
    p: float = 0.75
    padding_mode: Padding = "reflection"

    def __post_init__(self) -> None:
        check_number("max_degrees", self.max_degrees, "[0, 180]")
        _check_common(self.p, self.padding_mode)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        degrees = torch.where(happens(numbers[:, 0], self.p), signed(numbers[:, 1].double()) * self.max_degrees, 0.0)
        cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
        cells = {(0, 0): cos, (0, 1): -sin * height / width, (1, 0): sin * width / height, (1, 1): cos}
        return _identities_with(numbers, cells)


@dataclass(frozen=True)
class Zoom:
    """Magnification about the center.

    Args:
        max_zoom: the largest magnification; 2 shows the middle half of each side.
        min_zoom: the smallest; below 1 the image shrinks, and what is beyond its border shows.
        p: probability of changing an item.
        padding_mode: as for Rotate.
    """

    n_numbers: ClassVar[int] = 2

    max_zoom: float = 1.1
    min_zoom: float = 1.0
    p: float = 0.75
    padding_mode: Padding = "reflection"

    def __post_init__(self) -> None:
        check_number("max_zoom", self.max_zoom, "[0.01, 100]")
        check_number("min_zoom", self.min_zoom, "[0.01, 100]")
        if self.min_zoom > self.max_zoom:
            raise UsageError("max_zoom, min_zoom", got=(self.max_zoom, self.min_zoom), expected="max_zoom >= min_zoom")
        _check_common(self.p, self.padding_mode)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        zoom = self.min_zoom + numbers[:, 1].double() * (self.max_zoom - self.min_zoom)
        scale = torch.where(happens(numbers[:, 0], self.p), 1 / zoom, 1.0)
        return _identities_with(numbers, {(0, 0): scale, (1, 1): scale})


@dataclass(frozen=True)
class Warp:
    """Perspective: the plane of the image is tilted about both its axes.

    Args:
        max_tilt: the largest tilt, as a fraction of the image: 0.2 brings an edge up to a tenth nearer or farther.
        p: probability of changing an item.
        padding_mode: as for Rotate.
    """

    n_numbers: ClassVar[int] = 3

    max_tilt: float = 0.2
    p: float = 0.75
    padding_mode: Padding = "reflection"

    def __post_init__(self) -> None:
        check_number("max_tilt", self.max_tilt, "[0, 1)")
        _check_common(self.p, self.padding_mode)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        tilt = signed(numbers[:, 1:].double()) * self.max_tilt / 2
        across, down = torch.where(happens(numbers[:, :1], self.p), tilt, 0.0).T
        return _identities_with(numbers, {(2, 0): across, (2, 1): down})


def padding_of(transform: Any) -> Padding:
    """What a geometric transform shows beyond the border of an image."""
    return getattr(transform, "padding_mode", "reflection")


def _check_common(p: float, padding_mode: str) -> None:
    check_number("p", p, "[0, 1]")
    check_choice("padding_mode", padding_mode, ("reflection", "border", "zeros"))


def _identities_with(numbers: Tensor, cells: dict[tuple[int, int], Tensor]) -> Tensor:
    """N identity matrices, (N, 3, 3), with some cells replaced by values of shape (N,)."""
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(numbers), 1, 1)
    for (row, column), values in cells.items():
        matrices[:, row, column] = values.double()
    return matrices


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
        yield to_device(rows, x.device), kind


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
    m: Tensor = to_device((matrices[:, :2] if is_affine else matrices).to(x.dtype), x.device)[..., None]
    points = (m[:, :, 0] * across + m[:, :, 2])[:, :, None, :] + (m[:, :, 1] * down)[:, :, :, None]
    if not is_affine:
        points = points[:, :2].div_(points[:, 2:])
    return points.permute(0, 2, 3, 1)
