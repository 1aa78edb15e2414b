"""Data sets of images: one by one and in batches, from files and from caches, it is the same."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from learnkit.data.home import home
from learnkit.data.image.cache import Kind
from learnkit.data.image.crops import RandomResizedCrop
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.read import full_depth
from learnkit.data.image.resize import Method, Resize
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification
from learnkit.errors import DataError, ImageError, LearnkitWarning, UsageError

KINDS: tuple[Kind, ...] = ("memory", "disk")
FORMS = ("plain", "crop", "masks", "masks and crop")
N = 6


def smooth(height: int, width: int, index: int) -> npt.NDArray[np.uint8]:
    y, x = np.indices((height, width))
    return np.stack([(y * 3 + index) % 256, (x * 2) % 256, (x + y + 40 * index) % 256], axis=2).astype(np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Images of several sizes, and for each a mask: class 1 where red is above 60."""
    found = []
    for index in range(N):
        image = smooth(60 + 9 * index, 80 - 3 * index, index)
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        Image.fromarray((image[..., 0] > 60).astype(np.uint8)).save(tmp_path / f"mask-{index}.png")
        found.append(str(tmp_path / f"{index}.png"))
    return found


def dataset(files: list[str], form: str = "plain", size: int = 16, method: Method = "crop") -> ImageDataset:
    stage = [RandomResizedCrop((size, size))] if "crop" in form else []
    preprocess = Preprocess(Resize((size, size), method), None)
    if "masks" in form:
        masks = [os.path.join(os.path.dirname(file), f"mask-{os.path.basename(file)}") for file in files]
        return ImageDataset(files, masks, Segmentation(["low", "high"]), preprocess, item_stage=stage)
    labels = ["ant" if i % 2 else "bee" for i in range(len(files))]
    return ImageDataset(files, labels, Classification(("ant", "bee")), preprocess, item_stage=stage)


def assert_same(one: ImageDataset, other: ImageDataset) -> None:
    asked = [4, 0, 5, 0]
    batches: list[dict[str, int]] = [{}, {"seed": 3}, {"seed": 3, "epoch": 2}]
    for named in batches:
        for a, b in zip(one.batch(asked, **named), other.batch(asked, **named), strict=True):
            assert torch.equal(a, b)
    for index in range(len(one)):
        for a, b in zip(one[index], other[index], strict=True):
            assert torch.equal(a, b)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded from now on."""
    seen: list[str] = []
    stored = Preprocess.decode

    def counting(self: Preprocess, source: str, *arguments: Any, **named: Any) -> Any:
        seen.append(source)
        return stored(self, source, *arguments, **named)

    monkeypatch.setattr(Preprocess, "decode", counting)
    return seen


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_its_items(files: list[str], form: str) -> None:
    data = dataset(files, form)
    pixels, targets = data.batch([3, 1])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (2, 3, 16, 16))
    assert targets.shape == ((2, 16, 16) if "masks" in form else (2,))
    for place, index in enumerate((3, 1)):
        assert torch.equal(pixels[place], data[index][0])
        assert torch.equal(targets[place], data[index][1])
        assert torch.equal(pixels[place], data.preprocess.item(files[index]))  # as it is predicted


def test_a_set_without_labels_has_pixels_only(files: list[str]) -> None:
    for task in (None, Classification(("ant", "bee")), Segmentation(["a", "b"])):
        data = ImageDataset(files, None, task, Preprocess(Resize((8, 8)), None))
        assert [len(data[0]), len(data.batch([0, 1]))] == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_cache_changes_nothing(files: list[str], form: str, kind: Kind) -> None:
    kept = dataset(files, form)
    kept.keep(kind)
    assert kept.store is not None
    assert_same(kept, dataset(files, form))
    assert_same(pickle.loads(pickle.dumps(kept)), dataset(files, form))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_from_a_cache_nothing_is_decoded(
    files: list[str], form: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dataset(files, form)
    seen = counted(monkeypatch)
    first.keep(kind)
    assert sorted(seen) == files
    second = dataset(files, form) if kind == "disk" else first
    if kind == "disk":
        second.keep(kind)
    second.batch([0, 1, 2], seed=1)
    assert sorted(seen) == files


@pytest.mark.parametrize("form", ["crop", "masks and crop"])
def test_crops_depend_on_seed_epoch_and_item_alone(files: list[str], form: str) -> None:
    data = dataset([files[2]] * N, form)
    pixels, targets = data.batch(range(N), seed=1, epoch=1)
    for index in range(N):
        alone, alone_target = data.batch([index], seed=1, epoch=1)
        assert torch.equal(pixels[index], alone[0])
        assert torch.equal(targets[index], alone_target[0])
    others = [pixels, data.batch(range(N), seed=1, epoch=2)[0], data.batch(range(N), seed=2, epoch=1)[0]]
    assert len({tuple(image.flatten().tolist()) for batch in others for image in batch}) == 3 * N


@pytest.mark.parametrize("form", ["masks", "masks and crop"])
@pytest.mark.parametrize("method", ["crop", "squish", "pad"])
def test_masks_stay_with_their_images(files: list[str], form: str, method: Method) -> None:
    """Red runs from 0 to 255 with the rows and the mask says where it is above 60: so it does in what comes out."""
    data = dataset(files[:1], form, 48, method)
    for epoch in range(5):
        pixels, masks = data.batch([0], seed=0, epoch=epoch)
        red, mask = pixels[0, 0].int(), masks[0].bool()
        clear = (red - 60).abs() > 6
        assert torch.equal((red > 60)[clear], mask[clear])


def test_what_is_decoded_otherwise_has_a_cache_of_its_own(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    variants = [
        dataset(files), dataset(files, size=17), dataset(files, method="squish"), dataset(files, "crop"),
        dataset(files, "masks"), dataset(files[1:]),
    ]  # fmt: skip
    for n, data in enumerate(variants, start=1):
        before = len(seen)
        data.keep("disk")
        assert len(seen) - before == len(data)
        assert len(list((home() / "cache").iterdir())) == 2 * n


@pytest.mark.parametrize("form", ["plain", "masks"])
def test_a_changed_file_is_decoded_anew(files: list[str], form: str) -> None:
    dataset(files, form).keep("disk")
    name = Path(files[0]) if form == "plain" else Path(files[0]).with_name("mask-0.png")
    with Image.open(name) as image:
        changed = image.point(lambda level: 0)
    changed.save(name)
    os.utime(name, ns=(1, 1))
    kept = dataset(files, form)
    kept.keep("disk")
    assert kept[0][form == "masks"].max() == 0
    assert_same(kept, dataset(files, form))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_cannot_be_read_is_named_by_class_and_row(files: list[str], kind: Kind) -> None:
    Path(files[3]).write_bytes(Path(files[3]).read_bytes()[:60])
    data = dataset(files)
    data.rows = range(100, 106)
    for ask in (lambda: data.keep(kind), lambda: data[3], lambda: data.batch([0, 3])):
        with pytest.raises(ImageError, match=r"3\.png \(class ant, row 103\) cannot be read"):
            ask()
    assert not [name for name in home().rglob("*") if name.is_file()]


def test_an_image_too_large_for_memory_is_named(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*arguments: object, **named: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Preprocess, "decode", none_left)
    with pytest.raises(ImageError, match=r"0\.png \(class bee, row 0\) does not fit in memory"):
        dataset(files).batch([0])


def test_without_room_files_are_read_directly(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNKIT_HOME", files[0])  # a file, so no folder can be made below it
    data = dataset(files)
    with pytest.warns(LearnkitWarning, match="files are read directly"):
        data.keep("disk")
    assert data.store is None
    assert_same(data, dataset(files))


def test_a_reader_is_kept_in_memory_only(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040 + 15
    Image.fromarray(levels).save(tmp_path / "a.png")
    preprocess = Preprocess(Resize((8, 8)), None, 1, reader=full_depth)
    kept, fresh = (ImageDataset([str(tmp_path / "a.png")], None, None, preprocess) for _ in range(2))
    with pytest.raises(UsageError, match="cannot tell when a reader changes"):
        kept.keep("disk")
    kept.keep("memory")
    assert torch.equal(kept.batch([0])[0], fresh.batch([0])[0])
    assert kept.batch([0])[0].dtype == torch.float32


def test_a_reader_of_several_types_is_refused(tmp_path: Path) -> None:
    """Floats in a block of bytes would all become 0."""

    def read(file: str) -> npt.NDArray[Any]:
        return np.ones((8, 8, 2), np.uint8) if file == "a" else np.full((8, 8, 2), 0.5)

    data = ImageDataset(["a", "b"], None, None, Preprocess(Resize((8, 8)), None, 2, reader=read))
    for asked in ([0, 1], [1, 0]):
        with pytest.raises(DataError, match=r"[ab] is of .*, others of .*one type"):
            data.batch(asked)
    with pytest.raises(DataError, match="one type"):
        data.keep("memory")


@pytest.mark.parametrize("kind", ["ram", None])
def test_another_kind_of_cache_is_refused(files: list[str], kind: Any) -> None:
    with pytest.raises(UsageError, match="cache: got"):
        dataset(files).keep(kind)


def test_a_random_crop_is_of_the_size_and_first(files: list[str]) -> None:
    preprocess = Preprocess(Resize((16, 16)), None)
    with pytest.raises(UsageError, match=r"RandomResizedCrop: got \(8, 8\)"):
        ImageDataset(files, None, None, preprocess, item_stage=[RandomResizedCrop((8, 8))])
    with pytest.raises(UsageError, match="RandomResizedCrop first, and once"):
        ImageDataset(files, None, None, preprocess, item_stage=[RandomResizedCrop((16, 16))] * 2)
