"""A set on the device: what it holds, what it refuses, and that images are decoded once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit import Classification
from learnkit.data.augment.presize import Presize
from learnkit.data.image import device_store
from learnkit.data.image.dataset import ImageDataset
from learnkit.data.image.device_store import DeviceStore, check_item_stage, store_on_device
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.errors import DataError, ImageError, OutOfMemoryError, UsageError
from learnkit.transforms import OnItem, RandomResizedCrop

CPU, N = torch.device("cpu"), 5


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = [str(tmp_path / f"{i}.png") for i in range(N)]
    numbers = np.random.default_rng(0)
    for name in names:
        Image.fromarray(numbers.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(name)
    return names


def dataset(inputs: Any, *, item_stage: Any = (), reader: Any = None) -> ImageDataset:
    labels = ["ab"[i % 2] for i in range(len(inputs))]
    preprocess = Preprocess(Resize((6, 8)), None, reader=reader)
    return ImageDataset(inputs, labels, Classification(("a", "b")), preprocess, item_stage=item_stage)


@pytest.mark.parametrize("chunk", [128, 2])
def test_it_holds_what_the_dataset_decodes(files: list[str], chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_store, "CHUNK", chunk)
    data = dataset(files)
    store = store_on_device(data, CPU)
    assert store.size == (6, 8)
    for ours, theirs in zip(store.batch(torch.tensor([3, 1, 3])), data.batch([3, 1, 3]), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype
        assert ours.is_contiguous()


def test_a_batch_may_be_overwritten(files: list[str]) -> None:
    store = store_on_device(dataset(files), CPU)
    before = [part.clone() for part in store.parts]
    for part in store.batch(torch.arange(N)):
        part.zero_()
    assert all(map(torch.equal, store.parts, before))


def test_images_for_a_presize_are_kept_in_its_size(files: list[str]) -> None:
    assert store_on_device(dataset(files, item_stage=[Presize(10)]), CPU).size == (10, 10)


@pytest.mark.parametrize("bad", [OnItem(lambda x: x), RandomResizedCrop(8)])
def test_transforms_of_single_images_are_refused_with_what_to_use(bad: Any) -> None:
    check_item_stage([Presize(10)])
    with pytest.raises(UsageError, match=r"cache='device' keeps images.* Use cache='memory'"):
        check_item_stage([Presize(10), bad])


def test_a_set_that_does_not_fit_is_refused_with_its_size(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    room = N * 6 * 8 * 3 * 10 // 9
    monkeypatch.setattr(device_store, "free_memory", lambda device: room + 1)  # a tenth stays free
    store_on_device(dataset(files), CPU)
    monkeypatch.setattr(device_store, "free_memory", lambda device: room - 10)
    with pytest.raises(OutOfMemoryError, match=r"5 items of 0\.1 kB need .* free on cpu .*cache='memory'"):
        store_on_device(dataset(files), CPU)


def test_an_image_that_cannot_be_read_is_named(files: list[str]) -> None:
    Path(files[3]).write_bytes(b"")
    with pytest.raises(ImageError, match=r"3\.png"):
        store_on_device(dataset(files), CPU)


def test_readers_of_several_types_are_refused(files: list[str]) -> None:
    def reader(file: str) -> Any:
        return np.zeros((6, 8, 3), np.float32 if file == files[3] else np.uint8)

    with pytest.raises(DataError, match="dtype of item 3"):
        store_on_device(dataset(files, reader=reader), CPU)


def test_images_of_several_sizes_are_refused(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(files)
    decode = data.decode
    monkeypatch.setattr(data, "decode", lambda i, bound: (decode(i, bound)[0][i // 4 :],))
    with pytest.raises(DataError, match=r"shape of item 4: got \(3, 5, 8\), expected \(3, 6, 8\)"):
        store_on_device(data, CPU)


def test_parts_are_of_one_device() -> None:
    store = DeviceStore([torch.zeros(4, 3, 2, 5, device="meta")])
    assert (store.device.type, store.size) == ("meta", (2, 5))
