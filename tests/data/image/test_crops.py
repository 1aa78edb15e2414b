"""Random crops: within their limits, uniform, and a function of seed, epoch and item."""

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit.data.image.crops import Bounded, RandomResizedCrop, crop_and_resize
from learnkit.data.image.resize import View
from tests.doubles import refused

N = 4000


def drawn(crop: RandomResizedCrop, height: int, width: int, n: int = N) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n, 4): left, top, right, bottom."""
    return np.array([crop.view(height, width, 1, 0, index).box for index in range(n)])


@pytest.mark.parametrize(("height", "width"), [(120, 80), (80, 120), (100, 100), (10, 12), (1, 1)])
def test_areas_and_aspect_ratios_stay_within_their_limits(height: int, width: int) -> None:
    """Up to half a pixel, by which a side is rounded."""
    left, top, right, bottom = drawn(RandomResizedCrop((32, 32)), height, width).T
    assert min(left.min(), top.min()) >= 0
    assert right.max() <= width
    assert bottom.max() <= height
    wide, tall = right - left, bottom - top
    assert min(wide.min(), tall.min()) >= 1
    assert ((wide + 0.5) * (tall + 0.5) >= 0.08 * height * width).all()
    assert ((wide + 0.5) / (tall - 0.5) >= 3 / 4).all()
    assert ((wide - 0.5) / (tall + 0.5) <= 4 / 3).all()
    if min(height, width) > 50:
        shares = wide * tall / (height * width)
        assert shares.min() < 0.1
        assert shares.max() > 0.8
        assert (wide / tall).min() < 0.77
        assert (wide / tall).max() > 1.3


def test_areas_positions_and_log_aspect_ratios_are_uniform() -> None:
    """No draw is rejected here: half of the area of a square always fits, whatever its aspect ratio."""
    crop = RandomResizedCrop((32, 32), min_scale=0.1, max_scale=0.5)
    left, top, right, bottom = drawn(crop, 10_000, 10_000).T
    wide, tall = right - left, bottom - top
    for share in (
        (wide * tall / 10_000**2 - 0.1) / 0.4,
        (np.log(wide / tall) - math.log(3 / 4)) / (math.log(4 / 3) - math.log(3 / 4)),
        left / (10_000 - wide),
        top / (10_000 - tall),
    ):
        for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
            spread = math.sqrt(quantile * (1 - quantile) / N)
            assert (share < quantile).mean() == pytest.approx(quantile, abs=5 * spread)


def test_every_position_can_be_drawn() -> None:
    left, top, right, bottom = drawn(RandomResizedCrop((4, 4), min_scale=0.25, max_scale=0.25, ratio=(1, 1)), 6, 6).T
    assert set(zip(left, top, strict=True)) == {(x, y) for x in range(4) for y in range(4)}
    assert set(right - left) == set(bottom - top) == {3}


def test_custom_limits_are_kept() -> None:
    crop = RandomResizedCrop((32, 16), min_scale=0.3, max_scale=0.3, ratio=(2, 2))
    left, top, right, bottom = drawn(crop, 1000, 1500, 50).T
    np.testing.assert_allclose((right - left) * (bottom - top), 0.3 * 1_500_000, rtol=0.002)
    np.testing.assert_allclose((right - left) / (bottom - top), 2, rtol=0.002)
    assert crop.view(100, 150, 0, 0, 0).shape == (32, 16)


def test_a_draw_depends_only_on_its_coordinates() -> None:
    crop = RandomResizedCrop((32, 32))
    first = {(s, e, i): crop.view(90, 70, s, e, i) for s in range(3) for e in range(3) for i in range(30)}
    again = {key: RandomResizedCrop((32, 32)).view(90, 70, *key) for key in reversed(first)}
    assert first == again
    assert len(set(first.values())) == len(first)  # other seeds, epochs and items are cropped differently


@pytest.mark.parametrize(
    ("height", "width", "wide", "tall"), [(30, 5000, 40, 30), (5000, 30, 30, 40), (1, 5000, 1, 1), (5000, 1, 1, 1)]
)
def test_a_strip_gets_the_largest_crop_within_the_aspect_ratios(height: int, width: int, wide: int, tall: int) -> None:
    left, top, right, bottom = drawn(RandomResizedCrop((32, 32)), height, width, 200).T
    assert set(right - left) == {wide}
    assert set(bottom - top) == {tall}
    assert min(left.min(), top.min()) >= 0
    assert right.max() <= width
    assert bottom.max() <= height
    assert len({*zip(left, top, strict=True)}) > 150


def test_small_floats_of_many_channels_are_cropped() -> None:
    crop = RandomResizedCrop((4, 4))
    for index in range(200):
        shown = crop.view(1, 1, 0, 0, index).extract(np.full((1, 1, 5), 0.25, np.float32))
        np.testing.assert_array_equal(shown, np.full((4, 4, 5), 0.25))


@pytest.mark.parametrize("shape", [(12, 9), (60, 70), (40, 40)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_crop_is_resized_as_by_pillow(shape: tuple[int, int], dtype: Any) -> None:
    """Smaller ones too, where every pixel of the crop counts."""
    levels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    pixels = levels if dtype == np.uint8 else levels.astype(np.float32) / 255
    ours = crop_and_resize(pixels, View((11, 5, 51, 45), shape))
    assert ours.dtype == dtype
    expected = Image.fromarray(levels[5:45, 11:51]).resize(shape[::-1], Image.Resampling.BILINEAR)
    assert np.abs(ours * (1.0 if dtype == np.uint8 else 255.0) - np.asarray(expected)).max() <= 1.001


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "float32"])
@pytest.mark.parametrize("sides", [(301, 200), (97, 640), (90, 90)])
def test_what_random_crops_need_is_downscaled_as_by_pillow(sides: tuple[int, int], mode: str) -> None:
    """Up to rounding, whether it is a Pillow image or an array, whose memory nothing may be written to."""
    n_channels = {"L": 1, "RGBA": 4}.get(mode, 3)
    levels = np.random.default_rng(0).integers(0, 256, (*sides, n_channels), dtype=np.uint8).squeeze()
    view = Bounded((30, 40)).view(*sides)
    assert min(view.shape) == 80
    pixels = levels.astype(np.float32) / 255 if mode == "float32" else levels
    pixels.flags.writeable = False
    channels = [levels] if mode == "L" else np.moveaxis(levels, 2, 0)
    alone = [Image.fromarray(one).resize(view.shape[::-1], Image.Resampling.BILINEAR) for one in channels]
    expected = np.stack([np.asarray(one, dtype=float) for one in alone], 2).squeeze()
    shown = view.extract(pixels)
    assert shown.dtype == pixels.dtype
    assert np.abs(shown * (255.0 if mode == "float32" else 1.0) - expected).max() <= 1.001
    if mode in ("RGB", "L"):
        np.testing.assert_array_equal(view.extract(Image.fromarray(levels)), shown)


def test_a_part_of_a_pixel_stays_out_of_what_is_downscaled() -> None:
    """As the last column of a JPEG that was decoded at a quarter of a width that four does not divide."""
    levels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    view = Bounded((20, 20)).view(100, 100)._replace(box=(0, 0, 99.75, 100))
    expected = Image.fromarray(levels).resize(view.shape[::-1], Image.Resampling.BILINEAR, box=view.box)
    np.testing.assert_array_equal(view.extract(levels), np.asarray(expected))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_scale": 0}, "min_scale"), ({"min_scale": "x"}, "min_scale"),
        ({"min_scale": 0.5, "max_scale": 0.4}, "min_scale, max_scale"),
        ({"max_scale": 1.1}, "max_scale"), ({"min_scale": math.nan}, "min_scale"), ({"ratio": 1}, "ratio"),
        ({"ratio": (0, 1)}, "ratio"), ({"ratio": (2, 1)}, "ratio"), ({"ratio": (math.nan, 1)}, "ratio"),
    ],
)  # fmt: skip
def test_invalid_limits_are_refused(options: dict[str, Any], named: str) -> None:
    with refused(named):
        RandomResizedCrop((32, 32), **options)


def test_a_crop_may_be_one_pixel_high_or_wide() -> None:
    assert [RandomResizedCrop(size).size for size in ((1, 1), [1, 9], (9, 1))] == [(1, 1), (1, 9), (9, 1)]


@pytest.mark.parametrize("size", [0, True, (8,), (8, 0), "88", (8.0, 8.0)])
def test_an_invalid_size_is_refused(size: Any) -> None:
    with refused("RandomResizedCrop: size", got=size):
        RandomResizedCrop(size)


@pytest.mark.parametrize("size", [32, np.int64(32), (32, 32), [32, 32]])
def test_one_side_is_that_of_a_square(size: Any) -> None:
    view = RandomResizedCrop(size).view(50, 40, 0, 0, 0)
    assert view == RandomResizedCrop((32, 32)).view(50, 40, 0, 0, 0)


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (2000, 1000, (600, 300)),
        (1000, 3000, (300, 900)),
        (300, 900, (300, 900)),
        (20, 30, (20, 30)),
        (1, 5000, (1, 5000)),
    ],
)
def test_images_are_bounded_by_their_shorter_side(height: int, width: int, shape: tuple[int, int]) -> None:
    view = Bounded((100, 150)).view(height, width)
    assert view.box == (0, 0, width, height)
    assert view.shape == shape
