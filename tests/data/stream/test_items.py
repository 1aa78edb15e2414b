"""Items of a litdata stream by number."""

import json
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from learnkit.data.stream.items import StreamItems, _opened, open_streams, require_litdata
from learnkit.errors import DataError, ImageError, MissingFileError, WrongTypeError
from tests.data.stream.streams import written

# litdata leaves files of copied chunks to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """Items {"image": ..., "label": i} for i from 0 to 9, in chunks of 4, 4 and 2."""
    return written(tmp_path / "stream", [{"image": bytes([i] * 5), "label": i} for i in range(10)])


def test_items_by_number(stream: Path) -> None:
    items = StreamItems(stream, "train")
    assert len(items) == 10
    assert items.sizes == [4, 4, 2]
    assert [items[i]["label"] for i in (9, 0, 4, 3)] == [9, 0, 4, 3]
    image = items.part(items[7], "image")
    assert type(image) is bytes
    assert image == b"\7" * 5
    assert items.index is None
    assert not items.may_draw


def test_a_remote_stream_is_copied_chunk_by_chunk(stream: Path, tmp_path: Path) -> None:
    import litdata

    kept = tmp_path / "kept"
    dataset = litdata.StreamingDataset(f"local:{stream}", cache_dir=str(kept))  # litdata treats it as it does a URL
    items = StreamItems(dataset, "train")
    assert items[5]["label"] == 5
    copies = [path.name for path in kept.rglob("chunk-*.bin")]
    assert copies == ["chunk-0-1.bin"]
    assert [items[i]["label"] for i in range(10)] == list(range(10))


def test_a_dataset_of_the_user_keeps_its_transform_and_its_subsample(stream: Path) -> None:
    import litdata

    dataset = litdata.StreamingDataset(str(stream), transform=lambda item: {**item, "label": -item["label"]})
    assert [StreamItems(dataset, "train")[i]["label"] for i in (2, 8)] == [-2, -8]
    assert StreamItems(dataset, "train").may_draw
    first, second = litdata.train_test_split(litdata.StreamingDataset(str(stream)), splits=[0.6, 0.4])
    parts = [StreamItems(part, "train") for part in (first, second)]
    found = [[part[i]["label"] for i in range(len(part))] for part in parts]
    assert [len(one) for one in found] == [6, 4]
    assert sorted(found[0] + found[1]) == list(range(10))


def test_each_process_opens_the_stream_itself(stream: Path) -> None:
    items = StreamItems(stream, "train")
    assert items[1]["label"] == 1
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(items.__getitem__, [9, 0], chunksize=1)[0]["label"] == 9
    assert pickle.loads(pickle.dumps(items))[3]["label"] == 3


def test_about_changes_with_the_data(stream: Path, tmp_path: Path) -> None:
    import litdata

    items = StreamItems(stream, "train")
    assert items.about() == StreamItems(f"local:{stream}", "train").about()
    other = written(tmp_path / "other", [{"image": b"12345", "label": i} for i in range(11)])
    half = litdata.StreamingDataset(str(stream), subsample=0.5)
    assert len({items.about(), StreamItems(other, "train").about(), StreamItems(half, "train").about()}) == 3


def test_a_missing_part_is_named(stream: Path) -> None:
    items = StreamItems(stream, "valid")
    with pytest.raises(DataError, match=r"valid: .* no part 'jpg'; it has the keys image, label"):
        items.part(items[0], "jpg")
    with pytest.raises(DataError, match="it has 2 parts"):
        items.part((1, 2), 5)
    with pytest.raises(DataError, match="it has one int"):
        items.part(3, "image")


def test_what_is_no_stream_is_refused(tmp_path: Path) -> None:
    for where in (tmp_path / "none", f"local:{tmp_path}/none", tmp_path):
        with pytest.raises(MissingFileError, match=r"no stream at .*learnkit.pack"):
            StreamItems(where, "train")
    with pytest.raises(WrongTypeError, match="valid: got 'list', expected the folder"):
        StreamItems([1, 2], "valid")


def test_an_error_without_words_is_named_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(url: str) -> None:
        raise AssertionError

    monkeypatch.setattr("litdata.StreamingDataset", fails)
    with pytest.raises(MissingFileError, match=r"no stream at here \(AssertionError\)"):
        _opened(require_litdata(), "here")


def test_a_chunk_that_is_gone_is_an_error_of_the_item(stream: Path) -> None:
    items = StreamItems(stream, "train")
    os.remove(stream / "chunk-0-1.bin")
    assert items[0]["label"] == 0
    with pytest.raises(ImageError, match=r"train\[5\]: the stream cannot read it"):
        items[5]


def test_streams_of_each_split(stream: Path, tmp_path: Path) -> None:
    valid = written(tmp_path / "valid", [{"label": 1}])
    streams = open_streams(stream, valid, None)
    assert {split: len(items) for split, items in streams.items()} == {"train": 10, "valid": 1}


def test_a_stream_without_items_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "stream", [{"label": 1}])
    content: dict[str, Any] = json.loads((folder / "index.json").read_text())
    content["chunks"] = []
    (folder / "index.json").write_text(json.dumps(content))
    with pytest.raises(MissingFileError, match="No chunks"):
        StreamItems(folder, "train")
