"""Masks and key points that move: points end where the pixels they mark end."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from learnkit.data.augment.pipeline import Augmentation, apply_to_item
from learnkit.data.augment.targets import Masks, MovingPoints, moving_noun, moving_targets
from learnkit.data.augment.warp import Motion, warp
from learnkit.data.points import Points
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Regression
from learnkit.transforms import Dihedral, Flip, FlipVertical, OnItem, Rotate, Warp, Zoom, default_augment

SIDE = 48
IMAGE = torch.zeros(1, 1, 8, 8)
NAN = math.nan


def dots(n: int) -> tuple[Tensor, Tensor]:
    """Images float (n, 2, SIDE, SIDE) with a disc in each channel, and its center in [-1, 1], (n, 2, 2)."""
    centers = torch.rand(n, 2, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    ramp = torch.linspace(-1 + 1 / SIDE, 1 - 1 / SIDE, SIDE)
    down, across = torch.meshgrid(ramp, ramp, indexing="ij")
    distance = torch.hypot(across - centers[..., 0, None, None], down - centers[..., 1, None, None])
    return (distance < 0.12).float(), centers


def found(images: Tensor) -> Tensor:
    """The centers of the discs, in [-1, 1]."""
    ramp = torch.linspace(-1 + 1 / SIDE, 1 - 1 / SIDE, SIDE)
    mass = images.sum((2, 3))
    return torch.stack([(images.sum(2) * ramp).sum(-1) / mass, (images.sum(3) * ramp).sum(-1) / mass], -1)


@pytest.mark.parametrize(
    "transforms",
    [
        [Flip(1.0)], [FlipVertical(1.0)], [Dihedral()], [Rotate(45, p=1.0)], [Zoom(1.4, p=1.0)], [Warp(0.3, p=1.0)],
        [Zoom(1, 0.5, p=1.0, padding_mode="zeros")], default_augment("zeros")[:4],
        [Dihedral(), Rotate(20, padding_mode="border"), Flip()], [Flip(), Warp(padding_mode="zeros"), Rotate()],
    ],
)  # fmt: skip
def test_points_move_with_their_pixels(transforms: list[Any]) -> None:
    images, centers = dots(16)
    out, moved = Augmentation(transforms)(images, 0, 0, torch.arange(16), MovingPoints(centers))
    assert not torch.equal(moved.values, centers)
    is_inside = (moved.values.abs() < 0.8).all(-1)
    assert is_inside.float().mean() > 0.8
    torch.testing.assert_close(found(out)[is_inside], moved.values[is_inside], atol=1.5 / SIDE, rtol=0)


@pytest.mark.parametrize(
    "fn",
    [
        v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0), v2.RandomRotation(30), v2.RandomPerspective(0.3, 1.0),
        OnItem(v2.Compose([v2.RandomAffine(20, (0.1, 0.1)), v2.ColorJitter(0.1)])),
        v2.RandomResizedCrop(SIDE, (0.7, 1.0)),
    ],
)  # fmt: skip
def test_torchvision_moves_points_with_their_pixels(fn: Any) -> None:
    images, centers = dots(8)
    for number, (image, points) in enumerate(zip(images, centers, strict=True)):
        three = (torch.cat([image, image[:1]]) * 255).byte()
        out, moved = apply_to_item(fn, three, MovingPoints(points), number)
        is_inside = (moved.values.abs() < 0.8).all(-1)
        difference = found(out[None, :2].float() / 255)[0] - moved.values
        assert (difference[is_inside].abs() < 3 / SIDE).all()


@pytest.mark.parametrize(("name", "mirrors"), [("across", True), ("down", True), ("both", False), ("none", False)])
def test_points_swap_in_a_mirror_image(name: str, mirrors: bool) -> None:
    points = torch.tensor([[-0.5, 0.2], [0.5, 0.1], [0.0, -0.3]])
    task = Points(["left", "right", "nose"], swaps=[("left", "right")])
    across, down = {"across": (-1, 1), "down": (1, -1), "both": (-1, -1), "none": (1, 1)}[name]
    matrix = torch.diag(torch.tensor([across, down, 1.0])).double()[None]
    expected = points * torch.tensor([across, down])
    expected = expected[[1, 0, 2]] if mirrors else expected
    moved = moving_targets(task, points[None]).warped(Motion.of(matrix, IMAGE), "reflection", (8, 8))
    torch.testing.assert_close(moved.values[0], expected)
    flips = v2.Compose([v2.RandomHorizontalFlip(float(across < 0)), v2.RandomVerticalFlip(float(down < 0))])
    pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
    _, moved = apply_to_item(flips, pixels, moving_targets(task, points), 0)
    torch.testing.assert_close(moved.values, expected)


def test_missing_points_and_those_that_leave_the_image_are_missing() -> None:
    points = torch.tensor([[[NAN, NAN], [0.9, 0.0], [0.3, 0.0]]])
    matrix = torch.diag(torch.tensor([0.5, 0.5, 1.0])).double()[None]  # twice as large
    moved = MovingPoints(points).warped(Motion.of(matrix, IMAGE), "reflection", (8, 8)).values
    np.testing.assert_allclose(moved[0].numpy(), [[NAN, NAN], [NAN, NAN], [0.6, 0.0]], rtol=1e-6)
    pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
    _, kept = apply_to_item(v2.ElasticTransform(1.0, 0.5), pixels, MovingPoints(points[0]), 0)
    assert kept.values.isnan().tolist() == [[True, True], [False, False], [False, False]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("ignored", [255, 1, 0])
def test_a_black_border_of_a_mask_is_ignored(dtype: torch.dtype, ignored: int) -> None:
    masks = torch.full((1, 4, 4), 3, dtype=dtype)
    shifted = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])  # by two pixels
    moved = Masks(masks, ignored).warped(Motion.of(shifted, IMAGE), "zeros", (4, 4))
    assert moved.values.tolist() == [[[3, 3, ignored, ignored]] * 4]
    assert (moved.values.dtype, moved.targets.dtype) == (dtype, torch.int64)
    mirrored = Masks(masks, ignored).warped(Motion.of(shifted, IMAGE), "reflection", (4, 4))
    assert set(mirrored.values.unique().tolist()) == {3}


def test_masks_are_warped_like_their_images() -> None:
    masks = torch.randint(0, 5, (3, 12, 12), generator=torch.Generator().manual_seed(0))
    matrices = Rotate(40, p=1.0).matrices(torch.rand(3, 2, generator=torch.Generator().manual_seed(0)), 12, 12)
    moved = Masks(masks).warped(Motion.of(matrices, IMAGE), "border", (12, 12))
    expected = warp(masks[:, None].float(), matrices, "nearest", padding="border")[:, 0].long()
    assert torch.equal(moved.values, expected)


def test_which_targets_lie_in_their_images() -> None:
    values = torch.zeros(1, 1, 2)
    assert isinstance(moving_targets(Segmentation(["a", "b"]), values), Masks)
    assert isinstance(moving_targets(Points(["nose"]), values), MovingPoints)
    assert moving_targets(Regression(), values) is None
    assert [moving_noun(task) for task in (Segmentation(["a", "b"]), Points(1), Regression(), None)] == [
        "masks", "key points", None, None,
    ]  # fmt: skip
