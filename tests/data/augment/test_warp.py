"""Resampling: what a homography samples, what is moved without interpolation, borders, sizes and layouts."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from learnkit.data.augment import warp as module
from learnkit.data.augment.geometry import Padding, Rotate, Warp
from learnkit.data.augment.warp import Motion, warp, warped


def batch(n: int = 4, height: int = 8, width: int = 8, channels: int = 3) -> torch.Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def point(matrix: torch.Tensor, x: float, y: float) -> list[float]:
    across, down, depth = (matrix.double() @ torch.tensor([x, y, 1.0], dtype=torch.float64)).tolist()
    return [across / depth, down / depth]


def rotation(degrees: float) -> torch.Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]])


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
    matrix = Warp(0.4).matrices(torch.tensor([[0.0, 0.2, 0.9]]), 64, 64)
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


def test_an_accelerator_moves_symmetric_items_all_at_once_to_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    x, matrices = batch(10, 12, 12), some_matrices(10)
    for i, (transposed, across, down) in enumerate([(a, b, c) for a in (0, 1) for b in (1, -1) for c in (1, -1)]):
        cells = [[0, across, 0], [down, 0, 0]] if transposed else [[across, 0, 0], [0, down, 0]]
        matrices[i] = torch.tensor([*cells, [0, 0, 1]], dtype=torch.float64)
    expected, exact = warp(x, matrices), warp(x[:8], matrices[:8])
    monkeypatch.setattr(module, "_with_symmetries_one_by_one", module._with_symmetries)
    assert torch.equal(warped(x, Motion.of(matrices, x)), expected)
    assert torch.equal(warp(x[:8], matrices[:8]), exact)
    whole = (x[:8] * 255).byte()
    assert torch.equal(warp(whole, matrices[:8]).float(), warp(whole.float(), matrices[:8]))
