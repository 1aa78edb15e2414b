"""Opening the files of images: what cannot be read is named, and limits are checked before anything is decoded."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from learnkit.data.image import opening as module
from learnkit.data.image.read import full_depth, open_image, open_mask, read_size
from learnkit.errors import DataError, ImageError


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> Any:
    return image.getpixel((x, y))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<html></html>", b"\x89PNG\r\n\x1a\n1234"])
def test_a_file_that_is_not_an_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.jpg \(class ant, item 17\) cannot be read") as caught:
        open_image(path, where=" (class ant, item 17)")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, DataError)


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp", "cut.bmp", "cut.tiff"])
def test_a_truncated_image_is_named(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / name, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"{name} cannot be read"):
        open_image(path)


def test_a_folder_a_pipe_and_links_to_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # reading it would block
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    for name, why in [
        ("folder", "cannot be read"), ("pipe", "not a regular file"), ("round", "cannot be read"),
        ("dangling", "does not exist"),
    ]:  # fmt: skip
        for read in (open_image, open_mask, read_size, full_depth):
            with pytest.raises(ImageError, match=rf"{name}\.png .*{why}|{name}\.png {why}"):
                read(tmp_path / f"{name}.png")


def test_a_link_to_an_image_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", Image.new("RGB", (2, 2), "red"))
    (tmp_path / "b.png").symlink_to("a.png")
    assert pixel(open_image(tmp_path / "b.png")) == (255, 0, 0)


def test_the_limit_is_checked_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    path = saved(tmp_path / "a.png", Image.new("L", (11, 10)))
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded.append)
    monkeypatch.setattr(module, "MAX_PIXELS", 109)
    for read in (open_image, open_mask, read_size, full_depth):
        with pytest.raises(ImageError, match=r"a\.png is too large \(11 x 10 pixels\)"):
            read(path)
    assert decoded == []
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_PIXELS", 110)
    assert open_image(path).size == (11, 10)


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path / "bomb.png", Image.new("1", (11_000, 10_000)))
    with pytest.raises(ImageError, match=r"bomb\.png is too large .*expected an image of at most 100,000,000 pixels"):
        open_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_an_image_below_the_limit_has_no_warning_of_another_one(tmp_path: Path, name: str) -> None:
    """Pillow warns from 89 million pixels on; warnings are errors here."""
    path = saved(tmp_path / name, Image.new("1", (10_000, 9_900)))
    assert read_size(path) == (9_900, 10_000)
    assert open_mask(path).shape == (9_900, 10_000)


def test_formats_that_run_another_program_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 4)).save(path, format="EPS")
    with pytest.raises(ImageError, match=r"a\.jpg"):
        open_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        open_image(tmp_path / "gone.png")
