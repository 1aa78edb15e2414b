"""The mask of each image: masks among the images are left out, and images without one are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learnkit import ImageDataBunch
from learnkit.data.table.files import get_image_files
from learnkit.data.table.masks import masks_of
from learnkit.errors import DataError, LearnkitWarning, MissingFileError, UsageError
from tests.doubles import refused


def touched(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return get_image_files(root)


LAYOUTS: dict[str, tuple[list[str], list[str], Callable[[Path], Any]]] = {  # images, masks, the function
    "beside, by name": (["a.jpg", "b.jpg"], ["a_mask.png", "b_mask.png"],
                        lambda file: str(file).replace(".jpg", "_mask.png")),
    "beside, by stem": (["a.png", "b.png"], ["a_m.png", "b_m.png"], lambda file: file.with_name(f"{file.stem}_m.png")),
    "a folder inside": (["a.png", "b.png"], ["masks/a.png", "masks/b.png"],
                        lambda file: file.parent / "masks" / file.name),
    "a folder inside, relative": (["x/a.png", "x/b.png"], ["x/masks/a.png", "x/masks/b.png"],
                                  lambda file: f"x/y/../masks/{file.name}"),
    "a function that fails for masks": (["a.jpg", "b.jpg"], ["a.png", "b.png"],
                                        lambda file: {".jpg": file.with_suffix(".png")}[file.suffix]),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_among_the_images_are_left_out_with_a_word(tmp_path: Path, layout: str) -> None:
    images, masks, function = LAYOUTS[layout]
    files = touched(tmp_path, *images, *masks)
    (tmp_path / "x" / "y").mkdir(parents=True, exist_ok=True)
    with pytest.warns(LearnkitWarning, match=rf"2 images are masks of others and left out, first .*{masks[0]}"):
        found = masks_of(files, function, tmp_path)
    assert list(found) == [tmp_path / name for name in images]
    assert [mask.resolve() for mask in found.values()] == [(tmp_path / name).resolve() for name in masks]


def test_masks_elsewhere_need_no_word(tmp_path: Path) -> None:
    (file,) = touched(tmp_path, "images/a.png")
    touched(tmp_path, "masks/a.png")
    assert masks_of([file], lambda file: f"masks/{file.name}", tmp_path) == {file: tmp_path / "masks/a.png"}


def test_an_image_without_a_mask_is_named(tmp_path: Path) -> None:
    files = touched(tmp_path, "a.png", "b.png", "b_m.png")
    missing = pytest.raises(MissingFileError, match=r"1 of 2 images have no mask, first .*a\.png -> .*a_m\.png")
    with missing, pytest.warns(LearnkitWarning):
        masks_of(files, lambda file: file.with_name(f"{file.stem}_m.png"), tmp_path)


def test_a_function_that_fails_names_the_file(tmp_path: Path) -> None:
    files = touched(tmp_path, "a.png")
    with pytest.raises(UsageError, match=r"masks: the function fails for .*a\.png \(KeyError: 'a'\)") as caught:
        masks_of(files, lambda file: {}[file.stem], tmp_path)
    assert isinstance(caught.value.__cause__, KeyError)
    with refused(f"masks: for {files[0]}", got=None, expected="the path of its mask"):
        masks_of(files, lambda file: None, tmp_path)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("link", [False, True])
def test_an_image_that_is_its_own_mask_is_refused(tmp_path: Path, link: bool) -> None:
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"images/{number}.png")
    (tmp_path / "same").symlink_to(tmp_path / "images")
    with pytest.raises(DataError, match=r"4 images are their own masks, first .*0\.png"):
        ImageDataBunch.from_folder_masks(
            tmp_path, "images", lambda file: str(file).replace("/images/", "/same/" if link else "/images/"),
            ["a", "b"], size=8, bs=2, valid_pct=0.5, device="cpu",
        )  # fmt: skip
