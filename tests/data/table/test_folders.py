"""Tables of samples from trees of folders."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from learnkit import LearnkitWarning
from learnkit.data.table.folders import folder_samples, mask_samples
from learnkit.errors import DataError, MissingFileError
from tests.doubles import refused


def save_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def tree(root: Path, *names: str) -> Path:
    for name in names:
        save_image(root / name)
    return root


def table(
    root: Path, *, train: str = "train", valid: str = "valid", test: str | None = None, by_folder: bool = True
) -> list[tuple[Any, ...]]:
    samples = folder_samples(root, train, valid, test, by_folder=by_folder)
    assert samples.columns.tolist() == ["input", "target", "split"][: 3 if by_folder else 2]
    return [(Path(path).relative_to(root).as_posix(), *rest) for path, *rest in samples.to_numpy().tolist()]


def test_each_image_of_the_split_folders_is_a_row(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/b.png", "train/cat/a.jpg", "train/dog/c.PNG", "valid/cat/d.webp", "valid/dog/e.bmp")
    assert table(tmp_path) == [
        ("train/cat/a.jpg", "cat", "train"),
        ("train/cat/b.png", "cat", "train"),
        ("train/dog/c.PNG", "dog", "train"),
        ("valid/cat/d.webp", "cat", "valid"),
        ("valid/dog/e.bmp", "dog", "valid"),
    ]


def test_val_is_found_where_valid_is_not_there(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "val/cat/b.png")
    assert [split for _, _, split in table(tmp_path)] == ["train", "valid"]
    tree(tmp_path, "valid/cat/c.png")
    assert [name for name, _, split in table(tmp_path) if split == "valid"] == ["valid/cat/c.png"]


def test_split_folders_may_have_other_names(tmp_path: Path) -> None:
    tree(tmp_path, "fit/cat/a.png", "check/dog/b.png", "train/emu/c.png")
    assert table(tmp_path, train="fit", valid="check") == [
        ("fit/cat/a.png", "cat", "train"),
        ("check/dog/b.png", "dog", "valid"),
    ]


def test_the_label_is_the_first_folder_below_the_split(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/2024/spring/a.png", "valid/cat/b.png")
    assert [label for _, label, _ in table(tmp_path)] == ["cat", "cat"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("by_folder", [True, False])
def test_rows_are_sorted_by_their_whole_path_however_folders_are_mixed_with_files(
    tmp_path: Path, seed: int, by_folder: bool
) -> None:
    draw = random.Random(seed)
    parts = ["a", "a-b", "a.b", "b", "B", "a b"]
    names = {
        "/".join([draw.choice("xy"), *draw.choices(parts, k=draw.randrange(3)), draw.choice(parts) + ".png"])
        for _ in range(40)
    }
    names |= {"x/a/c.png", "x/c.png", "y/c.png"}
    for name in names:
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).touch()
    tree(tmp_path, "valid/x/a.png")
    rows = [(name, label) for name, label, *_ in table(tmp_path, by_folder=by_folder)]
    files = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png"))
    assert rows == [(name, name.split("/")[1]) for name in files]


@pytest.mark.parametrize("by_folder", [True, False])
def test_the_order_of_the_file_system_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_folder: bool
) -> None:
    tree(tmp_path, *(f"{split}/{label}/{i}.png" for split in ("train", "valid") for label in "ab" for i in range(6)))
    listed = table(tmp_path, by_folder=by_folder)
    real = os.walk

    def backwards(top: Any, **options: Any) -> Any:
        for where, folders, files in real(top, **options):
            folders.sort(reverse=True)
            yield where, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert table(tmp_path, by_folder=by_folder) == listed


@pytest.mark.parametrize("test", [None, "test", "held_out"])
def test_test_folders_stay_out_of_a_split_of_all_images(tmp_path: Path, test: str | None) -> None:
    tree(tmp_path, "cat/1.png", "dog/2.png", "dog/test/3.png", "test/emu/x.png", "test/y.png", "held_out/z/z.png")
    rows = table(tmp_path, test=test, by_folder=False)
    expected = [("cat/1.png", "cat"), ("dog/2.png", "dog"), ("dog/test/3.png", "dog")]
    assert rows == expected + ([] if test == "held_out" else [("held_out/z/z.png", "held_out")])


def test_a_split_of_all_images_reads_the_class_below_the_split_folders(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "train/dog/b.png", "valid/cat/c.png", "val/dog/d.png", "fit/emu/e.png")
    labels: dict[str, str] = dict(table(tmp_path, train="fit", by_folder=False))
    assert labels == {
        "fit/emu/e.png": "emu",
        "train/cat/a.png": "cat",
        "train/dog/b.png": "dog",
        "val/dog/d.png": "dog",
        "valid/cat/c.png": "cat",
    }


@pytest.mark.parametrize("by_folder", [True, False])
def test_an_empty_folder_is_refused_with_the_expected_layout(tmp_path: Path, by_folder: bool) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no images \(.*\.jpg.*\.png.*\) under .*found 1 files.*<class>") as caught:
        table(tmp_path, by_folder=by_folder)
    assert isinstance(caught.value, ValueError)


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "train/b.png")
    with pytest.raises(DataError, match=r"found 2 files, none of them an image in a class folder: expected .*/<class>"):
        table(tmp_path, by_folder=False)


def test_a_missing_validation_folder_points_to_valid_pct(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png")
    with pytest.raises(DataError, match=r"no images under .*valid.*valid_pct=0\.2"):
        table(tmp_path)


def test_a_missing_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no folder .*pest; the nearest existing one"):
        table(tmp_path / "pest")


def mask_of(file: Path) -> Path:
    return Path("masks") / f"{file.stem}_mask.png"


def test_images_stand_next_to_their_masks(tmp_path: Path) -> None:
    tree(tmp_path, "images/b.png", "images/a.png", "masks/a_mask.png", "masks/b_mask.png")
    expected = [(str(tmp_path / f"images/{x}.png"), str(tmp_path / f"masks/{x}_mask.png")) for x in "ab"]
    for masks in (mask_of, lambda file: str(mask_of(file)), lambda file: tmp_path / mask_of(file)):
        samples = mask_samples(tmp_path, "images", masks, "valid", by_folder=False)
        assert list(zip(samples["input"], samples["target"], strict=True)) == expected
        assert "split" not in samples


def test_a_mask_next_to_its_image_is_found_from_where_the_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "streets/images/a.png", "streets/labels/a.png")
    monkeypatch.chdir(tmp_path)
    for root in ("streets", "./streets", tmp_path / "streets"):
        samples = mask_samples(
            root, "images", lambda image: str(image).replace("images", "labels"), "valid", by_folder=False
        )
        assert samples["target"].tolist() == [str(Path(root) / "labels" / "a.png")]


def test_folders_of_the_images_define_their_split(tmp_path: Path) -> None:
    tree(tmp_path, "images/train/a.png", "images/val/b.png", "images/test/c.png")
    tree(tmp_path, *(f"masks/{x}_mask.png" for x in "abc"))
    samples = mask_samples(tmp_path, "images", mask_of, "valid", by_folder=True)
    assert dict(zip([Path(name).stem for name in samples["input"]], samples["split"], strict=True)) == {
        "a": "train",
        "b": "valid",
        "c": "test",
    }


def test_images_without_a_mask_are_named(tmp_path: Path) -> None:
    tree(tmp_path, "images/a.png", "images/b.png", "masks/b_mask.png")
    with pytest.raises(MissingFileError, match=r"1 of 2 images have no mask, first .*a\.png -> .*a_mask\.png"):
        mask_samples(tmp_path, "images", mask_of, "valid", by_folder=False)
    with refused(f"masks: for {tmp_path}/images/a.png", got=None, expected="the path of its mask"):
        mask_samples(tmp_path, "images", lambda file: None, "valid", by_folder=False)  # type: ignore[arg-type, return-value]


def test_masks_need_images_and_a_validation_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no folder .*images"):
        mask_samples(tmp_path, "images", mask_of, "valid", by_folder=False)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="none of them an image of these kinds"):
        mask_samples(tmp_path, "images", mask_of, "valid", by_folder=False)
    tree(tmp_path, "images/train/a.png", "masks/a_mask.png")
    with pytest.raises(DataError, match=r"no images under .*images/valid.*valid_pct=0\.2"):
        mask_samples(tmp_path, "images", mask_of, "valid", by_folder=True)


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize("valid", ["valid", "val", "validation", "Validation"])
def test_splits_have_several_names(train: str, valid: str, tmp_path: Path) -> None:
    tree(tmp_path, f"{train}/cat/a.png", f"{valid}/cat/b.png", "images/train/x.png")
    assert [(label, split) for _, label, split in table(tmp_path)] == [("cat", "train"), ("cat", "valid")]
    tree(tmp_path, f"scenes/{train}/a.png", f"scenes/{valid}/b.png", "scenes/Test/c.png", "masks/m.png")
    masks = mask_samples(tmp_path, "scenes", lambda file: "masks/m.png", "valid", by_folder=True)
    assert sorted(zip(masks["input"].map(lambda name: Path(name).stem), masks["split"], strict=True)) == [
        ("a", "train"),
        ("b", "valid"),
        ("c", "test"),
    ]


def test_a_tree_without_a_validation_set(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "valid/cat/b.png", "scenes/train/a.png", "masks/m.png")
    samples = folder_samples(tmp_path, "train", None, None, by_folder=True)
    assert samples["split"].tolist() == ["train"]
    masks = mask_samples(tmp_path, "scenes", lambda file: "masks/m.png", None, by_folder=True)
    assert masks["split"].tolist() == ["train"]


@pytest.mark.parametrize("name", ["train", "val", "validation"])
def test_a_class_called_like_a_split_is_a_class(name: str, tmp_path: Path) -> None:
    tree(tmp_path, "bus/1.png", "car/2.png", f"{name}/3.png")
    assert sorted(label for _, label in table(tmp_path, by_folder=False)) == sorted(["bus", "car", name])


def test_a_class_called_test_is_named_by_classes(tmp_path: Path) -> None:
    tree(tmp_path, "bus/1.png", "car/2.png", "test/3.png")
    with pytest.warns(LearnkitWarning, match="the folder 'test' of .* is taken as a test set and left out; classes="):
        assert [label for _, label in table(tmp_path, by_folder=False)] == ["bus", "car"]
    every = folder_samples(tmp_path, "train", "valid", None, by_folder=False, classes=["bus", "car", "test"])
    assert every["target"].tolist() == ["bus", "car", "test"]
    assert [label for _, label in table(tmp_path, test="test", by_folder=False)] == ["bus", "car"]


def test_images_of_masks_outside_the_split_folders_are_left_out_with_a_word(tmp_path: Path) -> None:
    tree(tmp_path, "images/train/a.png", "images/valid/b.png", "images/old/c.png", "images/d.png", "masks/m.png")
    with pytest.warns(LearnkitWarning, match=r"left out: '\.', 'old'"):
        samples = mask_samples(tmp_path, "images", lambda file: "masks/m.png", "valid", by_folder=True)
    assert [Path(name).stem for name in samples["input"]] == ["a", "b"]


@pytest.mark.parametrize("test", [None, "test", "images/later"])
def test_test_images_stay_out_of_a_split_of_all_masks(test: str | None, tmp_path: Path) -> None:
    tree(tmp_path, "images/train/a.png", "images/test/b.png", "images/later/c.png", "images/d.png", "masks/m.png")
    samples = mask_samples(tmp_path, "images", lambda file: "masks/m.png", "valid", by_folder=False, test=test)
    assert [Path(name).stem for name in samples["input"]] == ["d", *(["c"] if test != "images/later" else []), "a"]


def test_suffixes_name_the_images(tmp_path: Path) -> None:
    for name in ("train/cat/a.npy", "valid/cat/b.NPY", "images/train/c.npy", "images/valid/d.npy", "masks/m.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    kinds = [".npy"]
    assert len(folder_samples(tmp_path, "train", "valid", None, by_folder=True, suffixes=kinds)) == 2
    masks = mask_samples(tmp_path, "images", lambda file: "masks/m.png", "valid", by_folder=True, suffixes=kinds)
    assert len(masks) == 2
    with pytest.raises(DataError, match=r"There are \d \.npy, 1 \.png|suffixes="):
        folder_samples(tmp_path / "train", "train", "valid", None, by_folder=False)
