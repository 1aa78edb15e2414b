"""Presizing: larger images, and one warp that crops them to the size of the bunch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from learnkit import ImageDataBunch, Points, Segmentation
from learnkit.data.augment.pipeline import Augmentation
from learnkit.data.augment.targets import Masks
from learnkit.errors import UsageError
from learnkit.transforms import Flip, Presize, Rotate, default_augment
from tests.doubles import refused


def corners(presize: Presize, u: tuple[float, float, float], size: tuple[int, int]) -> list[float]:
    """left, top, right, bottom of the crop, in [-1, 1] of the larger image."""
    matrix = presize.matrices(torch.tensor([u]), *size)[0].numpy()
    left, top, _ = matrix @ [-1, -1, 1]
    right, bottom, _ = matrix @ [1, 1, 1]
    return [left, top, right, bottom]


@pytest.mark.parametrize(
    ("presize", "u", "size", "expected"),
    [
        (Presize(20, 1.0), (0.3, 0.1, 0.9), (10, 10), [-1, -1, 1, 1]),  # all of it
        (Presize(20, 0.25), (0.0, 0.5, 0.5), (10, 10), [-0.5, -0.5, 0.5, 0.5]),  # a quarter of the area, central
        (Presize(20, 0.25), (0.0, 0.0, 1.0), (10, 10), [-1, 0, 0, 1]),  # left, at the bottom
        (Presize((20, 40), 1.0), (0.0, 0.5, 0.5), (10, 10), [-0.5, -1, 0.5, 1]),  # the aspect ratio is kept
        (Presize((20, 40), 1.0), (0.0, 0.0, 0.5), (10, 10), [-1, -1, 0, 1]),
        (Presize(40, 1.0), (0.0, 0.5, 0.5), (10, 20), [-1, -0.5, 1, 0.5]),
    ],
)
def test_the_crop(presize: Presize, u: Any, size: tuple[int, int], expected: list[float]) -> None:
    assert corners(presize, u, size) == pytest.approx(expected)


def test_the_area_is_between_its_limits_and_the_crop_inside() -> None:
    drawn = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    matrices = Presize(30, 0.5).matrices(drawn, 16, 16)
    areas = matrices[:, 0, 0] * matrices[:, 1, 1]
    assert 0.5 <= areas.min() < 0.52
    assert 0.98 < areas.max() <= 1
    reach = matrices[:, [0, 1], 2].abs() + matrices[:, [0, 1], [0, 1]]
    assert (reach <= 1 + 1e-9).all()


def test_a_rotation_after_it_shows_what_is_beside_the_crop() -> None:
    ramp = torch.linspace(0, 1, 64).expand(60, 1, 64, 64).contiguous()
    turn = Rotate(45, p=1.0)

    def n_planes(x: Tensor) -> int:
        """Images with the same slope everywhere: no mirrored border in sight."""
        steps = x[:, 0].diff(dim=2).flatten(1)
        return int((steps.std(1) < 0.05 * steps.mean(1).abs()).sum())

    presized, _ = Augmentation([Presize(64, 0.05), turn], (16, 16))(ramp, 0, 0, torch.arange(60))
    alone, _ = Augmentation([turn])(ramp, 0, 0, torch.arange(60))
    assert presized.shape == (60, 1, 16, 16)
    assert n_planes(presized) > 25
    assert n_planes(alone) < 10  # turned by a few degrees


def test_masks_are_cropped_with_their_images() -> None:
    y, x = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    masks = ((x // 10 + y // 10) % 2).repeat(4, 1, 1)
    images = masks[:, None].float() * 0.9 + 0.05
    out, moved = Augmentation([Presize(60), *default_augment()[:4]], (24, 24))(
        images, 0, 0, torch.arange(4), Masks(masks)
    )
    assert moved.values.shape == (4, 24, 24)
    assert ((out[:, 0] > 0.5).long() == moved.values).float().mean() > 0.9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """images/{0..5}.png of 50 x 40 pixels, a gradient each, and masks/ of the same names."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(6):
        pixels = np.broadcast_to(np.linspace(0, 255, 50, dtype=np.uint8)[None, :, None], (40, 50, 3))
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"images/{i}.png")
        Image.fromarray((pixels[..., 0] > 127).astype(np.uint8)).save(tmp_path / f"masks/{i}.png")
    return tmp_path


@pytest.mark.parametrize("cache", [None, "memory"])
def test_a_bunch_trains_on_crops_and_validates_as_without(folder: Path, cache: Any) -> None:
    options: dict[str, Any] = {"size": 16, "bs": 2, "valid_pct": 0.34, "cache": cache, "normalize": None}
    masks = {"masks": lambda image: folder / "masks" / image.name, "codes": ["left", "right"]}
    dls = ImageDataBunch.from_folder_masks(folder, augment=[Presize(32, 0.5), Flip()], **masks, **options)
    plain = ImageDataBunch.from_folder_masks(folder, augment=False, **masks, **options)
    x, y = dls.one_batch()
    assert x.shape == (2, 3, 16, 16)
    assert ((x[:, 0] > 0.5).long() == y).float().mean() > 0.9
    dls.train_dl.seed_epoch(0, 1)
    assert not torch.equal(dls.one_batch()[0], x)
    for part in ("valid", "fix"):
        for ours, theirs in zip(dls.one_batch(part), plain.one_batch(part), strict=True):
            assert torch.equal(ours, theirs)


def test_points_are_cropped_too(folder: Path) -> None:
    files = [f"images/{i}.png" for i in range(6)]
    dls = ImageDataBunch.from_lists(
        folder,
        files,
        [[25, 20]] * 6,
        task=Points(["center"]),
        size=16,
        bs=4,
        augment=[Presize(32, 0.5)],
        normalize=None,
    )
    x, y = dls.one_batch()
    for image, point in zip(x, y, strict=True):
        column = (point[0, 0].item() + 1) / 2 * 16 - 0.5
        value = np.interp(column, range(16), image[0].mean(0))
        assert value == pytest.approx(25 / 49, abs=0.03)  # the gray of column 25


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Presize(0), "Presize: size"), (lambda: Presize("32"), "Presize: size"),
        (lambda: Presize((1, 2, 3)), "Presize: size"), (lambda: Presize(32, 0), "Presize: min_scale"),
        (lambda: Presize(32, "x"), "Presize: min_scale"),
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused(make: Any, what: str) -> None:
    with refused(what):
        make()


def test_a_size_below_that_of_the_bunch_is_refused(class_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"Presize: size: got 16, expected \(20, 20\)"):
        ImageDataBunch.from_folder(class_folder, size=20, bs=4, augment=[Presize(16)])


def test_a_task_of_masks_may_show_a_black_border(folder: Path) -> None:
    task = Segmentation(["left", "right"], ignore_index=255)
    dls = ImageDataBunch.from_folder_masks(
        folder, masks=lambda image: folder / "masks" / image.name, task=task, size=16, bs=4, valid_pct=0.34,
        augment=[Presize(24, 1.0, "zeros"), Rotate(45, p=1.0, padding_mode="zeros")], normalize=None,
    )  # fmt: skip
    x, y = dls.one_batch()
    assert set(y.unique().tolist()) == {0, 1, 255}
    assert x.permute(0, 2, 3, 1)[y == 255].mean() < 0.2
