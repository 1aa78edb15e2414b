"""The table of samples: which files there are, in which order, and what is refused of them."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from learnkit import LearnkitWarning
from learnkit.data.table.samples import check_files, existing_folder, image_files, in_order, rows_text, split_samples
from learnkit.data.table.splits import ColumnSplit, RandomSplit
from learnkit.errors import DataError, MissingFileError


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def tree(root: Path, *names: str) -> Path:
    for name in names:
        picture(root / name)
    return root


def names_in(root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in image_files(root)]


def rows(root: Path, *items: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame([(str(root / name), split) for name, split in items], columns=["input", "split"])


def test_images_below_a_folder_are_sorted_by_path(tmp_path: Path) -> None:
    tree(tmp_path, "b/2.png", "b/10.JPG", "a.webp", "a/z/1.bmp", "a/b.jpeg")
    assert names_in(tmp_path) == ["a.webp", "a/b.jpeg", "a/z/1.bmp", "b/10.JPG", "b/2.png"]


def test_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "cat/a.png", ".ipynb_checkpoints/c.png", "cat/._a.png")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    assert names_in(tmp_path) == ["cat/a.png"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", "x.png")
    data = tree(tmp_path / "data", "cat/a.png")
    (data / "dog").symlink_to(tmp_path / "elsewhere")
    (data / "cat" / "loop").symlink_to(data)
    assert names_in(data) == ["cat/a.png", "dog/x.png"]


def test_the_order_of_the_file_system_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, *(f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)))
    (tmp_path / "emu").symlink_to(tmp_path / "cat")  # the same folder by two names: it is found by the first
    listed = names_in(tmp_path)
    real = os.walk

    def backwards(top: Any, **options: Any) -> Any:
        for where, folders, files in real(top, **options):
            folders.sort(reverse=True)
            yield where, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert names_in(tmp_path) == listed
    assert listed == [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)]


def test_a_missing_folder_names_the_nearest_there_is(tmp_path: Path) -> None:
    tree(tmp_path, "pets/cat/a.png")
    with pytest.raises(MissingFileError, match=r"no folder .*/pest/x; the nearest there is, .* holds pets") as caught:
        existing_folder(tmp_path / "pest" / "x")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(MissingFileError, match=r"no folder .*a\.png; the nearest there is, .*cat, holds a\.png"):
        existing_folder(tmp_path / "pets" / "cat" / "a.png")
    assert existing_folder(str(tmp_path)) == tmp_path


def test_a_split_leaves_the_test_set_alone() -> None:
    samples = pd.DataFrame({"input": list("abcdefghijkl"), "split": ["test", "train"] * 6})
    split = split_samples(samples, RandomSplit(0.5))
    assert split["split"][::2].tolist() == ["test"] * 6
    assert split["split"][1::2].value_counts().to_dict() == {"train": 3, "valid": 3}
    assert samples["split"].tolist() == ["test", "train"] * 6
    assert split_samples(samples[["input"]], RandomSplit(0.5))["split"].value_counts().to_dict() == {
        "train": 6,
        "valid": 6,
    }


def test_a_column_of_splits_may_be_the_column_split_itself() -> None:
    samples = pd.DataFrame({"input": list("abc"), "split": ["val", "Training", "test"]}, index=[7, 8, 9])
    assert split_samples(samples, ColumnSplit("split"))["split"].tolist() == ["valid", "train", "test"]


def test_rows_stand_by_split_and_else_as_they_stood() -> None:
    samples = pd.DataFrame(
        {"camera": range(6), "split": ["test", "valid", "train", "test", "train", "valid"], "target": list("abcdef"),
         "input": list("uvwxyz")},
        index=[5, 4, 3, 2, 1, 0],
    )  # fmt: skip
    ordered = in_order(samples)
    assert ordered.columns.tolist() == ["input", "target", "split", "camera"]
    assert ordered.index.tolist() == list(range(6))
    assert ordered["camera"].tolist() == [2, 4, 1, 5, 0, 3]
    assert "".join(ordered["target"]) == "cebfad"


def test_missing_files_are_counted_and_their_rows_named(tmp_path: Path) -> None:
    tree(tmp_path, "0.png", "8.png")
    samples = rows(tmp_path, *((f"{i}.png", "train") for i in range(9)))
    with pytest.raises(MissingFileError, match=r"^7 of 9 files are missing, first '.*/1\.png' \(row 1\)") as caught:
        check_files(samples, allow_leak=False)
    assert isinstance(caught.value, FileNotFoundError)
    assert "row 5" in str(caught.value)
    assert "row 6" not in str(caught.value)
    check_files(samples, allow_leak=False, ignore_missing=True)


@pytest.mark.parametrize("other", ["valid", "test"])
def test_a_file_in_training_and_elsewhere_is_refused(tmp_path: Path, other: str) -> None:
    tree(tmp_path, "a.png", "b.png")
    samples = rows(tmp_path, ("b.png", "train"), ("a.png", "train"), ("a.png", other))
    with pytest.raises(DataError, match=r"^1 files are in the training set and in another one.*a\.png \(rows \[1, 2\]"):
        check_files(samples, allow_leak=False)
    check_files(samples, allow_leak=True)


def links(root: Path) -> list[str]:
    tree(root, "cat/a.png")
    (root / "alias").symlink_to(root / "cat")
    (root / "b.png").symlink_to(root / "cat" / "a.png")
    return ["alias/a.png", "b.png", "cat/../cat/a.png"]


def test_a_file_by_another_name_is_the_same_file(tmp_path: Path) -> None:
    for name in links(tmp_path):
        with pytest.raises(DataError, match="in the training set and in another one"):
            check_files(rows(tmp_path, ("cat/a.png", "train"), (name, "valid")), allow_leak=False)


def test_a_file_in_validation_and_test_is_no_leak(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png")
    check_files(rows(tmp_path, ("b.png", "train"), ("a.png", "valid"), ("a.png", "test")), allow_leak=False)


@pytest.mark.parametrize("allow_leak", [True, False])
def test_a_file_twice_in_a_split_is_told(tmp_path: Path, allow_leak: bool) -> None:
    names: list[Any] = ["cat/a.png", *links(tmp_path)]
    samples = rows(tmp_path, *((name, "train") for name in names))
    with pytest.warns(LearnkitWarning, match=r"^3 rows name a file that their split has already, first .*\(row 1\)"):
        check_files(samples, allow_leak=allow_leak)


def test_rows_are_named_up_to_five() -> None:
    samples = pd.DataFrame({"input": list("abcdefgh")})
    assert rows_text(samples, range(2, 8)) == "'c' (row 2), 'd' (row 3), 'e' (row 4), 'f' (row 5), 'g' (row 6)"
