"""Masks as files: their pixel values, their names, and nothing overwritten."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learnkit.cli.inputs import Input
from learnkit.cli.mask_files import MaskFiles
from learnkit.data.segmentation import Segmentation
from learnkit.errors import UsageError

MASK = np.array([[0, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["ground", "car"], MASK),
        ({3: "ground", 7: "car", 9: "car"}, np.where(MASK, 7, 3)),
        ({0: "ground", 1000: "car"}, MASK * 1000),
        ({(1, 2, 3): "ground", (200, 0, 255): "car"}, np.array([(1, 2, 3), (200, 0, 255)])[MASK]),
    ],
)
def test_masks_have_the_pixel_values_of_their_classes(tmp_path: Path, codes: object, expected: object) -> None:
    file = MaskFiles(tmp_path / "out", Segmentation(codes)).write(Input("x/a/1.jpg", "a/1.jpg"), MASK)
    assert file == tmp_path / "out/a/1.png"
    assert np.array_equal(np.asarray(Image.open(file)), expected)


def test_two_images_never_share_a_mask(tmp_path: Path) -> None:
    masks = MaskFiles(tmp_path / "out", Segmentation(["ground", "car"]))
    masks.write(Input("a.jpg", "a.jpg"), MASK)
    with pytest.raises(UsageError, match=r"a\.png: another image has the mask a\.png"):
        masks.write(Input("a.png", "a.png"), 1 - MASK)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), MASK)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="new or empty"):
        MaskFiles(tmp_path, Segmentation(["ground", "car"]))
    for place in (tmp_path / "notes.txt", tmp_path / "notes.txt/masks"):
        with pytest.raises(UsageError, match=r"notes\.txt is a file"):
            MaskFiles(place, Segmentation(["ground", "car"]))
