"""Datasets of Hugging Face on the path of files: unusual and damaged images, masks, and processes that read them."""

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner, LearnkitWarning, Segmentation, pack
from learnkit.errors import DataError, ImageError, UsageError, WrongTypeError
from learnkit.splits import StratifiedSplit
from tests.doubles import refused

SMALL: dict[str, Any] = {"size": 16, "bs": 4, "num_workers": 0}
CODES = {0: "ground", 255: "box"}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(i: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8))


def rotated(i: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(photo(i), "JPEG", exif=exif)


def sixteen_bit(i: int) -> bytes:
    pixels = np.random.default_rng(i).integers(0, 65536, (40, 60)).astype(np.uint16)
    return encoded(Image.fromarray(pixels), "PNG")


KINDS: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda i: encoded(photo(i), "JPEG"),
    "large JPEG": lambda i: encoded(photo(i).resize((640, 480)), "JPEG"),
    "rotated by EXIF": rotated,
    "16 bits": sixteen_bit,
    "palette": lambda i: encoded(photo(i).quantize(16), "PNG"),
    "transparent": lambda i: encoded(Image.merge("RGBA", (*photo(i).split(), photo(i).split()[0])), "PNG"),
    "CMYK": lambda i: encoded(photo(i).convert("CMYK"), "TIFF"),
    "WebP": lambda i: encoded(photo(i), "WEBP"),
    "animated": lambda i: encoded(photo(i), "GIF", save_all=True, append_images=[photo(i + 1)]),
}


def table_of(images: list[Any], labels: list[Any] | None = None) -> datasets.Dataset:
    rows = {"image": images, "label": labels or [f"class {i % 2}" for i in range(len(images))]}
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("augment", [False, True])
def test_images_of_every_kind_are_what_they_are_in_files(kind: str, augment: bool, tmp_path: Path) -> None:
    contents = [KINDS[kind](i) for i in range(8)]
    files = [tmp_path / str(i) for i in range(8)]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    options = {**SMALL, "augment": augment, "split": lambda samples: np.arange(len(samples)) > 5}
    labels = [f"class {i % 2}" for i in range(8)]
    theirs = ImageDataBunch.from_samples(pd.DataFrame({"input": list(map(str, files)), "target": labels}), **options)
    of_bytes, of_files = table_of(contents, labels), table_of(list(map(str, files)), labels)
    for dataset in (of_bytes, of_files):
        ours = ImageDataBunch.from_hf(dataset, **options)
        for name in ("train_dl", "valid_dl"):
            for dls in (ours, theirs):
                getattr(dls, name).seed_epoch(1, 0)
            for one, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
                assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert ImageDataBunch.from_hf(of_files, **options).samples["input"].tolist() == list(map(str, files))


def test_what_cannot_be_read_names_its_split_and_row_and_can_be_left_out() -> None:
    contents = [KINDS["JPEG"](i) for i in range(8)]
    contents[3] = contents[3][: len(contents[3]) // 2]
    contents[5] = b"no image"
    tables = datasets.DatasetDict(train=table_of(contents), validation=table_of([*contents[:2], None]))
    dls = ImageDataBunch.from_hf(tables, **SMALL)
    with pytest.raises(ImageError, match=r"train\[3\] \(class class 1, row 3\)|train\[5\] \(class class 1, row 5\)"):
        list(dls.fix_dl)
    with pytest.raises(ImageError, match=r"validation\[2\]: column 'image' is empty"):
        list(dls.valid_dl)
    with pytest.warns(LearnkitWarning, match=r"3 of 11 items cannot be read") as warned:
        skipping = ImageDataBunch.from_hf(tables, on_error="skip", **SMALL)
    assert "given bytes, train[5] cannot be read as an image" in str(warned[0].message)
    assert list(map(str, skipping.skipped["input"])) == ["train[3]", "train[5]", "validation[2]"]
    assert [len(x) for x, _ in skipping.valid_dl] == [2]
    with pytest.raises(UsageError, match="images are read by the reader"):
        list(ImageDataBunch.from_hf(tables, reader=np.load, **SMALL).fix_dl)


def test_rows_are_dropped_relabeled_and_packed(tmp_path: Path) -> None:
    table = table_of([KINDS["JPEG"](i) for i in range(10)])
    dls = ImageDataBunch.from_hf(table, **SMALL, augment=False, split=StratifiedSplit(0.2))
    assert [str(one) for one in dls.drop(["dataset[4]"]).samples["input"]] == [
        str(one) for one in dls.samples["input"] if str(one) != "dataset[4]"
    ]
    again = dls.relabel(pd.DataFrame({"input": ["dataset[2]"], "target": ["class 1"]})).samples
    assert again[[str(one) == "dataset[2]" for one in again["input"]]]["target"].tolist() == ["class 1"]
    pack(dls, tmp_path / "packed")
    packed = ImageDataBunch.from_stream(tmp_path / "packed", **SMALL, augment=False)
    assert torch.equal(packed.one_batch("valid")[0], dls.one_batch("valid")[0])


# Masks


def boxes(n: int) -> tuple[list[bytes], list[bytes]]:
    images, masks = [], []
    for i in range(n):
        mask = np.zeros((20, 24), np.uint8)
        mask[i : i + 8, 4:13] = 255
        images.append(encoded(Image.fromarray(np.repeat(mask[..., None] // 2 + 60, 3, 2)), "PNG"))
        masks.append(encoded(Image.fromarray(mask), "PNG"))
    return images, masks


def mask_table(images: list[Any], masks: list[Any]) -> datasets.Dataset:
    features = datasets.Features(image=datasets.Image(), mask=datasets.Image())
    return datasets.Dataset.from_dict({"image": images, "mask": masks}, features=features)


@pytest.mark.parametrize("kept", ["bytes", "files"])
def test_masks_are_those_of_files(kept: str, tmp_path: Path) -> None:
    images, masks = boxes(8)
    for folder, contents in (("images", images), ("masks", masks)):
        (tmp_path / folder).mkdir()
        for i, content in enumerate(contents):
            (tmp_path / folder / f"{i}.png").write_bytes(content)
    if kept == "files":
        images, masks = ([str(tmp_path / folder / f"{i}.png") for i in range(8)] for folder in ("images", "masks"))  # type: ignore[misc]
    options = {**SMALL, "valid_pct": 0.25, "seed": 3}
    ours = ImageDataBunch.from_hf(mask_table(images, masks), label="mask", task=Segmentation(CODES), **options)
    theirs = ImageDataBunch.from_folder_masks(
        tmp_path, "images", lambda image: tmp_path / "masks" / image.name, CODES, **options
    )
    learners = []
    for dls in (ours, theirs):
        torch.manual_seed(0)
        learners.append(Learner(dls, nn.Conv2d(3, 2, 3, padding=1), metrics="default", seed=0))
        learners[-1].fit(2, 1e-2)
    assert learners[0].recorder.losses == learners[1].recorder.losses
    assert learners[0].validate() == learners[1].validate()
    assert ours.show_batch(2).axes
    assert torch.equal(learners[0].interpret().confusion_matrix(), learners[1].interpret().confusion_matrix())
    assert len(ours.folds(2)[0].train_ds) == 4
    pack(ours, tmp_path / "packed")
    packed = ImageDataBunch.from_stream(tmp_path / "packed", **SMALL)
    assert all(torch.equal(a, b) for a, b in zip(packed.one_batch("valid"), ours.one_batch("valid"), strict=True))
    if kept == "bytes":
        with pytest.raises(UsageError, match="cache='disk' is of files"):
            ImageDataBunch.from_hf(
                mask_table(images, masks), label="mask", task=Segmentation(CODES), cache="disk", **options
            )


def test_masks_that_do_not_fit_name_their_row() -> None:
    images, masks = boxes(6)
    masks[2] = encoded(Image.new("L", (5, 5)), "PNG")
    with pytest.raises(DataError, match=r"dataset.mask\[2\] \(row 2\): a mask of 5 x 5 pixels"):
        ImageDataBunch.from_hf(mask_table(images, masks), label="mask", task=Segmentation(CODES), **SMALL)
    masks[2] = encoded(Image.new("L", (24, 20), 7), "PNG")
    with pytest.raises(DataError, match=r"dataset.mask\[2\].*7"):
        ImageDataBunch.from_hf(mask_table(images, masks), label="mask", task=Segmentation(CODES), **SMALL)
    reading = Segmentation(CODES, mask_reader=np.load)
    with pytest.raises(UsageError, match=r"mask_reader reads files, and dataset.mask\[0\] has none"):
        ImageDataBunch.from_hf(mask_table(images, masks), label="mask", task=reading, **SMALL)


# Other processes, and other ways in

SCRIPT = """
import multiprocessing, sys, torch, datasets
from learnkit import ImageDataBunch

def batches(workers):
    dls = ImageDataBunch.from_hf(datasets.load_from_disk(sys.argv[1]), size=16, bs=4, num_workers=workers)
    dls.train_dl.seed_epoch(0, 1)
    return torch.cat([x for x, _ in dls.train_dl])

if __name__ == "__main__":
    expected = batches(0)
    for method in ("fork", "spawn"):
        multiprocessing.set_start_method(method, force=True)
        assert torch.equal(batches(1), expected), method
"""


def test_a_table_on_a_disk_stays_there(tmp_path: Path) -> None:
    table_of([KINDS["large JPEG"](i) for i in range(20)]).save_to_disk(tmp_path / "table")
    dls = ImageDataBunch.from_hf(datasets.load_from_disk(tmp_path / "table"), **SMALL)
    assert sum(file.stat().st_size for file in (tmp_path / "table").glob("*.arrow")) > 1_000_000
    sent = pickle.dumps(dls.train_ds)
    assert len(sent) < 20_000
    assert torch.equal(pickle.loads(sent).batch([0, 3])[0], dls.train_ds.batch([0, 3])[0])


@pytest.mark.slow
def test_forked_and_spawned_workers_read_the_same(tmp_path: Path) -> None:
    table_of([KINDS["JPEG"](i) for i in range(20)]).save_to_disk(tmp_path / "table")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "table"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_other_factories_say_where_they_belong() -> None:
    images = [KINDS["JPEG"](i) for i in range(6)]
    table = table_of(images)
    with pytest.raises(DataError, match=r"items are dicts with the keys image, label.*ImageDataBunch.from_hf takes"):
        ImageDataBunch.from_datasets(table)
    for bunch in (ImageDataBunch, DataBunch):
        with pytest.raises(WrongTypeError, match=r"train: got DatasetDict.*ImageDataBunch.from_hf takes"):
            bunch.from_datasets(datasets.DatasetDict(train=table))
    with refused("train: items are PIL images", DataError, expected="tensors or arrays"):
        DataBunch.from_datasets(table, inputs="image", target="label")


def test_structs_in_a_frame_are_images() -> None:
    images = [KINDS["JPEG"](i) for i in range(6)]
    frame = table_of(images).to_pandas()
    options = {**SMALL, "fn_col": "image", "label_col": "label", "augment": False, "split": StratifiedSplit(0.34)}
    assert set(frame["image"][0]) == {"bytes", "path"}
    ours = ImageDataBunch.from_df(".", frame, **options)
    theirs = ImageDataBunch.from_df(".", frame.assign(image=pd.Series(images, dtype=object)), **options)
    assert torch.equal(ours.one_batch("valid")[0], theirs.one_batch("valid")[0])
