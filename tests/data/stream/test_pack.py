"""Packing images as streams."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from learnkit import ImageDataBunch, MultiLabel, Points, Segmentation, pack
from learnkit.data.stream.items import StreamItems
from learnkit.distributed.world import world
from learnkit.errors import DataError, ImageError, UsageError, WrongTypeError
from tests.doubles import refused


def items_of(folder: Path) -> list[tuple[bytes, object, str]]:
    items = StreamItems(folder, "train")
    found = map(items.__getitem__, range(len(items)))
    return [(items.part(item, 0), items.part(item, 1), items.part(item, 2).decode()) for item in found]


def gray(value: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.fromarray(np.full(size, value, dtype=np.uint8))


def test_the_bytes_of_the_files_are_packed_with_their_labels_and_names(class_folder: Path, tmp_path: Path) -> None:
    packed = pack(class_folder, tmp_path / "out", chunk_bytes="4KB")
    assert packed.folder == tmp_path / "out"
    assert packed.sizes == {"train": 24, "valid": 12}
    assert packed.skipped.empty
    for split, n in packed.sizes.items():
        items = items_of(packed.folder / split)
        assert len(items) == n == len({name for _, _, name in items})
        assert len(list((packed.folder / split).glob("chunk-*.bin"))) > 1
        for image, label, name in items:
            file = class_folder / name
            assert file.parent.parent.name == split
            assert image == file.read_bytes()
            assert json.loads(str(label)) == file.parent.name


def test_training_items_are_shuffled_by_the_seed_and_the_others_stay_in_order(
    class_folder: Path, tmp_path: Path
) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=8)
    orders = {seed: items_of(pack(dls, tmp_path / str(seed), seed=seed).folder / "train") for seed in (1, 2)}
    again = items_of(pack(dls, tmp_path / "again", seed=1).folder / "train")
    assert again == orders[1]
    assert orders[1] != orders[2]
    assert sorted(orders[1]) == sorted(orders[2])
    valid = [name for _, _, name in items_of(tmp_path / "1" / "valid")]
    expected = dls.samples.query("split == 'valid'")["input"]
    assert valid == [Path(one).relative_to(class_folder).as_posix() for one in expected]
    labels = [label for _, label, _ in orders[1]]
    assert labels != sorted(labels)  # a chunk holds several classes


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    images = [gray(i) for i in range(4)]
    table = pd.DataFrame(
        {"input": images, "target": [["a"], [], ["a", "b"], ["b", "a"]], "split": ["train"] * 3 + ["valid"]}
    )
    dls = ImageDataBunch.from_samples(table, size=8, bs=2, task=MultiLabel(("a", "b")))
    pack(dls, tmp_path / "labels")
    labels = {name: json.loads(str(label)) for _, label, name in items_of(tmp_path / "labels" / "train")}
    assert labels == {"input[0]": ["a"], "input[1]": [], "input[2]": ["a", "b"]}
    table["target"] = [0.1, 1 / 3, -2.5, 4.0]
    dls = ImageDataBunch.from_samples(table, size=8, bs=2, task="regression")
    pack(dls, tmp_path / "numbers")
    numbers = {name: json.loads(str(label)) for _, label, name in items_of(tmp_path / "numbers" / "train")}
    assert numbers == {"input[0]": 0.1, "input[1]": 1 / 3, "input[2]": -2.5}


def test_a_folder_may_be_packed_from_within(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(class_folder, tmp_path / "outside")
    monkeypatch.chdir(class_folder)
    pack(".", tmp_path / "within")
    for split in ("train", "valid"):
        assert items_of(tmp_path / "within" / split) == items_of(tmp_path / "outside" / split)


def test_images_without_files_are_packed_without_loss(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colors).save(file, "JPEG")
    images = [
        colors,
        torch.from_numpy(colors).permute(2, 0, 1),
        Image.fromarray(colors),
        colors[..., 0],
        file.getvalue(),
    ]
    train = [(image, name) for image, name in zip(images, "ababa", strict=True)]
    dls = ImageDataBunch.from_datasets(train, train[:2], size=8, bs=2, allow_leak=True)
    pack(dls, tmp_path / "out")
    found = {name: image for image, _, name in items_of(tmp_path / "out" / "train")}
    for name in ("train[0]", "train[1]", "train[2]"):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(found[name]))), colors)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(found["train[3]"]))), colors[..., 0])
    assert found["train[4]"] == file.getvalue()


def test_masks_are_packed_as_their_files_and_points_as_numbers(tmp_path: Path) -> None:
    for split, n in (("train", 3), ("valid", 1)):
        for i in range(n):
            for kind in ("images", "masks"):
                path = tmp_path / "set" / kind / split / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                gray(i % 2 if kind == "masks" else 9 * i).save(path)
    dls = ImageDataBunch.from_folder_masks(
        tmp_path / "set", masks=lambda path: Path(str(path).replace("images", "masks")), codes=["a", "b"], size=8, bs=2
    )
    pack(dls, tmp_path / "masks")
    for _, mask, name in items_of(tmp_path / "masks" / "train"):
        assert mask == (tmp_path / "set" / name.replace("images", "masks")).read_bytes()
    index = StreamItems(tmp_path / "masks" / "valid", "valid").index
    assert index is not None
    assert index.task == Segmentation(["a", "b"])

    table = pd.DataFrame({"input": [gray(i) for i in range(3)], "target": [((1.0, 2.0), (float("nan"), 3.0))] * 3})
    points = ImageDataBunch.from_samples(
        table.assign(split=["train", "train", "valid"]), size=8, bs=2, task=Points(["eye", "nose"])
    )
    pack(points, tmp_path / "points")
    (first, second) = json.loads(str(items_of(tmp_path / "points" / "train")[0][1]))
    assert first == [1.0, 2.0]
    assert np.isnan(second).all()  # a point of which one coordinate is missing is missing


def test_an_image_that_cannot_be_read_is_named_and_nothing_is_left(class_folder: Path, tmp_path: Path) -> None:
    bad = class_folder / "train" / "green" / "3.png"
    bad.write_bytes(bad.read_bytes()[:-40])
    (tmp_path / "new").mkdir()
    with pytest.raises(ImageError, match=r"green.3\.png"):
        pack(class_folder, tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []
    packed = pack(class_folder, tmp_path / "new" / "out", on_error="skip")
    assert packed.sizes == {"train": 23, "valid": 12}
    assert packed.skipped["input"].tolist() == [str(bad)]
    assert packed.skipped["split"].tolist() == ["train"]
    assert "cannot be read" in packed.skipped["error"][0]
    assert len(items_of(packed.folder / "train")) == 23


def test_a_set_of_which_no_image_can_be_read_is_refused(class_folder: Path, tmp_path: Path) -> None:
    for file in class_folder.glob("valid/*/*.png"):
        file.write_bytes(b"\0")
    with pytest.raises(DataError, match="no image of the valid set can be read"):
        pack(class_folder, tmp_path / "out", on_error="skip")


def test_a_folder_that_exists_is_never_written_to(class_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with refused("out"):
        pack(class_folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_packed_is_refused(class_folder: Path, tmp_path: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=8)
    with refused("data", WrongTypeError):
        pack([1], tmp_path / "out")
    with refused("options beside a bunch"):
        pack(dls, tmp_path / "out", size=8)
    with refused("on_error"):
        pack(dls, tmp_path / "out", on_error="ignore")  # type: ignore[arg-type]
    reads = ImageDataBunch.from_folder(class_folder, size=24, bs=8, reader=lambda path: np.zeros((24, 24, 3), np.uint8))
    with pytest.raises(UsageError, match="a bunch with a reader"):
        pack(reads, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["abc", "64", "64XB", "0MB", 0, -1, 1.5, None])
def test_a_size_that_is_none_is_refused(class_folder: Path, tmp_path: Path, size: Any) -> None:
    with pytest.raises(UsageError, match=f"chunk_bytes: got {size!r}, expected a number of bytes above 0"):
        pack(class_folder, tmp_path / "out", chunk_bytes=size)
    assert list(tmp_path.glob("*out*")) == []


def test_several_processes_do_not_pack(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(world), "size", 2)
    with refused("pack"):
        pack(class_folder, tmp_path / "out")


def test_a_test_set_without_labels(class_folder: Path, tmp_path: Path) -> None:
    (class_folder / "test").mkdir()
    gray(1).save(class_folder / "test" / "x.png")
    packed = pack(class_folder, tmp_path / "out", test="test")
    assert packed.sizes == {"train": 24, "valid": 12, "test": 1}
    index = StreamItems(packed.folder / "test", "test").index
    assert index is not None
    assert not index.is_labeled
