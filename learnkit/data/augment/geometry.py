"""Moving the pixels of a batch: every transform is a homography, so that many of them resample a picture once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from learnkit.data.augment.random import check_range, happens, pieces, signed
from learnkit.errors import UsageError

__all__ = ["Dihedral", "Flip", "FlipVertical", "Geometric", "Mode", "Rotate", "Warp", "Zoom", "warp"]

Mode = Literal["bilinear", "nearest"]
Symmetry: TypeAlias = tuple[bool, bool, bool]  # is it a quarter turn, mirrored across, mirrored down


@runtime_checkable
class Geometric(Protocol):
    """A transform that says for each point of the output where in the input it is taken from."""

    n_numbers: ClassVar[int]

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        """Homographies from output to input points, x right and y down, both in [-1, 1].

        Args:
            numbers: uniform in [0, 1), float32 (N, n_numbers), on the CPU.
            height: of the picture, pixels.
            width: of the picture, pixels.

        Returns:
            float64 (N, 3, 3).
        """


@dataclass(frozen=True)
class Flip:
    """A mirror image, left for right.

    Args:
        p: probability.
    """

    n_numbers: ClassVar[int] = 1
    is_symmetry: ClassVar[bool] = True  # pixels are moved as they are, so a uint8 batch stays one
    axis: ClassVar[int] = 0

    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("p", self.p, 0, 1)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        sign = torch.where(happens(numbers[:, 0], self.p), -1.0, 1.0)
        return _filled(numbers, {(self.axis, self.axis): sign})


@dataclass(frozen=True)
class FlipVertical(Flip):
    """Upside down; `p` as for Flip."""

    axis: ClassVar[int] = 1


@dataclass(frozen=True)
class Dihedral:
    """One of the eight symmetries of a square, evenly: mirrors and quarter turns.

    Pictures that are not square get one of the four that keep their shape. Doing nothing is one of them.

    Args:
        p: probability of drawing one.
    """

    n_numbers: ClassVar[int] = 2
    is_symmetry: ClassVar[bool] = True

    p: float = 1.0

    def __post_init__(self) -> None:
        check_range("p", self.p, 0, 1)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        n = 8 if height == width else 4
        which = torch.where(happens(numbers[:, 0], self.p), (numbers[:, 1] * n).long(), 0)
        across, down, turned = 1 - 2 * (which % 2), 1 - 2 * (which // 2 % 2), which // 4
        cells = {(0, 0): across * (1 - turned), (0, 1): across * turned}
        return _filled(numbers, {**cells, (1, 0): down * turned, (1, 1): down * (1 - turned)})


@dataclass(frozen=True)
class Rotate:
    """Rotation about the centre; angles stay true in pictures that are not square.

    Args:
        max_degrees: the largest angle either way, drawn evenly, degrees.
        p: probability.
    """

    n_numbers: ClassVar[int] = 2

    max_degrees: float = 10.0
    p: float = 0.75

    def __post_init__(self) -> None:
        check_range("max_degrees", self.max_degrees, 0, 180)
        check_range("p", self.p, 0, 1)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        degrees = torch.where(happens(numbers[:, 0], self.p), signed(numbers[:, 1].double()) * self.max_degrees, 0.0)
        cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
        cells = {(0, 0): cos, (0, 1): -sin * height / width, (1, 0): sin * width / height, (1, 1): cos}
        return _filled(numbers, cells)


@dataclass(frozen=True)
class Zoom:
    """Magnification about the centre.

    Args:
        max_zoom: the largest magnification; 2 shows the middle half of each side.
        min_zoom: the smallest; below 1 the picture shrinks and mirrored borders show.
        p: probability.
    """

    n_numbers: ClassVar[int] = 2

    max_zoom: float = 1.1
    min_zoom: float = 1.0
    p: float = 0.75

    def __post_init__(self) -> None:
        check_range("max_zoom", self.max_zoom, 0.01, 100)
        check_range("min_zoom", self.min_zoom, 0.01, 100)
        if self.min_zoom > self.max_zoom:
            raise UsageError("max_zoom, min_zoom", got=(self.max_zoom, self.min_zoom), expected="max_zoom the larger")
        check_range("p", self.p, 0, 1)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        zoom = self.min_zoom + numbers[:, 1].double() * (self.max_zoom - self.min_zoom)
        share = torch.where(happens(numbers[:, 0], self.p), 1 / zoom, 1.0)
        return _filled(numbers, {(0, 0): share, (1, 1): share})


@dataclass(frozen=True)
class Warp:
    """Perspective: the plane of the picture tilted about both its axes.

    Args:
        max_tilt: the largest tilt, as a share of the picture: 0.2 brings an edge up to a tenth nearer or farther.
        p: probability.
    """

    n_numbers: ClassVar[int] = 3

    max_tilt: float = 0.2
    p: float = 0.75

    def __post_init__(self) -> None:
        check_range("max_tilt", self.max_tilt, 0, 1, may_reach_high=False)
        check_range("p", self.p, 0, 1)

    def matrices(self, numbers: Tensor, height: int, width: int) -> Tensor:
        tilt = signed(numbers[:, 1:].double()) * self.max_tilt / 2
        across, down = torch.where(happens(numbers[:, :1], self.p), tilt, 0.0).T
        return _filled(numbers, {(2, 0): across, (2, 1): down})


def _filled(numbers: Tensor, cells: dict[tuple[int, int], Tensor]) -> Tensor:
    """Identities (N, 3, 3) with some cells written over."""
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(numbers), 1, 1)
    for (row, column), values in cells.items():
        matrices[:, row, column] = values.double()
    return matrices


def warp(x: Tensor, matrices: Tensor, mode: Mode = "bilinear", *, in_place: bool = False) -> Tensor:
    """Resample a batch once, borders mirrored.

    Mirrors and quarter turns resample nothing: their pixels are moved as they are.

    Args:
        x: float (N, C, H, W), contiguous or channels_last; of any type if nothing has to be resampled.
        matrices: (N, 3, 3) homographies from output to input points, both in [-1, 1], on the CPU.
        mode: how a value between pixels is found; "nearest" makes up no new ones.
        in_place: write over x.

    Returns:
        A new tensor, or x itself where nothing moves.
    """
    kinds = _symmetries(matrices, is_square=x.shape[-1] == x.shape[-2])
    if not any(kind is None or any(kind) for kind in kinds):
        return x
    out = x if in_place else torch.empty_like(x)
    exact = [(rows, _turned(x[rows], kind)) for rows, kind in _alike(kinds, x, leave_still=in_place)]
    for part in pieces(x):
        if None in kinds[part]:
            out[part] = _resampled(x[part], matrices[part], mode)
    for rows, moved in exact:
        out[rows] = moved
    return out


def _alike(kinds: list[Symmetry | None], x: Tensor, *, leave_still: bool) -> Iterator[tuple[Any, Symmetry]]:
    """Items of one symmetry: on the CPU one by one, which copies least; on an accelerator together."""
    moving = [(i, kind) for i, kind in enumerate(kinds) if kind is not None and (any(kind) or not leave_still)]
    if x.is_cpu:
        yield from ((slice(i, i + 1), kind) for i, kind in moving)
        return
    for kind in {kind for _, kind in moving}:
        rows = torch.tensor([i for i, other in moving if other == kind])
        yield rows.to(x.device, non_blocking=True), kind


def _symmetries(matrices: Tensor, is_square: bool) -> list[Symmetry | None]:
    """The symmetry that each matrix is, or None where it is none."""
    whole = matrices.round()
    top = whole[:, :2, :2]
    is_exact = (matrices - whole).abs().amax((1, 2)) < 1e-6
    is_exact &= (top.abs().sum(1) == 1).all(1) & (top.abs().sum(2) == 1).all(1)
    is_exact &= (whole[:, 2] == torch.tensor([0, 0, 1])).all(1) & (whole[:, :2, 2] == 0).all(1)
    turned = top[:, 0, 0] == 0
    mirrored = top.sum(2) < 0
    is_exact &= is_square | ~turned
    found = zip(turned.tolist(), *mirrored.T.tolist(), strict=True)
    return [kind if exact else None for exact, kind in zip(is_exact.tolist(), found, strict=True)]


def _turned(x: Tensor, kind: Symmetry) -> Tensor:
    is_quarter, across, down = kind
    x = x.flip([dim for dim, is_mirrored in ((-1, across), (-2, down)) if is_mirrored])
    return x.transpose(-1, -2) if is_quarter else x


def _resampled(x: Tensor, matrices: Tensor, mode: Mode) -> Tensor:
    return F.grid_sample(x, _grid(x, matrices), mode=mode, padding_mode="reflection", align_corners=False)


def _grid(x: Tensor, matrices: Tensor) -> Tensor:
    """Where each output pixel is taken from, (N, H, W, 2).

    A homography is a sum of a part that varies across and one that varies down, before it is divided: that is cheaper
    than a product with every point.
    """
    height, width = x.shape[-2:]
    across = torch.linspace(-1 + 1 / width, 1 - 1 / width, width, device=x.device)
    down = torch.linspace(-1 + 1 / height, 1 - 1 / height, height, device=x.device)
    is_affine = bool((matrices[:, 2] == torch.tensor([0.0, 0.0, 1.0])).all())
    m = (matrices[:, :2] if is_affine else matrices).to(x.device, x.dtype, non_blocking=True)[..., None]
    points = (m[:, :, 0] * across + m[:, :, 2])[:, :, None, :] + (m[:, :, 1] * down)[:, :, :, None]
    if not is_affine:
        points = points[:, :2].div_(points[:, 2:])
    return points.permute(0, 2, 3, 1)
