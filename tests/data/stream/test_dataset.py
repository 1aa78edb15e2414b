"""The dataset of a stream of images."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learnkit import Classification, MultiLabel, Regression, Segmentation
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.stream.dataset import Parts, StreamDataset, label_of
from learnkit.data.stream.items import StreamItems
from learnkit.data.tasks import Task
from learnkit.errors import DataError, ImageError
from tests.data.stream.streams import written


def image(value: int) -> "np.ndarray[Any, Any]":
    return np.full((6, 6, 3), value, dtype=np.uint8)


def dataset(folder: Path, items: list[Any], task: Task) -> StreamDataset:
    parts = Parts("x", "y", "id")
    return StreamDataset(StreamItems(written(folder, items), "train"), parts, task, Preprocess(Resize((6, 6)), None))


@pytest.fixture
def images(tmp_path: Path) -> StreamDataset:
    items = [{"x": image(10 * i), "y": i % 2, "id": f"item {i}"} for i in range(9)]
    return dataset(tmp_path / "s", items, Classification(("a", "b")))


def test_items_and_batches(images: StreamDataset) -> None:
    assert len(images) == 9
    pixels, target = images[3]
    assert pixels.unique().tolist() == [30]
    assert target.item() == 1
    x, y = images.batch([8, 0, 5])
    assert x[:, 0, 0, 0].tolist() == [80, 0, 50]
    assert y.tolist() == [0, 0, 1]
    assert images.names[8] == "item 8"
    assert images.labels is not None
    assert list(images.labels)[:3] == ["a", "b", "a"]


def test_each_item_of_a_batch_is_read_once_and_chunk_by_chunk(
    images: StreamDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(
        StreamItems, "__getitem__", lambda self, i, real=StreamItems.__getitem__: (read.append(i), real(self, i))[1]
    )
    images.batch([8, 0, 5, 2])
    assert read == [0, 2, 5, 8]


def test_a_copy_in_another_process_reads_the_same(images: StreamDataset) -> None:
    copy = pickle.loads(pickle.dumps(images))
    assert all(map(torch.equal, copy.batch([1, 7]), images.batch([1, 7])))


def test_an_image_or_a_label_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    bad = [{"x": b"no image", "y": 0, "id": "bad.png"}, {"x": b"no image", "y": 5, "id": "other.png"}]
    images = dataset(tmp_path / "s", bad, Classification(("a", "b")))
    with pytest.raises(ImageError, match=r"bad\.png \(class a, row 0\)"):
        images.batch([0])
    with pytest.raises(DataError, match=r"other\.png \(train\[1\]\): label: got 5, expected a class index"):
        images.batch([1])
    masks = dataset(tmp_path / "m", [{"x": image(1), "y": 3, "id": "z"}], Segmentation(["a", "b"]))
    with pytest.raises(DataError, match="expected the bytes of a mask's file"):
        masks.batch([0])
    file = io.BytesIO()
    Image.fromarray(image(0)).save(file, "PNG")
    masks = dataset(tmp_path / "n", [{"x": file.getvalue(), "y": b"no mask", "id": "z"}], Segmentation(["a", "b"]))
    with pytest.raises(ImageError, match=r"z \(row 0\) cannot be read as an image"):
        masks.batch([0])


@pytest.mark.parametrize(
    ("raw", "task", "label"),
    [
        ("b", Classification(("a", "b")), "b"),
        (1, Classification(("a", "b")), "b"),
        (np.int64(0), Classification(("a", "b")), "a"),
        (torch.tensor(1), Classification(("a", "b")), "b"),
        (["b"], MultiLabel(("a", "b")), ["b"]),
        (np.array([0.0, 1.0]), MultiLabel(("a", "b")), ["b"]),
        ([], MultiLabel(("a", "b")), []),
        (0.5, Regression(), 0.5),
        (np.array([1.0, 2.0]), Regression(("x", "y")), [1.0, 2.0]),
    ],
)
def test_what_a_label_may_be(raw: Any, task: Task, label: Any) -> None:
    assert label_of(raw, task, "label") == label


@pytest.mark.parametrize("raw", ["a", 1, [0, 2], [1], [True, False, True], [0.5, 0.5]])
def test_what_no_list_of_labels_is(raw: Any) -> None:
    with pytest.raises(DataError, match="label"):
        label_of(raw, MultiLabel(("a", "b")), "label")
