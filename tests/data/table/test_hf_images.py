"""Images in a column of a Hugging Face dataset: files, bytes and arrays, none of them decoded."""

import io
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from learnkit.data.image.sources import HeldImage, opened
from learnkit.data.table.hf_images import hf_sources, inner_feature, is_image_feature
from learnkit.errors import DataError, ImageError

PIXELS = [np.full((5, 6, 3), i, np.uint8) for i in range(4)]


def encoded(i: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS[i]).save(file, "PNG")
    return file.getvalue()


BYTES = [encoded(i) for i in range(4)]
STRUCTS = [{"bytes": content, "path": None} for content in BYTES]
FEATURE = datasets.Image()


def table(cells: list[Any], feature: Any = None, name: str = "image") -> datasets.Dataset:
    features = None if feature is None else datasets.Features({name: feature})
    return datasets.Dataset.from_dict({name: cells}, features=features).add_column("other", range(len(cells)))


TABLES = {
    "images": table(STRUCTS, FEATURE),
    "images not decoded": table(STRUCTS, datasets.Image(decode=False)),
    "structs": table(STRUCTS),
    "PIL": table([Image.fromarray(pixels) for pixels in PIXELS]),
    "bytes": table(BYTES),
    "large bytes": table(BYTES, datasets.Value("large_binary")),
    "formatted": table(STRUCTS, FEATURE).with_format("torch"),
    "called otherwise": table(STRUCTS, FEATURE, "a.b"),
}


@pytest.mark.parametrize("name", TABLES)
def test_bytes_stay_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TABLES[name]
    monkeypatch.setattr(datasets.Image, "decode_example", lambda *_: pytest.fail("an image was decoded"))
    sources = hf_sources(dataset, dataset.column_names[0], "train")
    assert all(isinstance(one, HeldImage) for one in sources)
    assert [opened(one) for one in sources] == BYTES
    assert [str(one) for one in sources] == ["train[0]", "train[1]", "train[2]", "train[3]"]
    assert opened(pickle.loads(pickle.dumps(sources[2]))) == BYTES[2]


def test_some_rows_in_their_order() -> None:
    some = table(STRUCTS, FEATURE).select([3, 1])
    assert [opened(one) for one in hf_sources(some, "image", "train")] == [BYTES[3], BYTES[1]]


ARRAYS = {
    "lists": (PIXELS, None),
    "Array3D": (PIXELS, datasets.Array3D((5, 6, 3), "uint8")),
    "Array2D": ([pixels[..., 0] for pixels in PIXELS], datasets.Array2D((5, 6), "uint16")),
    "floats": ([(pixels / 255).astype(np.float32) for pixels in PIXELS], datasets.Array3D((5, 6, 3), "float32")),
}


@pytest.mark.parametrize(("cells", "feature"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_keep_their_shape_and_type(cells: list[Any], feature: Any) -> None:
    sources = hf_sources(table(cells, feature), "image", "train")
    for source, expected in zip(sources, cells, strict=True):
        found = opened(source)
        assert found.dtype == (expected.dtype if feature is None else feature.dtype)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("decode", [True, False])
def test_files_are_their_paths(decode: bool, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]  # none of them is there, or needed
    dataset = table(paths, datasets.Image(decode=decode))
    assert list(hf_sources(dataset, "image", "train")) == paths
    assert list(hf_sources(dataset.select([2, 0]), "image", "train")) == [paths[2], paths[0]]


def test_files_and_bytes_may_be_mixed(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(BYTES[0])
    sources = hf_sources(table([{"bytes": None, "path": str(file)}, STRUCTS[1]], FEATURE), "image", "train")
    assert [opened(one) for one in sources] == [str(file), BYTES[1]]


def test_a_row_without_an_image_is_named() -> None:
    sources = hf_sources(table([STRUCTS[0], None, STRUCTS[1], None], FEATURE), "image", "validation")
    assert opened(sources[2]) == BYTES[1]
    for row in (1, 3):
        with pytest.raises(ImageError, match=rf"validation\[{row}\].*column 'image' is empty"):
            opened(sources[row])


REFUSED = {
    "numbers": ([1, 2], None, r"train: the column 'image' holds Value\(.*int64.*: expected images.* Pass image="),
    "text": (["a.png"], None, r"dataset.cast_column\('image', datasets.Image\(\)\) reads the files"),
    "rows of numbers": ([[1, 2]], None, "expected images, encoded bytes or arrays"),
    "addresses": (["https://a.org/b.png"], FEATURE, r"train\[0\]: got 'https.* learnkit.download_images"),
    "no file": ([None, None], FEATURE, r"train\[0\]: column 'image' is empty"),
}


@pytest.mark.parametrize(("cells", "feature", "match"), REFUSED.values(), ids=REFUSED)
def test_other_columns_are_refused(cells: list[Any], feature: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        hf_sources(table(cells, feature), "image", "train")


def test_what_a_column_holds() -> None:
    assert is_image_feature(FEATURE)
    assert is_image_feature({"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    assert not is_image_feature({"bytes": datasets.Value("binary")})
    value = datasets.Value("int8")
    assert [inner_feature(one) for one in (value, [value], datasets.Sequence(value))] == [None, value, value]
