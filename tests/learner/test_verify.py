"""verify_images with a model: near-duplicates and outliers by its features."""

from pathlib import Path

import pytest
from PIL import Image

from learnkit import ImageDataBunch, Learner, cnn_learner, verify_images
from learnkit.errors import MissingFileError, WrongTypeError


@pytest.fixture
def learn(class_folder: Path) -> Learner:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=4, num_workers=0)
    return cnn_learner(dls, "resnet18", pretrained=False, seed=0)


def test_a_learner_and_its_export_find_the_same(learn: Learner, class_folder: Path, tmp_path: Path) -> None:
    red = sorted((class_folder / "train" / "red").iterdir())[0]
    Image.open(red).save(class_folder / "valid" / "red" / "again.bmp")
    found = verify_images(class_folder, model=learn, max_ratio=1e-6)
    assert found["problem"].tolist() == ["near leak"]
    assert found["path"].tolist() == ["valid/red/again.bmp"]
    assert found["detail"][0].startswith("train/red/0.png, distance 0.0000")
    assert found.equals(verify_images(class_folder, model=learn.export(tmp_path / "a.lk"), max_ratio=1e-6))
    assert not len(verify_images(class_folder))


def test_what_is_no_model_is_refused(class_folder: Path) -> None:
    with pytest.raises(MissingFileError):
        verify_images(class_folder, model="none.lk")
    with pytest.raises(WrongTypeError, match="model: got 3"):
        verify_images(class_folder, model=3)  # type: ignore[arg-type]
