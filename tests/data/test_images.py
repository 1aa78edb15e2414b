"""Opening one image: every mode becomes RGB or gray by a rule, and what cannot be read is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learnkit.data.images import open_image
from learnkit.errors import DataError, ImageError


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> object:
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


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGBA", (2, 2), (255, 0, 0, 0)))
    half = saved(tmp_path / "b.png", Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    assert pixel(open_image(path)) == (255, 255, 255)
    assert pixel(open_image(half)) == (127, 127, 127)


def test_a_transparent_palette_colour_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    opened = open_image(saved(tmp_path / "a.png", image, transparency=0))
    assert (pixel(opened), pixel(opened, 1)) == ((255, 255, 255), (200, 100, 50))


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    pixels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    opened = open_image(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert [pixel(opened, x) for x in range(4)] == [(0, 0, 0), (1, 1, 1), (128, 128, 128), (255, 255, 255)]


def test_floats_up_to_one_are_scaled(tmp_path: Path) -> None:
    pixels = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    opened = open_image(saved(tmp_path / "a.tiff", Image.fromarray(pixels)), channels=1)
    assert [pixel(opened, x) for x in range(3)] == [0, 128, 255]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    opened = open_image(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)), quality=95))
    assert opened.mode == "RGB"
    assert min(pixel(opened)) > 250  # type: ignore[type-var]


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (3, 1)), (6, (1, 0)), (8, (0, 3))])
def test_images_are_turned_upright(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(saved(tmp_path / "a.png", image, exif=exif.tobytes()))
    assert opened.size == ((4, 2) if orientation in (1, 3) else (2, 4))
    assert pixel(opened, *corner) == (255, 255, 255)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<html></html>", b"\x89PNG\r\n\x1a\n1234"])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.jpg \(class ant, item 17\) cannot be read") as caught:
        open_image(path, where=" (class ant, item 17)")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, DataError)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / "cut.jpg", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        open_image(path)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path / "bomb.png", Image.new("1", (11_000, 10_000)))
    with pytest.raises(ImageError, match=r"bomb\.png is too large .*expected an image of at most 100,000,000 pixels"):
        open_image(path)


def test_formats_that_need_another_program_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 4)).save(path, format="EPS")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        open_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png is not there"):
        open_image(tmp_path / "gone.png")
