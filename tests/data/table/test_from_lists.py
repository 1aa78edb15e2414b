"""Tables of samples from lists of names, and from names that contain their label."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit.data.table.from_lists import list_samples, named_samples, pattern_label
from learnkit.errors import DataError, MissingFileError, UsageError, WrongTypeError
from tests.doubles import refused


def test_names_and_labels_stand_in_their_order(tmp_path: Path) -> None:
    files: list[str | Path] = ["b.png", Path("a.png"), tmp_path / "c.png"]
    samples = list_samples(tmp_path, iter(files), iter([2, 1, 2]))
    assert samples["input"].tolist() == [str(tmp_path / name) for name in ("b.png", "a.png", "c.png")]
    assert samples["target"].tolist() == [2, 1, 2]
    lists = list_samples(tmp_path, ["a", "b"], [["x"], ["x", "y"]])
    assert lists["target"].tolist() == [["x"], ["x", "y"]]
    assert list_samples(tmp_path, ["a", "b"], np.array([0.5, 1.5]))["target"].tolist() == [0.5, 1.5]


def test_lists_of_unequal_length_or_without_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got 2 names and 3 labels"):
        list_samples(tmp_path, ["a", "b"], [1, 2, 3])
    with pytest.raises(DataError, match="0 files under"):
        list_samples(tmp_path, [], [])
    with pytest.raises(MissingFileError, match="no folder"):
        list_samples(tmp_path / "none", ["a"], [1])


def test_a_function_labels_whole_paths(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    seen: list[str] = []

    def label(path: str) -> str:
        seen.append(path)
        return Path(path).parent.name

    assert named_samples(tmp_path, None, label)["target"].tolist() == ["a", "b"]
    assert seen == [f"{tmp_path.as_posix()}/a/1.png", f"{tmp_path.as_posix()}/b/2.png"]
    assert named_samples(tmp_path, ["z/9.png"], label)["target"].tolist() == ["z"]
    with pytest.raises(DataError, match="0 files under"):
        named_samples(tmp_path, [], label)


def test_a_pattern_labels_by_its_first_group() -> None:
    for pattern in (r"/([^/]+)_\d+\.jpg$", re.compile(r"/(\w+?)_(\d+)\.jpg$")):
        assert pattern_label(pattern)("pets/american_bulldog_12.jpg") == "american_bulldog"
    with pytest.raises(DataError, match=r"pattern .* is not found in 'pets/x\.png'"):
        pattern_label(r"_(\d+)\.jpg")("pets/x.png")


@pytest.mark.parametrize(
    ("pattern", "text"), [("(", "a regular expression"), (3, "a regular expression"), ("a+", "a group in parentheses")]
)
def test_patterns_that_cannot_work_are_refused(pattern: Any, text: str) -> None:
    with pytest.raises(UsageError, match=f"pat: got .*{text}"):
        pattern_label(pattern)


@pytest.mark.parametrize("name", ["a.png", b"a.png", Path("a.png"), np.str_("a.png")])
def test_names_may_be_text_bytes_or_paths(name: Any, tmp_path: Path) -> None:
    assert list_samples(tmp_path, [name], ["x"])["input"].tolist() == [str(tmp_path / "a.png")]


@pytest.mark.parametrize(
    "labels", [np.array([2, 0, 1]), torch.tensor([2, 0, 1]), pd.Series([2, 0, 1]), (2, 0, 1), range(3)]
)
def test_labels_may_be_an_array(labels: Any, tmp_path: Path) -> None:
    found = list_samples(tmp_path, list("abc"), labels)["target"].tolist()
    assert found == [int(label) for label in labels]
    assert all(type(label) is int for label in found)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    for wrong in ("a.png", b"a.png", {"a.png"}, {"a.png": "x"}, 3, None):
        with refused("fnames", WrongTypeError, got=wrong, expected="a list of names"):
            list_samples(tmp_path, wrong, ["x"])  # type: ignore[arg-type]
        with refused("labels", WrongTypeError, got=wrong):
            list_samples(tmp_path, ["a.png"], wrong)  # type: ignore[arg-type]
    with refused("input of row 0", DataError, got=3):
        list_samples(tmp_path, [3], ["x"])  # type: ignore[list-item]


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize("test", [None, "test", "held/out"])
def test_test_images_stay_out_when_no_names_are_given(test: str | None, tmp_path: Path) -> None:
    tree(tmp_path, "train/a.png", "valid/b.png", "test/c.png", "Test/d.png", "x/test/e.png", "held/out/f.png", "g.png")
    samples = named_samples(tmp_path, None, lambda path: "x", test)
    expected = [
        "g.png",
        *([] if test == "held/out" else ["held/out/f.png"]),
        "train/a.png",
        "valid/b.png",
        "x/test/e.png",
    ]
    assert [Path(name).relative_to(tmp_path).as_posix() for name in samples["input"]] == expected
    named = named_samples(tmp_path, ["test/c.png"], lambda path: "x", test)
    assert named["input"].tolist() == [str(tmp_path / "test/c.png")]


def test_suffixes_name_the_files_without_names(tmp_path: Path) -> None:
    tree(tmp_path, "a.npy", "b.png")
    samples = named_samples(tmp_path, None, lambda path: "x", suffixes=[".npy"])
    assert samples["input"].tolist() == [str(tmp_path / "a.npy")]
    with pytest.raises(DataError, match="no images"):
        named_samples(tmp_path, None, lambda path: "x", suffixes=[".heic"])


@pytest.mark.parametrize(
    "error", [IndexError("list index out of range"), KeyError("x"), ZeroDivisionError(), OSError("no")]
)
def test_a_function_that_fails_names_the_file(error: Exception, tmp_path: Path) -> None:
    def label(path: str) -> str:
        if path.endswith("b.png"):
            raise error
        return "x"

    with pytest.raises(
        DataError, match=rf"the label of .*/b\.png: the function failed with {type(error).__name__}"
    ) as caught:
        named_samples(tmp_path, ["a.png", "b.png"], label)
    assert caught.value.__cause__ is error


def test_our_own_errors_are_not_wrapped(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^the pattern .* is not found"):
        named_samples(tmp_path, ["a.png"], pattern_label(r"(xyz)"))


@pytest.mark.parametrize("pattern", [r"(.+)_\d+", r"^/(.*)/", r"(/.*)\.png"])
def test_a_label_with_the_path_of_the_data_is_refused_and_the_advice_works(pattern: str, tmp_path: Path) -> None:
    names = ["cat_1.png", "dog_2.png"]
    with pytest.raises(UsageError, match=r"a name, not a part of the path of") as caught:
        named_samples(tmp_path, names, pattern_label(pattern))
    with pytest.raises(UsageError):
        named_samples(tmp_path, names, lambda path: path)
    advised = re.search(r"r'(.*?)\$'", caught.value.fix)
    assert advised is not None
    found = named_samples(tmp_path, names, pattern_label(advised.group(1).replace("jpg", "png") + "$"))
    assert found["target"].tolist() == ["cat", "dog"]


def test_labels_may_be_folders_below_the_data(tmp_path: Path) -> None:
    found = named_samples(tmp_path, ["birds/owl/1.png"], pattern_label(rf"{tmp_path}/(.*)/"))
    assert found["target"].tolist() == ["birds/owl"]


def test_what_is_no_function_or_no_pattern_of_text_is_refused(tmp_path: Path) -> None:
    for wrong in ("x", None, re.compile("(x)")):
        with pytest.raises(UsageError, match=r"func: got .*expected a function"):
            named_samples(tmp_path, ["a.png"], wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"pat: got .*a pattern of text, not of bytes"):
        pattern_label(rb"(x)")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"called with the whole path as text: Path\(file\)\.parent\.name"):
        named_samples(tmp_path, ["sub/a.png"], lambda file: file.parent.name)  # type: ignore[attr-defined]
    assert named_samples(tmp_path, ["sub/a.png"], lambda file: Path(file).parent.name)["target"].tolist() == ["sub"]
