"""Resizing: the same as Pillow's own functions, for every kind of array, and consistent for masks."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.image.resize import Method, Resize, View, shape_of
from tests.doubles import refused

BILINEAR = Image.Resampling.BILINEAR
METHODS: tuple[Method, ...] = ("crop", "squish", "pad")
SHAPES = [(60, 90), (90, 60), (50, 50), (7, 300), (300, 7), (20, 30)]  # height, width
SIZES = [(24, 32), (32, 24), (40, 40)]


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def resized(image: Any, size: tuple[int, int], method: Method, **options: Any) -> npt.NDArray[Any]:
    return Resize(size, method).view(*shape_of(image)).extract(image, **options)


def by_pillow(image: Image.Image, size: tuple[int, int], method: Method) -> npt.NDArray[Any]:
    high, wide = size
    if method == "crop":
        return np.asarray(ImageOps.fit(image, (wide, high), BILINEAR))
    if method == "squish":
        return np.asarray(image.resize((wide, high), BILINEAR))
    return np.asarray(ImageOps.pad(image, (wide, high), BILINEAR, centering=(0.5, 0.5)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_resized_as_by_pillow(shape: tuple[int, int], size: tuple[int, int], method: Method) -> None:
    pixels = noise(*shape, 3)
    image = Image.fromarray(pixels)
    ours, theirs = resized(image, size, method).astype(int), by_pillow(image, size, method).astype(int)
    differences = [
        np.abs(ours - np.roll(theirs, shift, axis=(0, 1))).max() for shift in pixel_shifts(size, shape, method)
    ]
    assert min(differences) <= 1
    np.testing.assert_array_equal(resized(pixels, size, method), resized(image, size, method))


def pixel_shifts(size: tuple[int, int], shape: tuple[int, int], method: Method) -> list[tuple[int, int]]:
    """An odd sum of borders cannot be split evenly: either side may get the additional pixel."""
    part = Resize(size, method).view(*shape).shape
    rows, columns = (range(-1, 2) if (side - inner) % 2 else (0,) for side, inner in zip(size, part, strict=True))
    return [(row, column) for row in rows for column in columns]


def test_crop_keeps_the_center() -> None:
    image = Image.new("RGB", (30, 10), "red")
    image.paste((0, 255, 0), (10, 0, 20, 10))
    assert (resized(image, (10, 10), "crop") == [0, 255, 0]).all()


def test_squish_keeps_everything() -> None:
    image = Image.new("RGB", (40, 10), "red")
    image.paste((0, 0, 255), (20, 0, 40, 10))
    squished = resized(image, (4, 4), "squish")
    assert squished[2, [0, 3]].tolist() == [[255, 0, 0], [0, 0, 255]]


def test_pad_adds_borders() -> None:
    padded = resized(Image.new("RGB", (8, 4), "white"), (8, 8), "pad")
    assert padded[:2].max() == 0
    assert padded[6:].max() == 0
    assert padded[2:6].min() == 255
    assert resized(Image.new("L", (8, 4), 9), (8, 8), "pad", fill=200)[[0, 3, 7], 0].tolist() == [200, 9, 200]


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (5000, 1)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [3, 5])
def test_extreme_shapes_get_the_size(size: tuple[int, int], method: Method, channels: int) -> None:
    assert resized(np.zeros((*size, channels), np.uint8), (16, 17), method).shape == (16, 17, channels)


def test_a_crop_never_leaves_the_image() -> None:
    """187 * (3 / 187) is above 3 in floating point; of many such pairs every box stays inside."""
    assert 187 * (3 / 187) > 3
    resized(noise(3, 10), (187, 187), "crop")
    for height in range(1, 40):
        for side in range(1, 400):
            left, top, right, bottom = Resize((side, side)).view(height, height + 7).box
            assert min(left, top) >= 0
            assert right <= height + 7
            assert bottom <= height


def test_an_image_of_the_right_size_is_unchanged() -> None:
    pixels = noise(12, 16, 3)
    for method in METHODS:
        np.testing.assert_array_equal(resized(pixels, (12, 16), method), pixels)


@pytest.mark.parametrize("method", ["stretch", "", None])
def test_an_unknown_method_is_refused(method: Any) -> None:
    with refused("resize", got=method, expected="'crop', 'squish' or 'pad'"):
        Resize((8, 8), method)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("view", [
    View((5, 7, 45, 37), (16, 24)), View((0, 0, 50, 40), (80, 60)), View((2.5, 0.25, 9.75, 11.5), (12, 12)),
    View((0, 0, 50, 40), (20, 25), (2, 3), (26, 31)),
])  # fmt: skip
def test_every_channel_is_resized_as_by_pillow_alone(view: View, dtype: Any, channels: int, nearest: bool) -> None:
    levels = noise(40, 50, channels)
    pixels = levels if dtype == np.uint8 else levels.astype(np.float32) / 255
    ours = view.extract(pixels, nearest=nearest)
    assert ours.dtype == dtype
    assert ours.shape == (*(view.size or view.shape), channels)
    how = Image.Resampling.NEAREST if nearest else BILINEAR
    (top, left), (rows, columns) = view.padding, view.shape
    for channel in range(channels):
        alone = Image.fromarray(levels[..., channel]).resize(view.shape[::-1], how, box=view.box)
        shown = ours[top : top + rows, left : left + columns, channel] * (1 if dtype == np.uint8 else 255)
        assert np.abs(shown - np.asarray(alone, dtype=float)).max() <= 1.001
    assert float(ours.sum()) == pytest.approx(float(ours[top : top + rows, left : left + columns].sum()))


def ramp(axis: int) -> npt.NDArray[np.uint8]:
    """(50, 60), increasing by four levels per row or column."""
    return np.asarray(np.indices((50, 60))[axis] * 4, dtype=np.uint8)


def views() -> list[View]:
    sizes = [(30, 30), (100, 90), (40, 70)]
    fixed = [Resize(size, method).view(50, 60) for size in sizes for method in METHODS]
    crop = RandomResizedCrop((40, 40), min_scale=0.2)
    return fixed + [crop.view(50, 60, 0, 0, index) for index in range(10)]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["image", "five", "float"])
def test_an_image_and_its_mask_show_the_same_content(kind: str, axis: int) -> None:
    mask = ramp(axis)
    image: Any = {
        "image": Image.fromarray(mask), "five": np.repeat(mask[..., None], 5, axis=2),
        "float": mask[..., None].astype(np.float32) / 255,
    }[kind]  # fmt: skip
    for view in views():
        shown = view.extract(image).astype(float) * (255 if kind == "float" else 1)
        shown = shown if shown.ndim == 2 else shown[..., -1]
        apart = shown - view.extract(mask, nearest=True)
        assert abs(apart.mean()) <= 2.01  # half a pixel, where either neighbor is nearest; a shift by one would be 4
        assert np.abs(apart).max() <= 5


def test_no_new_values_of_a_mask_are_created() -> None:
    mask = np.where(noise(50, 60) > 127, 200, 3).astype(np.uint8)
    for view in views():
        assert set(np.unique(view.extract(mask, nearest=True, fill=3))) == {3, 200}


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_interpolated_values_are_those_of_pillow(interpolation: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    expected = Image.fromarray(pixels).resize((12, 9), Image.Resampling[interpolation.upper()])
    view = Resize((9, 12), "squish", interpolation).view(20, 30)
    assert np.array_equal(view.extract(pixels), np.asarray(expected))
    assert np.array_equal(view.extract(Image.fromarray(pixels)), np.asarray(expected))


def test_floats_do_not_overshoot() -> None:
    steps = np.zeros((8, 8, 2), np.float32)
    steps[:, 4:] = 1
    resized = Resize((31, 31), "squish", "bicubic").view(8, 8).extract(steps)
    assert resized.min() >= 0
    assert resized.max() <= 1


def test_an_unknown_interpolation_is_refused() -> None:
    with refused("interpolation", got="lanczos", expected="'bilinear' or 'bicubic'"):
        Resize((8, 8), "crop", "lanczos")  # type: ignore[arg-type]
