"""Opening one image: conversion of every mode to RGB or gray, and errors that name the file."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit.data.image.read import full_depth, open_image, open_mask, read_size, read_with
from learnkit.errors import ImageError, UsageError

UPRIGHT = np.arange(3 * 5, dtype=np.uint8).reshape(3, 5) * 16
STORED = {  # what a camera writes for UPRIGHT under each EXIF orientation
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),  # shown rotated clockwise, so stored rotated counterclockwise
    7: UPRIGHT.T[::-1, ::-1],
    8: np.rot90(UPRIGHT, -1),
}


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> Any:
    return image.getpixel((x, y))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.gif"])
def test_lossless_formats_keep_their_pixels(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, Image.new("RGB", (4, 3), (255, 0, 51)))
    image = open_image(path)
    assert (image.mode, image.size, pixel(image)) == ("RGB", (4, 3), (255, 0, 51))


def test_gray_becomes_three_equal_channels_and_back(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (2, 2), 77))
    assert pixel(open_image(path)) == (77, 77, 77)
    assert pixel(open_image(path, channels=1)) == 77


def test_transparency_is_blended_with_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGBA", (2, 2), (255, 0, 0, 0)))
    half = saved(tmp_path / "b.png", Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    assert pixel(open_image(path)) == (255, 255, 255)
    assert pixel(open_image(half)) == (127, 127, 127)


def test_a_transparent_palette_color_is_blended_with_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    opened = open_image(saved(tmp_path / "a.png", image, transparency=0))
    assert (pixel(opened), pixel(opened, 1)) == ((255, 255, 255), (200, 100, 50))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    pixels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    opened = open_image(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert [pixel(opened, x) for x in range(4)] == [(0, 0, 0), (1, 1, 1), (128, 128, 128), (255, 255, 255)]


def test_lossy_formats_keep_a_flat_color(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.webp"):
        opened = open_image(saved(tmp_path / name, Image.new("RGB", (16, 16), (200, 100, 50)), quality=95))
        assert np.abs(np.asarray(opened, dtype=int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("name", ["a.gif", "a.tiff", "a.webp", "a.png"])
def test_the_first_of_several_frames_is_read(tmp_path: Path, name: str) -> None:
    pages = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, pages[0], save_all=True, append_images=pages[1:], **options)
    assert np.asarray(open_image(path)).tolist() == [[[255, 0, 0]] * 8] * 8


def test_gray_with_transparency_is_blended_with_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("LA", (1, 1), (100, 128)))
    by_hand = round((100 * 128 + 255 * 127) / 255)
    assert abs(pixel(open_image(path, channels=1)) - by_hand) <= 1
    assert pixel(open_image(path)) == (pixel(open_image(path, channels=1)),) * 3


def test_every_alpha_is_blended_with_white(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    opened = np.asarray(open_image(saved(tmp_path / "a.png", Image.fromarray(pixels))))
    share = pixels[..., 3:] / 255
    assert np.abs(opened - (pixels[..., :3] * share + 255 * (1 - share))).max() <= 1


def test_half_transparent_palette_colors_are_blended_with_white(tmp_path: Path) -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([200, 100, 0])
    opened = open_image(saved(tmp_path / "a.png", image, transparency=bytes([51])))  # a fifth
    assert np.abs(np.subtract(pixel(opened), (244, 224, 204))).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_color_declared_transparent_is_white(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.new(mode, (2, 1), "black")
    image.putpixel((1, 0), 90 if mode == "L" else (90, 90, 90))
    path = saved(tmp_path / "a.png", image, transparency=0 if mode == "L" else (0, 0, 0))
    assert np.asarray(open_image(path, channels)).reshape(2, channels)[:, 0].tolist() == [255, 90]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.array([[False, True]])))
    assert np.asarray(open_image(path, channels=1)).tolist() == [[0, 255]]
    assert np.asarray(open_image(path)).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
@pytest.mark.parametrize("levels", [range(256), range(1)])
def test_sixteen_bits_are_scaled_by_the_full_range(tmp_path: Path, name: str, levels: range) -> None:
    image = Image.fromarray(np.array([[257 * level for level in levels], [100] * len(levels)], dtype=np.uint16))
    opened = np.asarray(open_image(saved(tmp_path / name, image), channels=1))
    assert opened.tolist() == [list(levels), [0] * len(levels)]


def test_cmyk_pixels_become_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (2, 1), (0, 255, 255, 0))  # no cyan: red
    image.putpixel((1, 0), (0, 0, 0, 255))
    assert np.asarray(open_image(saved(tmp_path / "a.tiff", image))).tolist() == [[[255, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", size, "red"))
    assert open_image(path).size == size
    assert read_size(path) == size[::-1]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    opened = open_image(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)), quality=95))
    assert opened.mode == "RGB"
    assert min(pixel(opened)) > 250


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp"])
def test_images_and_masks_are_rotated_upright(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    options = {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, stored, exif=exif, **options)
    np.testing.assert_array_equal(np.asarray(open_image(path, channels=1)), UPRIGHT)
    np.testing.assert_array_equal(open_mask(path), UPRIGHT)
    assert read_size(path) == (3, 5)


def test_a_jpeg_is_rotated_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (32, 16)), exif=exif)
    assert open_image(path).size == (16, 32)
    assert read_size(path) == (32, 16)


def failing(error: Exception) -> Any:
    def read(file: str) -> Any:
        raise error

    return read


ERRORS = [
    ValueError("x"), KeyError("arr_0"), RuntimeError("cv2.error"), zipfile.BadZipFile("no zip"), struct.error("unpack"),
    pickle.UnpicklingError("x"), AttributeError("no PixelData"), TypeError("NoneType"), IndexError(), AssertionError(),
    UsageError("depth"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_of_a_reader_names_the_file(error: Exception) -> None:
    with pytest.raises(ImageError, match=rf"a\.h5 \(row 3\): the reader failed \({type(error).__name__}") as caught:
        read_with(failing(error), Path("a.h5"), " (row 3)")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("returned", [None, "text", {"a": 1}, np.array([None]), np.array(["a"]), [object()]])
def test_a_reader_that_returns_no_numbers_is_named_with_the_file(returned: Any) -> None:
    with pytest.raises(ImageError, match=r"a\.h5 \(row 3\): the reader returned: got .*expected an array of numbers"):
        read_with(lambda file: returned, Path("a.h5"), " (row 3)")


def test_a_reader_that_stops_the_program_is_not_stopped() -> None:
    for error in (KeyboardInterrupt(), MemoryError()):
        with pytest.raises(type(error)):
            read_with(failing(error), "a.h5")  # type: ignore[arg-type]


def test_the_numbers_of_a_mask_are_kept(tmp_path: Path) -> None:
    numbers = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette([9, 8, 7, 6, 5, 4, *range(250), *range(250), *range(250), *range(12)])
    with_alpha = Image.merge("LA", [Image.fromarray(numbers), Image.new("L", (2, 2), 7)])
    kinds = {
        "gray.png": Image.fromarray(numbers), "palette.png": palette, "alpha.png": with_alpha,
        "rgb.png": Image.fromarray(np.repeat(numbers[..., None], 3, axis=2)),
    }  # fmt: skip
    for name, image in kinds.items():
        np.testing.assert_array_equal(open_mask(saved(tmp_path / name, image)), numbers)
    wide = np.array([[0, 1000, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(open_mask(saved(tmp_path / "wide.png", Image.fromarray(wide))), wide)
    bits = np.array([[True, False]])
    assert open_mask(saved(tmp_path / "bits.png", Image.fromarray(bits))).tolist() == [[1, 0]]
    seen = open_mask(tmp_path / "palette.png", colors=True)
    assert seen[0].tolist() == [[9, 8, 7], [6, 5, 4]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("colors", [True, False])
@pytest.mark.parametrize("gray", [0, 9])
def test_a_mask_in_the_alpha_channel_is_refused(tmp_path: Path, mode: str, colors: bool, gray: int) -> None:
    """All gray levels are one, or two pixels of one level differ in transparency."""
    levels, alpha = np.array([[0, 0, gray]], np.uint8), np.array([[0, 255, 255]], np.uint8)
    bands = [Image.fromarray(levels)] * (len(mode) - 1) + [Image.fromarray(alpha)]
    path = saved(tmp_path / "m.png", Image.merge(mode, bands))
    with pytest.raises(ImageError, match=r"m\.png \(row 3\) has pixels that differ only in transparency"):
        open_mask(path, colors=colors, where=" (row 3)")


@pytest.mark.parametrize("alpha", [[[0, 255]], [[255, 255]], [[7, 7]]])
def test_a_transparency_that_says_nothing_new_is_left_out(tmp_path: Path, alpha: list[list[int]]) -> None:
    levels = np.array([[0, 1]], np.uint8)
    image = Image.merge("LA", [Image.fromarray(levels), Image.fromarray(np.array(alpha, np.uint8))])
    assert open_mask(saved(tmp_path / "m.png", image)).tolist() == [[0, 1]]


def test_a_mask_in_colors_is_refused_where_numbers_are_expected(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", Image.new("RGB", (2, 2), (1, 2, 3)))
    with pytest.raises(ImageError, match=r"m\.png \(row 3\) is in colors \(RGB\)"):
        open_mask(path, where=" (row 3)")


def test_full_depth_keeps_every_bit(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    read = full_depth(saved(tmp_path / "a.png", Image.fromarray(levels)))
    assert read.shape == (256, 256, 1)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.rint(read[..., 0].astype(np.float64) * 65535), levels)
    floats = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    np.testing.assert_array_equal(full_depth(saved(tmp_path / "a.tiff", Image.fromarray(floats)))[..., 0], floats)
    assert full_depth(saved(tmp_path / "b.png", Image.new("L", (1, 1), 51))).item() == np.float32(0.2)


def test_full_depth_refuses_floats_outside_of_0_to_1(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.array([[0, 1.5]], dtype=np.float32)))
    with pytest.raises(ImageError, match=r"a\.tiff: range of floats: got \(0\.0, 1\.5\), expected \[0, 1\]"):
        full_depth(path)
