"""The factories on unchanged real data sets; only if REAL_DATA names their folder."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit import DatasetType, ImageDataBunch, LearnkitWarning, get_image_files
from learnkit.errors import ImageError

REAL_DATA = os.environ.get("REAL_DATA")
pytestmark = pytest.mark.skipif(REAL_DATA is None, reason="REAL_DATA does not name a folder of data sets")
ROOT = Path(REAL_DATA or ".")


def test_ants_and_bees_in_folders() -> None:
    dls = ImageDataBunch.from_folder(ROOT / "ants_bees", size=64, bs=16)
    assert dls.classes == ["ants", "bees"]
    assert dls.samples.groupby(["split", "target"]).size().to_dict() == {
        ("train", "ants"): 124, ("train", "bees"): 121, ("valid", "ants"): 70, ("valid", "bees"): 83,
    }  # fmt: skip
    assert sum(len(x) for x, _ in dls.ordered_dl(DatasetType.Fix)) == 245


def test_sign_digits_by_name_and_by_table() -> None:
    by_name = ImageDataBunch.from_name_re(ROOT / "sign_digits", None, r"/(\d)_IMG_\d+", size=32)
    table = ImageDataBunch.from_csv(ROOT / "sign_digits", folder="images", valid_col="split", size=32)
    assert by_name.classes == table.classes == list("0123456789")
    assert (len(table.train_ds), len(table.valid_ds)) == (887, 213)
    of_file = dict(zip(by_name.samples["input"], by_name.samples["target"], strict=True))
    assert all(
        of_file[file] == label for file, label in zip(table.samples["input"], table.samples["target"], strict=True)
    )


def test_posters_with_several_labels() -> None:
    with pytest.warns(LearnkitWarning, match="no validation item of class News"):
        dls = ImageDataBunch.from_csv(
            ROOT / "movie_posters_multilabel", "train.csv", folder="images", suffix=".jpg", label_delim=";", size=32
        )
    assert dls.c == 23
    _, y = dls.one_batch(DatasetType.Valid)
    assert torch.equal(y, y.bool().float())


def test_camvid_with_masks() -> None:
    root = ROOT / "camvid_small"
    codes = (root / "codes.txt").read_text().split()
    dls = ImageDataBunch.from_folder_masks(
        root, "images", lambda image: str(image).replace("images", "labels").replace(".jpg", "_P.png"), codes,
        ignore_index=11, size=(90, 120), bs=8,
    )  # fmt: skip
    assert (len(dls.train_ds), len(dls.valid_ds), dls.c) == (120, 40, 12)
    masks = torch.cat([y for _, y in dls.valid_dl])
    assert masks.shape == (40, 90, 120)
    files = sorted((root / "labels" / "valid").iterdir())
    void = np.mean([(np.array(Image.open(file)) == 11).mean() for file in files])
    assert (masks == 11).float().mean().item() == pytest.approx(void, abs=0.002)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.filterwarnings("ignore:1 row repeats a file")
def test_hostile_images_are_skipped_or_named() -> None:
    files = get_image_files(ROOT / "hostile_images")
    labels = ["ab"[i % 2] for i in range(len(files))]
    options = {"size": 32, "bs": 8, "valid_pct": 0.3}
    with pytest.warns(LearnkitWarning, match="13 of 61"):
        dls = ImageDataBunch.from_lists(ROOT / "hostile_images", files, labels, on_error="skip", **options)  # type: ignore[arg-type]
    assert len(dls.samples) + len(dls.skipped) == len(files)
    assert len(dls.skipped) == 13
    assert all(Path(row.input).name in row.error for row in dls.skipped.itertuples())
    assert sum(len(x) for x, _ in dls.ordered_dl(DatasetType.Fix)) == len(dls.train_ds)
    for file in dls.skipped["input"]:
        with pytest.raises(ImageError, match=Path(file).name):
            dls.prepare(file)
