"""Geometric transforms of a batch: each is a homography, so that several of them resample an image once."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from learnkit.checks import check_choice, check_number
from learnkit.data.augment.random import happens, signed
from learnkit.errors import UsageError

__all__ = ["Dihedral", "Flip", "FlipVertical", "Geometric", "Padding", "Rotate", "Warp", "Zoom", "padding_of"]

Padding = Literal["reflection", "border", "zeros"]


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
