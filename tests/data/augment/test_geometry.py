"""Geometry: what each transform does to points and pixels, and that masks move with their images."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from learnkit.data.augment.geometry import (
    Dihedral,
    Flip,
    FlipVertical,
    Geometric,
    Padding,
    Rotate,
    Warp,
    Zoom,
    padding_of,
    warp,
)
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


def rotation(degrees: float) -> torch.Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]])


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


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_quarter_turn_moves_pixels_as_they_are(degrees: int) -> None:
    x = batch(2)
    assert torch.equal(warp(x, rotation(degrees).repeat(2, 1, 1)), torch.rot90(x, degrees // 90, (2, 3)))


@pytest.mark.parametrize(
    "rows",
    [
        [[2, 0, 0], [0, 2, 0]],  # zoomed out
        [[1, 1, 0], [0, 1, 0]],  # sheared
        [[1, 0, 0], [1, 1, 0]],
        [[1, 0, 1], [0, 1, 0]],  # shifted
        [[0, 0, 0], [0, 1, 0]],  # one column everywhere
    ],
)
def test_other_matrices_of_integers_are_resampled(rows: list[list[int]]) -> None:
    """Only signed permutations move pixels without interpolation."""
    x = batch(2)
    matrices = torch.tensor([*rows, [0, 0, 1]], dtype=torch.float32).repeat(2, 1, 1)
    grid = F.affine_grid(matrices[:, :2], list(x.shape), align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(warp(x, matrices), expected, atol=1e-5, rtol=0)


def test_a_quarter_turn_of_an_image_that_is_not_square_fills_it_again() -> None:
    x = batch(1, 6, 10)
    matrices = rotation(90)
    grid = F.affine_grid(matrices[:, :2], list(x.shape), align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(warp(x, matrices), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(16, 16), (11, 20)])
def test_an_affine_warp_is_that_of_torch(mode: Any, size: tuple[int, int]) -> None:
    x = batch(3, *size)
    matrices = torch.eye(3).repeat(3, 1, 1)
    matrices[:, :2] += 0.3 * torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(1))
    grid = F.affine_grid(matrices[:, :2], list(x.shape), align_corners=False)
    expected = F.grid_sample(x, grid, mode=mode, padding_mode="reflection", align_corners=False)
    is_alike = torch.isclose(warp(x, matrices.double(), mode), expected, atol=1e-4)
    assert is_alike.float().mean() > 0.99  # halfway between two pixels the nearest may be either


def test_a_perspective_samples_at_the_points_of_the_homography() -> None:
    ramp = torch.linspace(-1 + 1 / 64, 1 - 1 / 64, 64)
    x = torch.stack(torch.meshgrid(ramp, ramp, indexing="ij"))[None].flip(1)  # channel 0 is x, channel 1 is y
    matrix = Warp(0.4).matrices(numbers((0.0, 0.2, 0.9)), 64, 64)
    out = warp(x, matrix)
    for row, column in [(20, 30), (32, 32), (40, 25)]:
        expected = point(matrix[0], ramp[column].item(), ramp[row].item())
        np.testing.assert_allclose(out[0, :, row, column], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "expected"), [("reflection", [2, 3, 3, 2]), ("border", [2, 3, 3, 3]), ("zeros", [2, 3, 0, 0])]
)
def test_beyond_the_border(padding: Padding, expected: list[int]) -> None:
    x = torch.arange(4.0).view(1, 1, 1, 4)
    shifted = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])  # by two pixels
    assert warp(x, shifted, padding=padding).flatten().tolist() == expected


def test_borders_are_mirrored_unless_said_otherwise() -> None:
    x = torch.arange(4.0).view(1, 1, 1, 4)
    shifted = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    assert torch.equal(warp(x, shifted), warp(x, shifted, padding="reflection"))
    assert [padding_of(one) for one in (Flip(), Rotate(), Zoom(padding_mode="zeros"))] == ["reflection"] * 2 + ["zeros"]


@pytest.mark.parametrize("size", [(8, 8), (5, 20)])
def test_a_warp_to_another_size_is_that_of_torch(size: tuple[int, int]) -> None:
    x, matrices = batch(6, 12, 12), some_matrices(6)
    matrices[:, 2, :2] = 0
    grid = F.affine_grid(matrices[:, :2].float(), [6, 3, *size], align_corners=False)
    expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(warp(x, matrices, size=size), expected, atol=1e-4, rtol=0)


def test_nothing_to_do_is_nothing_done() -> None:
    x = batch()
    assert warp(x, torch.eye(3).repeat(4, 1, 1)) is x


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


def some_matrices(n: int) -> torch.Tensor:
    """Rotations, tilts, a mirror image and a quarter turn."""
    drawn = torch.rand(n, 3, generator=torch.Generator().manual_seed(2))
    matrices = Rotate(40, p=1).matrices(drawn[:, :2], 12, 12) @ Warp(0.5, p=1).matrices(drawn, 12, 12)
    matrices[1] = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    matrices[2] = rotation(90)[0].double()
    return matrices


def test_an_image_that_equals_its_mask_still_does_after_both_have_moved() -> None:
    masks = torch.randint(0, 5, (6, 1, 12, 12), generator=torch.Generator().manual_seed(0)).float()
    images = torch.cat([batch(6, 12, 12, 2), masks], 1)
    matrices = some_matrices(6)
    moved = warp(images, matrices, "nearest")
    assert torch.equal(moved[:, 2:], warp(masks, matrices, "nearest"))
    assert not torch.equal(moved[:, 2:], masks)
    assert set(moved[:, 2].unique().tolist()) <= {0, 1, 2, 3, 4}


@pytest.mark.parametrize("in_place", [False, True])
def test_an_item_does_not_depend_on_the_others_of_its_batch(in_place: bool) -> None:
    x, matrices = batch(6, 12, 12), some_matrices(6)
    alone = torch.cat([warp(x[i : i + 1], matrices[i : i + 1]) for i in range(6)])
    assert torch.equal(warp(x.clone(), matrices, in_place=in_place), alone)
    assert torch.equal(alone[1], x[1].flip(-1))


def test_the_input_is_overwritten_only_in_place() -> None:
    x = batch(6, 12, 12)
    before = x.clone()
    warp(x, some_matrices(6))
    assert torch.equal(x, before)
    assert warp(x, some_matrices(6), in_place=True) is x
    assert not torch.equal(x, before)


def test_the_layout_of_the_batch_is_kept_and_makes_no_difference() -> None:
    x, matrices = batch(6, 12, 12), some_matrices(6)
    out = warp(x.contiguous(memory_format=torch.channels_last), matrices)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, warp(x, matrices))


def test_large_images_are_moved_in_chunks_like_small_ones() -> None:
    x, matrices = batch(6, 300, 310), some_matrices(6)[[0, 3, 1, 4, 5, 0]]
    points = torch.stack(torch.meshgrid(*(torch.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in (300, 310)), indexing="ij"))
    points = torch.cat([points.flip(0), torch.ones(1, 300, 310)]).flatten(1)  # x, y, 1
    taken = matrices.float() @ points
    grid = (taken[:, :2] / taken[:, 2:]).view(6, 2, 300, 310).permute(0, 2, 3, 1)
    expected = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(warp(x, matrices), expected, atol=2e-3, rtol=0)


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
