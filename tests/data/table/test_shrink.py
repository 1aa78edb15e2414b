"""Shrinking an image file; tests/data/table/test_verify.py has the formats."""

from pathlib import Path

import pytest
from PIL import Image

from learnkit.data.table.shrink import shrink_file
from learnkit.errors import ImageError


@pytest.mark.parametrize(("size", "small"), [((100, 60), (50, 30)), ((60, 100), (30, 50)), ((1000, 1), (50, 1))])
def test_the_longer_side_is_that_asked_for(size: tuple[int, int], small: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert shrink_file(tmp_path / "a.png", 50) == small
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == small


def test_the_color_profile_is_kept(tmp_path: Path) -> None:
    Image.new("RGB", (100, 60)).save(tmp_path / "a.png", icc_profile=b"a profile")
    shrink_file(tmp_path / "a.png", 50)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["icc_profile"] == b"a profile"


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (100, 60), i) for i in (0, 200)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="several frames"):
        shrink_file(tmp_path / "a.tif", 50)
