"""Tables and lists that hold images instead of names of files."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from learnkit.data.image.sources import HeldImage, opened
from learnkit.data.table.held_images import WithImages, item_sources, with_held_images
from learnkit.errors import DataError, LearnkitError, MissingFileError, UsageError, WrongTypeError


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def gray(i: int) -> Image.Image:
    return Image.new("RGB", (6, 5), (i, i, i))


FORMS: dict[str, Callable[[int], Any]] = {
    "PIL": gray, "array": lambda i: np.asarray(gray(i)), "tensor": lambda i: torch.full((3, 5, 6), i).byte(),
    **{kind: lambda i, kind=kind: encoded(gray(i), kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_column_of_images_is_held_while_its_names_stand_in(form: Callable[[int], Any]) -> None:
    images = [form(i) for i in range(3)]
    table = pd.DataFrame({"picture": pd.Series(images, dtype=object, index=[7, 8, 9]), "label": ["a", "b", "a"]})
    found = WithImages(table, "picture")
    assert found.named["picture"].tolist() == ["picture[0]", "picture[1]", "picture[2]"]
    samples = found.restored(found.named.reset_index(drop=True).assign(input="x"))
    assert [opened(one) is image for one, image in zip(samples["input"], images, strict=True)] == [True] * 3
    again = with_held_images(pd.DataFrame({"input": pd.Series(images, dtype=object), "target": 0}))
    assert all(isinstance(one, HeldImage) for one in again["input"])
    assert with_held_images(again)["input"].tolist() == again["input"].tolist()


@pytest.mark.parametrize("names", [["a.jpg", "b.jpg"], [b"a.jpg", b"b.jpg"], [1, 2], [Path("a"), Path("b")]])
def test_a_column_of_names_is_not_touched(names: list[Any]) -> None:
    table = pd.DataFrame({"input": pd.Series(names, dtype=object), "target": 0})
    found = WithImages(table, "input")
    assert found.named is table
    assert found.restored(table) is table
    assert with_held_images(table) is table
    assert with_held_images("no table") == "no table"


def test_a_column_of_images_and_names_names_the_rows() -> None:
    table = pd.DataFrame({"picture": pd.Series([gray(0), "b.jpg", None], dtype=object)})
    with pytest.raises(DataError, match=r"column 'picture' holds images, but not in rows \[1, 2\]: got 'b.jpg'"):
        WithImages(table, "picture")


def test_images_of_a_test_come_mixed_and_from_anything(tmp_path: Path) -> None:
    gray(1).save(tmp_path / "a.png")
    items = [tmp_path / "a.png", str(tmp_path / "a.png"), *(form(2) for form in FORMS.values())]
    for given in (items, iter(items), tuple(items), pd.Series(items), pd.DataFrame({"input": pd.Series(items)})):
        sources = item_sources(given, tmp_path)  # type: ignore[arg-type]
        assert sources[:2] == [str(tmp_path / "a.png")] * 2
        assert [opened(one) is item for one, item in zip(sources[2:], items[2:], strict=True)] == [True] * len(FORMS)
    assert len(item_sources(tmp_path.glob("*.png"), tmp_path)) == 1
    assert [str(one) for one in item_sources(np.zeros((2, 4, 4, 3), np.uint8), tmp_path)] == ["item[0]", "item[1]"]


def test_relative_paths_are_those_of_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, name in ((here, "both.png"), (there, "both.png"), (here, "h.png"), (there, "t.png")):
        folder.mkdir(exist_ok=True)
        gray(0).save(folder / name)
    monkeypatch.chdir(here)
    assert item_sources(["h.png", "t.png"], there) == [str(here / "h.png"), str(there / "t.png")]
    with pytest.raises(UsageError, match=r"'both.png' is in the working directory and in .*there"):
        item_sources(["both.png"], there)
    assert item_sources(["both.png"], here) == [str(here / "both.png")]
    with pytest.raises(MissingFileError, match=r"2 of 3 files are missing, first \['.*x.png', '.*y.png'\]"):
        item_sources(["x.png", "t.png", "y.png"], there)


REFUSED: dict[str, tuple[Any, type[LearnkitError]]] = {
    "a path": ("a.png", UsageError), "an image": (gray(0), UsageError), "an array": (np.zeros((4, 4, 3)), UsageError),
    "bytes": (b"\xff\xd8", UsageError), "a dict": ({"a": 1}, UsageError), "none": ([], DataError),
    "numbers": ([1, 2], WrongTypeError), "missing names": ([None], WrongTypeError),
    "a table of names": (pd.DataFrame({"name": ["a"]}), UsageError),
}  # fmt: skip


@pytest.mark.parametrize(("items", "kind"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_several_images_is_refused(items: Any, kind: type[LearnkitError], tmp_path: Path) -> None:
    with pytest.raises(kind, match=r"item|the test set is empty"):
        item_sources(items, tmp_path)
