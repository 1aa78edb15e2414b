"""Tables of samples from lists of names, and from names that contain their label."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learnkit.data.table.from_lists import list_samples, named_samples, pattern_label
from learnkit.errors import DataError, MissingFileError, UsageError


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
