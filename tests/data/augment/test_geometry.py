"""Geometry: what each transform does to points and pixels, and that masks move with their images."""

import math
from typing import Any

import pytest
import torch

from learnkit.data.augment.geometry import (
    Dihedral,
    Flip,
    FlipVertical,
    Geometric,
    Rotate,
    Warp,
    Zoom,
    padding_of,
)
from learnkit.data.augment.warp import warp
from tests.doubles import refused

LAST = 1 - 2**-24  # the largest uniform number


def batch(n: int = 4, height: int = 8, width: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def numbers(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def moved_by(transform: Geometric, x: torch.Tensor, *rows: tuple[float, ...]) -> torch.Tensor:
    return warp(x, transform.matrices(numbers(*rows), *x.shape[-2:]))


def point(matrix: torch.Tensor, x: float, y: float) -> list[float]:
    across, down, depth = (matrix.double() @ torch.tensor([x, y, 1.0], dtype=torch.float64)).tolist()
    return [across / depth, down / depth]


@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_a_flip_is_a_mirror_image_to_the_last_bit(size: tuple[int, int]) -> None:
    x = batch(2, *size)
    assert torch.equal(moved_by(Flip(0.5), x, (0.49,), (0.5,)), torch.stack([x[0].flip(-1), x[1]]))
    assert torch.equal(moved_by(FlipVertical(0.5), x, (0.5,), (0.49,)), torch.stack([x[0], x[1].flip(-2)]))


def test_dihedral_draws_each_of_the_eight_symmetries_of_a_square() -> None:
    x = batch(1).expand(8, 3, 8, 8)
    turned = moved_by(Dihedral(), x, *[(0.0, (k + 0.5) / 8) for k in range(8)])
    all_eight = [torch.rot90(y, k, (1, 2)) for y in (x[0], x[0].flip(-1)) for k in range(4)]
    found = [next(k for k, y in enumerate(all_eight) if torch.equal(image, y)) for image in turned]
    assert sorted(found) == list(range(8))


def test_dihedral_keeps_the_shape_of_images_that_are_not_square() -> None:
    x = batch(1, 4, 6).expand(4, 3, 4, 6)
    turned = moved_by(Dihedral(), x, *[(0.0, (k + 0.5) / 4) for k in range(4)])
    all_four = [x[0], x[0].flip(-1), x[0].flip(-2), x[0].flip((-2, -1))]
    found = [next(k for k, y in enumerate(all_four) if torch.equal(image, y)) for image in turned]
    assert sorted(found) == list(range(4))


def test_dihedral_does_not_change_items_that_are_not_drawn() -> None:
    x = batch(2)
    assert torch.equal(moved_by(Dihedral(0.5), x, (0.5, 0.99), (0.5, 0.4)), x)


def test_borders_are_mirrored_unless_said_otherwise() -> None:
    x = torch.arange(4.0).view(1, 1, 1, 4)
    shifted = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    assert torch.equal(warp(x, shifted), warp(x, shifted, padding="reflection"))
    assert [padding_of(one) for one in (Flip(), Rotate(), Zoom(padding_mode="zeros"))] == ["reflection"] * 2 + ["zeros"]


@pytest.mark.parametrize(("u", "degrees"), [(0.0, -30.0), (0.75, 15.0)])
def test_a_rotation_keeps_its_angle_in_images_that_are_not_square(u: float, degrees: float) -> None:
    height, width = 40, 80
    matrix = Rotate(30).matrices(numbers((0.0, u)), height, width)[0]
    across, down = point(matrix, 10 / (width / 2), 0.0)  # 10 pixels right of the center
    expected = [10 * math.cos(math.radians(degrees)), 10 * math.sin(math.radians(degrees))]
    assert [across * width / 2, down * height / 2] == pytest.approx(expected, abs=1e-9)
    across, down = point(matrix, 0.0, 10 / (height / 2))  # 10 pixels below the center
    assert [across * width / 2, down * height / 2] == pytest.approx([-expected[1], expected[0]], abs=1e-9)


def test_zoom_magnifies_about_the_center() -> None:
    zoom = Zoom(max_zoom=2.0, min_zoom=0.5)
    matrices = zoom.matrices(numbers((0.0, 0.0), (0.0, 1.0), (0.75, 1.0)), 8, 8)
    expected = torch.stack([torch.diag(torch.tensor([share, share, 1.0])) for share in (2.0, 0.5, 1.0)])
    torch.testing.assert_close(matrices, expected.double())


def test_a_tilt_keeps_the_center_and_brings_one_edge_nearer() -> None:
    matrix = Warp(0.2).matrices(numbers((0.0, 1.0, 0.5)), 8, 8)[0]
    assert point(matrix, 0, 0) == [0, 0]
    assert point(matrix, 1, 0) == pytest.approx([1 / 1.1, 0])
    assert point(matrix, -1, 0.5) == pytest.approx([-1 / 0.9, 0.5 / 0.9])


@pytest.mark.parametrize("transform", [Flip(0), FlipVertical(0), Dihedral(0), Rotate(p=0), Zoom(p=0), Warp(p=0)])
def test_probability_zero_is_the_identity(transform: Geometric) -> None:
    drawn = torch.full((3, transform.n_numbers), LAST)
    drawn[0] = 0
    expected = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    assert torch.equal(transform.matrices(drawn, 5, 7).double(), expected)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Flip(2), "p"), (lambda: FlipVertical(-0.1), "p"), (lambda: Dihedral(float("nan")), "p"),
        (lambda: Rotate(-1), "max_degrees"), (lambda: Rotate("10"), "max_degrees"),  # type: ignore[arg-type]
        (lambda: Zoom(0.5), "max_zoom, min_zoom"), (lambda: Zoom(2, 0), "min_zoom"),
        (lambda: Zoom(float("inf")), "max_zoom"), (lambda: Warp(1.0), "max_tilt"), (lambda: Warp(p=True), "p"),
        (lambda: Rotate(padding_mode="mirror"), "padding_mode"), (lambda: Warp(padding_mode=0), "padding_mode"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused(make: Any, name: str) -> None:
    with refused(name):
        make()
