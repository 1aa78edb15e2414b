"""The dataset of images: the same items one by one and in batches, from files and from caches."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from learnkit.data.augment.others import OnItem
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
from tests.doubles import refused

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
    stage = [RandomResizedCrop(size)] if "crop" in form else []
    preprocess = Preprocess(Resize((size, size), method), None)
    if "masks" in form:
        masks = [os.path.join(os.path.dirname(file), f"mask-{os.path.basename(file)}") for file in files]
        return ImageDataset(files, masks, Segmentation(["low", "high"], border="low"), preprocess, item_stage=stage)
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
def test_a_batch_is_made_of_its_items(files: list[str], form: str) -> None:
    data = dataset(files, form)
    pixels, targets = data.batch([3, 1])
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (2, 3, 16, 16))
    assert targets.shape == ((2, 16, 16) if "masks" in form else (2,))
    for place, index in enumerate((3, 1)):
        assert torch.equal(pixels[place], data[index][0])
        assert torch.equal(targets[place], data[index][1])
        assert torch.equal(pixels[place], data.preprocess.item(files[index]))  # as for prediction


def test_a_set_without_labels_has_only_pixels(files: list[str]) -> None:
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
def test_crops_depend_only_on_seed_epoch_and_item(files: list[str], form: str) -> None:
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
def test_masks_move_with_their_images(files: list[str], form: str, method: Method) -> None:
    """Red increases with the rows and the mask is 1 where it is above 60: in the outputs too."""
    data = dataset(files[:1], form, 48, method)
    for epoch in range(5):
        pixels, masks = data.batch([0], seed=0, epoch=epoch)
        red, mask = pixels[0, 0].int(), masks[0].bool()
        clear = (red - 60).abs() > 6
        assert torch.equal((red > 60)[clear], mask[clear])


def test_a_crop_creates_no_new_values_of_a_mask(files: list[str], tmp_path: Path) -> None:
    """Interpolating between the classes 0 and 2 would yield a 1."""
    checkers = np.indices((60, 80)).sum(0) % 2 * 2
    Image.fromarray(checkers.astype(np.uint8)).save(tmp_path / "checkers.png")
    task, stage = Segmentation(["a", "b", "c"]), [RandomResizedCrop((16, 16))]
    masks = [str(tmp_path / "checkers.png")]
    data = ImageDataset(files[:1], masks, task, Preprocess(Resize((16, 16)), None), item_stage=stage)
    for epoch in range(5):
        assert set(data.batch([0], seed=0, epoch=epoch)[1].unique().tolist()) == {0, 2}


def test_every_item_transform_is_seeded_by_seed_epoch_item_and_position(files: list[str]) -> None:
    seeds: list[int] = []

    def drawing(image: torch.Tensor) -> torch.Tensor:
        seeds.append(torch.initial_seed())
        return image

    preprocess = Preprocess(Resize((8, 8)), None)
    data = ImageDataset(files, None, None, preprocess, item_stage=[OnItem(drawing), OnItem(drawing)])
    for seed in (1, 2):
        for epoch in (0, 1):
            data.batch([0, 3], seed=seed, epoch=epoch)
    assert len(set(seeds)) == len(seeds) == 2 * 2 * 2 * 2
    data.batch([3], seed=2, epoch=1)
    assert seeds[-2:] == seeds[-4:-2]


def test_item_transforms_that_change_the_size_are_refused(files: list[str]) -> None:
    stage = [OnItem(lambda image: image[:, :4])]
    data = ImageDataset(files, None, None, Preprocess(Resize((8, 8)), None), item_stage=stage)
    with refused(f"augment: size of the images after {stage}", got=(4, 8), expected="the size of the bunch, (8, 8)"):
        data.batch([0], seed=0)
    assert data.batch([0])[0].shape == (1, 3, 8, 8)


def test_items_decoded_differently_have_separate_caches(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_changed_file_is_decoded_again(files: list[str], form: str) -> None:
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


def test_a_custom_reader_is_cached_only_in_memory(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040 + 15
    Image.fromarray(levels).save(tmp_path / "a.png")
    preprocess = Preprocess(Resize((8, 8)), None, 1, reader=full_depth)
    kept, fresh = (ImageDataset([str(tmp_path / "a.png")], None, None, preprocess) for _ in range(2))
    with pytest.raises(UsageError, match="cannot notice that a reader changed"):
        kept.keep("disk")
    kept.keep("memory")
    assert torch.equal(kept.batch([0])[0], fresh.batch([0])[0])
    assert kept.batch([0])[0].dtype == torch.float32


def test_a_reader_of_several_dtypes_is_refused(tmp_path: Path) -> None:
    """Floats written into an array of uint8 would all become 0."""

    def read(file: str) -> npt.NDArray[Any]:
        return np.ones((8, 8, 2), np.uint8) if file == "a" else np.full((8, 8, 2), 0.5)

    data = ImageDataset(["a", "b"], None, None, Preprocess(Resize((8, 8)), None, 2, reader=read))
    for asked in ([0, 1], [1, 0]):
        first, second = ("uint8", "float32") if asked == [0, 1] else ("float32", "uint8")
        with refused(f"dtype of {'ab'[asked[1]]}", DataError, got=second, expected=f"{first}, as of the others"):
            data.batch(asked)
    with pytest.raises(DataError, match=r"dtypes of item 1: .*one dtype for all files"):
        data.keep("memory")


@pytest.mark.parametrize("kind", ["ram", None])
def test_an_unknown_kind_of_cache_is_refused(files: list[str], kind: Any) -> None:
    with refused("cache", got=kind):
        dataset(files).keep(kind)


def test_a_random_crop_has_the_size_of_the_bunch_and_comes_first(files: list[str]) -> None:
    preprocess = Preprocess(Resize((16, 16)), None)
    with refused("RandomResizedCrop", got=(8, 8)):
        ImageDataset(files, None, None, preprocess, item_stage=[RandomResizedCrop((8, 8))])
    with refused("augment", expected="RandomResizedCrop first, and once"):
        ImageDataset(files, None, None, preprocess, item_stage=[RandomResizedCrop((16, 16))] * 2)


def test_other_transforms_of_the_same_items_keep_what_is_decoded_alike(files: list[str]) -> None:
    plain = dataset(files)
    plain.keep("memory")
    cropped = plain.staged([RandomResizedCrop((16, 16))])
    assert cropped.store is None  # a crop is taken from a larger image
    assert torch.equal(cropped.batch([1, 0], 3, 4)[0], dataset(files, "crop").batch([1, 0], 3, 4)[0])
    inverted = plain.staged([OnItem(lambda x: 255 - x)])
    assert inverted.store is plain.store
    assert torch.equal(inverted.batch([0], 3)[0], 255 - plain.batch([0])[0])
    assert plain.item_stage == []
