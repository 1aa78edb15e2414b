"""Bad data is refused before the first step; the inputs are those of the table in docs/reliability.md."""

import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner, LearnkitWarning
from learnkit.errors import DataError, ImageError, UsageError

SMALL: dict[str, Any] = {"size": 16, "bs": 2, "augment": False}
Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]


def test_empty_folder(tmp_path: Path, refused: Refusal) -> None:
    (tmp_path / "empty").mkdir()
    with refused(ValueError, "no images (", ".jpg", ".png", f"{tmp_path}/empty", "found 0 files", "/train/<class>/"):
        ImageDataBunch.from_folder(tmp_path / "empty", **SMALL)


def test_missing_path(tree: Tree, tmp_path: Path, refused: Refusal) -> None:
    tree()
    with refused(FileNotFoundError, f"{tmp_path}/image/x", f"the nearest existing one, {tmp_path}, contains images"):
        ImageDataBunch.from_folder(tmp_path / "image" / "x", **SMALL)


def test_one_class(tree: Tree, refused: Refusal) -> None:
    with refused(ValueError, "only class 'ant'", "two or more"):
        ImageDataBunch.from_folder(tree(["ant"]), **SMALL)


def test_class_missing_from_validation(tree: Tree, flat: Callable[..., nn.Module]) -> None:
    root = tree(["ant", "bee", "cat"])
    shutil.rmtree(root / "valid" / "bee")
    with pytest.warns(LearnkitWarning, match="no validation item of class bee"):
        dls = ImageDataBunch.from_folder(root, **SMALL)
    learn = Learner(dls, flat(dls))
    learn.fit(1)  # trains on all three
    table = learn.interpret().confusion_matrix()
    assert table.sum(1).tolist() == [3, 0, 3]


def test_class_only_in_validation(tree: Tree, refused: Refusal) -> None:
    root = tree()
    (root / "valid" / "dog").mkdir()
    shutil.copy(root / "valid" / "bee" / "0.png", root / "valid" / "dog")
    with refused(ValueError, "'dog' (1 file) of the validation set is not in train"):
        ImageDataBunch.from_folder(root, **SMALL)


def test_batch_larger_than_training_set() -> None:
    x, y = torch.zeros(36, 2), torch.arange(36) % 2
    with pytest.warns(LearnkitWarning, match="bs=1000 is more than the 36 training items; bs=36 is used"):
        dls = DataBunch.from_tensors(x, y, x, y, bs=1000)
    assert len(list(dls.train_dl)) == 1


@pytest.mark.parametrize("bs", [0, -4, 2.5, "8", True])
def test_invalid_batch_size(bs: Any, refused: Refusal) -> None:
    x, y = torch.zeros(8, 2), torch.arange(8) % 2
    with refused(ValueError, f"bs: got {bs!r}", "an integer, 1 or more"):
        DataBunch.from_tensors(x, y, x, y, bs=bs)


def test_last_batch_of_one_before_batch_norm() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.sizes = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), {True: [0], False: [0]}

        def forward(self, x: torch.Tensor) -> Any:
            if x.device.type != "meta":
                self.sizes[self.training].append(len(x))
            return self.layers(x)

    x, y = torch.randn(9, 2), torch.arange(9) % 2
    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 4)
    model = Counts()
    learn = Learner(DataBunch.from_loaders(batches, batches, classes=["a", "b"]), model)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        learn.fit(2)
    told = [str(warning.message) for warning in given]
    assert told == ["the last batch holds one item and is dropped: batch norm cannot train on it"]
    assert model.sizes == {True: [0, 4, 4, 4, 4], False: [0, 4, 4, 1, 4, 4, 1]}


def damaged(root: Path, content: bytes) -> Path:
    file = root / "train" / "ant" / "1.png"
    file.write_bytes(content)
    return file


def test_not_an_image(tree: Tree, flat: Callable[..., nn.Module], refused: Refusal) -> None:
    root = tree()
    file = damaged(root, b"this is text")
    dls = ImageDataBunch.from_folder(root, **SMALL)
    model = flat(dls)
    with refused(OSError, f"{file} (class ant, row 1)", "cannot be read", "learnkit verify DIR") as caught:
        Learner(dls, model).fit(1)
    assert isinstance(caught.value, ImageError | DataError)
    with pytest.warns(LearnkitWarning, match=rf"1 of 12 items cannot be read and are left out:\s+{file}"):
        dls = ImageDataBunch.from_folder(root, on_error="skip", **SMALL)
    assert dls.skipped["input"].tolist() == [str(file)]
    Learner(dls, flat(dls)).fit(1)


def test_truncated_image(tree: Tree, refused: Refusal) -> None:
    root = tree()
    whole = (root / "train" / "ant" / "1.png").read_bytes()
    file = damaged(root, whole[: len(whole) // 2])
    with refused(OSError, f"{file} (class ant, row 1)", "truncated"):
        list(ImageDataBunch.from_folder(root, **SMALL).fix_dl)


def test_empty_file(tree: Tree, refused: Refusal) -> None:
    root = tree()
    file = damaged(root, b"")
    with refused(OSError, f"{file} (class ant, row 1)", "the file is empty"):
        list(ImageDataBunch.from_folder(root, **SMALL).fix_dl)


def test_image_mode_is_converted_to_rgb(tree: Tree) -> None:
    root = tree(n=7)
    folder = root / "train" / "ant"
    ramp = np.linspace(0, 255, 256, dtype=np.uint8).reshape(16, 16)
    gray = Image.fromarray(ramp)
    gray.save(folder / "0.png")
    gray.convert("RGBA").save(folder / "1.png")
    gray.convert("P").save(folder / "2.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "3.png")
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    gray.rotate(180).save(folder / "4.png", exif=turned)
    gray.convert("1", dither=Image.Dither.NONE).save(folder / "5.png")
    gray.convert("CMYK").save(folder / "6.png", format="TIFF")  # the format is detected from its bytes
    dls = ImageDataBunch.from_folder(root, **{**SMALL, "normalize": None, "bs": 7})
    x, _ = next(iter(dls.fix_dl))
    assert x.shape == (7, 3, 16, 16)
    expected = torch.from_numpy(ramp / 255).float().expand(3, 16, 16)
    for place in (0, 1, 2, 3, 4, 6):
        assert torch.allclose(x[place], expected, atol=1 / 255), place
    assert torch.equal(x[5], (expected > 127.5 / 255).float())


def test_mixed_sizes_without_resize(tree: Tree, refused: Refusal) -> None:
    root = tree()
    odd = root / "train" / "bee" / "1.png"
    Image.new("RGB", (50, 40)).save(odd)
    with refused(ValueError, "sizes differ: 16×16 ×11 e.g. ", f"50×40 ×1 e.g. {odd}", "Pass size="):
        ImageDataBunch.from_folder(root, **{**SMALL, "size": None})


def masked(tmp_path: Path, height: int = 16, value: int = 1, **options: Any) -> ImageDataBunch:
    for split in ("train", "valid"):
        for folder in ("images", "masks"):
            (tmp_path / folder / split).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "images" / split / "0.png")
        mask = np.zeros((height, 16), np.uint8)
        mask[0], mask[1] = 1, value
        Image.fromarray(mask).save(tmp_path / "masks" / split / "0.png")
    return ImageDataBunch.from_folder_masks(
        tmp_path, masks=lambda file: tmp_path / "masks" / file.parent.name / file.name, codes=["ground", "house"],
        **{**SMALL, "bs": 1, **options},
    )  # fmt: skip


def test_mask_size_mismatch(tmp_path: Path, refused: Refusal) -> None:
    mask, image = tmp_path / "masks/train/0.png", tmp_path / "images/train/0.png"
    with refused(ValueError, f"{mask} (row 0): a mask of 16 x 20 pixels for {image} of 16 x 16"):
        masked(tmp_path, height=20)


def test_unknown_mask_values(tmp_path: Path, refused: Refusal) -> None:
    parts = (f"{tmp_path}/masks/train/0.png", "{0, 1, 255}", "2 codes", "ignore_index=255")
    with refused(ValueError, *parts):
        masked(tmp_path, value=255)
    shutil.rmtree(tmp_path / "images")
    shutil.rmtree(tmp_path / "masks")
    assert 255 in masked(tmp_path, value=255, ignore_index=255).one_batch()[1]


@pytest.fixture
def table(tree: Tree) -> Callable[..., ImageDataBunch]:
    """Make a bunch of a CSV file with the columns a (names) and b (labels): six files, except for the given options."""
    root = tree()
    names = [f"train/{label}/{i}.png" for label in ("ant", "bee") for i in range(3)]

    def make(names: list[str] = names, labels: Any = None, extra: Any = None, **options: Any) -> ImageDataBunch:
        labels = [name.split("/")[1] for name in names] if labels is None else labels
        pd.DataFrame({"a": names, "b": labels, **(extra or {})}).to_csv(root / "labels.csv", index=False)
        return ImageDataBunch.from_csv(root, **{**SMALL, **options})

    return make


def test_missing_labels(table: Callable[..., ImageDataBunch], refused: Refusal) -> None:
    with refused(ValueError, "2 rows have no label, first rows [2, 4]"):
        table(labels=["ant", "ant", None, "bee", float("nan"), "bee"])


def test_missing_column(table: Callable[..., ImageDataBunch], refused: Refusal) -> None:
    with refused(ValueError, "no column 'name'; columns are a, b"):
        table(fn_col="name")


def test_missing_files(table: Callable[..., ImageDataBunch], refused: Refusal) -> None:
    names = [*(f"train/ant/{i}.png" for i in range(3)), *(f"train/bee/{i}.png" for i in range(9))]
    shown = [f"bee/{i}.png' (row {i + 3})" for i in range(3, 8)]
    with refused(FileNotFoundError, "6 of 12 files are missing", *shown) as caught:
        table(names)
    assert "bee/8.png" not in str(caught.value)  # five are enough


def test_empty_table(table: Callable[..., ImageDataBunch], tmp_path: Path, refused: Refusal) -> None:
    with refused(ValueError, "labels.csv has 0 rows"):
        table([])
    (tmp_path / "images" / "labels.csv").write_bytes(b"")
    with refused(ValueError, "labels.csv has 0 rows"):
        ImageDataBunch.from_csv(tmp_path / "images", **SMALL)


def test_leak_of_one_file(table: Callable[..., ImageDataBunch], refused: Refusal) -> None:
    names = [*(f"train/{label}/{i}.png" for label in ("ant", "bee") for i in range(2)), "train/ant/0.png"]
    names += ["train/bee/0.png", "train/ant/1.png"]
    leaks = {"extra": {"v": [0, 0, 0, 0, 1, 1, 1]}, "valid_col": "v"}
    with refused(
        ValueError, "3 files are in the training set and in another one", "ant/0.png (rows [0, 4])", "allow_leak"
    ):
        table(names, **leaks)
    assert len(table(names, allow_leak=True, **leaks).train_ds) == 4
    valid = ["valid/ant/0.png", "valid/bee/0.png"]
    with pytest.warns(LearnkitWarning, match=r"1 row repeats a file of the split, first '.*' \(row 4\)"):
        table([*names[:5], *valid], extra={"v": [0, 0, 0, 0, 0, 1, 1]}, valid_col="v")


def test_leak_of_one_file_under_two_names(
    table: Callable[..., ImageDataBunch], tmp_path: Path, refused: Refusal
) -> None:
    os.symlink(tmp_path / "images/train/ant/0.png", tmp_path / "images/valid/ant/again.png")
    names = [f"train/{label}/{i}.png" for label in ("ant", "bee") for i in range(2)]
    with refused(ValueError, "1 file is in the training set and in another one"):
        table([*names, "valid/ant/again.png", "valid/bee/0.png"], extra={"v": [0] * 4 + [1] * 2}, valid_col="v")


@pytest.mark.parametrize("share", [False, 1, 2, -0.1, float("nan"), "half"])
def test_invalid_valid_pct(share: Any, tree: Tree, refused: Refusal) -> None:
    with refused(ValueError, f"valid_pct: got {share!r}", "a share in (0, 1)"):
        ImageDataBunch.from_folder(tree() / "train", valid_pct=share, **SMALL)


def test_empty_test_set(tree: Tree, learner: Callable[..., Learner], refused: Refusal) -> None:
    root = tree()
    dls = ImageDataBunch.from_folder(root, **SMALL)
    with refused(ValueError, "the test set is empty"):
        dls.test_dl_from([])
    (root / "test").mkdir()
    with refused(ValueError, "no images", f"{root}/test"):
        ImageDataBunch.from_folder(root, test="test", **SMALL)
    learn = learner()
    for nothing in (torch.zeros(0, 2), []):
        with refused(ValueError, "the test set is empty"):
            learn.dls.test_dl_from(nothing)
    with refused(ValueError, "no items"):
        learn.get_preds([])
    with refused(ValueError, "the test set is empty"):
        x, y = torch.zeros(4, 2), torch.arange(4) % 2
        DataBunch.from_tensors(x, y, x, y, x_test=torch.zeros(0, 2), bs=2)


def test_data_errors_have_their_own_classes() -> None:
    assert issubclass(ImageError, DataError)
    assert issubclass(DataError, ValueError)
    assert issubclass(UsageError, ValueError)
