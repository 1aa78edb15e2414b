"""The table of samples: what is found in folders, how it is split, and what is refused."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from learnkit import LearnkitWarning
from learnkit.data.samples import check_classes, folder_samples, image_files, random_split
from learnkit.errors import DataError, MissingFileError, UsageError


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def tree(root: Path, *names: str) -> Path:
    for name in names:
        picture(root / name)
    return root


def table(root: Path, **options: object) -> list[tuple[str, str, str]]:
    arguments = {"train": "train", "valid": "valid", "test": None, "valid_pct": None, "seed": 42, **options}
    samples = folder_samples(root, **arguments)  # type: ignore[arg-type]
    rows = samples.astype(object).where(samples.notna(), None).to_numpy().tolist()
    return [(Path(path).relative_to(root).as_posix(), label, split) for path, label, split in rows]


def test_each_image_of_the_split_folders_is_a_row(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/b.png", "train/cat/a.jpg", "train/dog/c.PNG", "valid/cat/d.webp", "valid/dog/e.bmp")
    assert table(tmp_path) == [
        ("train/cat/a.jpg", "cat", "train"),
        ("train/cat/b.png", "cat", "train"),
        ("train/dog/c.PNG", "dog", "train"),
        ("valid/cat/d.webp", "cat", "valid"),
        ("valid/dog/e.bmp", "dog", "valid"),
    ]


def test_val_is_found_where_valid_is_not_there(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "val/cat/b.png")
    assert [split for _, _, split in table(tmp_path)] == ["train", "valid"]


def test_the_label_is_the_first_folder_below_the_split(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/2024/spring/a.png", "valid/cat/b.png")
    assert [label for _, label, _ in table(tmp_path)] == ["cat", "cat"]


def test_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "valid/cat/b.png", "train/.ipynb_checkpoints/c.png", "train/cat/._a.png")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("x")
    (tmp_path / "train" / "empty").mkdir()
    assert [name for name, _, _ in table(tmp_path)] == ["train/cat/a.png", "valid/cat/b.png"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", "x.png")
    tree(tmp_path / "data", "cat/a.png")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data")
    names = {file.relative_to(tmp_path / "data").as_posix() for file in image_files(tmp_path / "data")}
    assert names == {"cat/a.png", "dog/x.png"}


def test_the_order_of_the_file_system_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, *(f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)))
    listed = table(tmp_path, valid_pct=0.25)
    real = os.walk

    def backwards(top: object, **options: object) -> object:
        for where, folders, files in real(top, **options):  # type: ignore[call-overload]
            folders.sort(reverse=True)
            yield where, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert table(tmp_path, valid_pct=0.25) == listed


def test_a_random_split_takes_the_first_of_a_seeded_permutation() -> None:
    assert random_split(10, 0.2, 42) == {2, 6}
    assert random_split(10, 0.2, 42) == set(
        torch.randperm(10, generator=torch.Generator().manual_seed(42))[:2].tolist()
    )
    assert random_split(10, 0.2, 43) != {2, 6}
    assert len(random_split(9, 0.2, 0)) == 1
    assert len(random_split(3, 0.1, 0)) == 1


def test_a_random_split_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    random_split(100, 0.5, 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("share", [0, 1, 2, -0.2, float("nan"), "0.2", True])
def test_a_share_that_is_none_is_refused(share: object) -> None:
    with pytest.raises(UsageError, match=r"valid_pct: got .* expected a share in \(0, 1\)"):
        random_split(10, share, 0)  # type: ignore[arg-type]


def test_a_random_split_never_takes_the_test_folder(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{label}/{i}.png" for label in ("cat", "dog") for i in range(5)), "test/emu/x.png", "test/y.png")
    rows = table(tmp_path, valid_pct=0.5)
    assert {label for _, label, _ in rows} == {"cat", "dog"}
    assert len(rows) == 10
    assert not any(name.startswith("test/") for name, _, _ in rows)
    with_test = table(tmp_path, valid_pct=0.5, test="test")
    assert [row for row in with_test if row[2] == "test"] == [
        ("test/emu/x.png", None, "test"),
        ("test/y.png", None, "test"),
    ]


def test_a_random_split_over_split_folders_reads_the_class_below_them(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "train/dog/b.png", "valid/cat/c.png", "val/dog/d.png")
    assert sorted(label for _, label, _ in table(tmp_path, valid_pct=0.5)) == ["cat", "cat", "dog", "dog"]


def test_a_labelled_test_folder_keeps_its_labels(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "train/dog/b.png", "valid/cat/c.png", "test/dog/x.png")
    assert table(tmp_path, test="test")[-1] == ("test/dog/x.png", "dog", "test")


def test_a_missing_folder_names_the_nearest_there_is(tmp_path: Path) -> None:
    tree(tmp_path, "pets/cat/a.png")
    with pytest.raises(MissingFileError, match=r"no folder .*/pest/x; the nearest there is, .* holds pets") as caught:
        table(tmp_path / "pest" / "x")
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("valid_pct", [None, 0.2])
def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path, valid_pct: float | None) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no images \(.*\.jpg.*\.png.*\) under .*found 1 files.*<class>") as caught:
        table(tmp_path, valid_pct=valid_pct)
    assert isinstance(caught.value, ValueError)


def test_a_missing_validation_folder_points_to_valid_pct(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png")
    with pytest.raises(DataError, match=r"no images under .*valid.*valid_pct=0\.2"):
        table(tmp_path)


def test_an_empty_test_folder_is_refused(tmp_path: Path) -> None:
    tree(tmp_path, "train/cat/a.png", "valid/cat/b.png")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="no images"):
        table(tmp_path, test="test")


def samples_of(tmp_path: Path, *names: str) -> object:
    tree(tmp_path, *names)
    return folder_samples(tmp_path, "train", "valid", None, valid_pct=None, seed=0)


def test_classes_are_the_sorted_labels_of_the_training_set(tmp_path: Path) -> None:
    samples = samples_of(tmp_path, "train/b/1.png", "train/a/1.png", "valid/a/1.png", "valid/b/1.png")
    assert check_classes(samples) == ("a", "b")  # type: ignore[arg-type]
    assert check_classes(samples, ["b", "a"]) == ("b", "a")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="also 'b'"):
        check_classes(samples, ["a"])  # type: ignore[arg-type]


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only class 'ant': expected two or more"):
        check_classes(samples_of(tmp_path, "train/ant/1.png", "valid/ant/1.png"))  # type: ignore[arg-type]


def test_a_class_of_validation_alone_is_refused(tmp_path: Path) -> None:
    samples = samples_of(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/1.png", "valid/dog/1.png")
    with pytest.raises(DataError, match=r"'dog' \(1 file\) of the validation set is not in train"):
        check_classes(samples)  # type: ignore[arg-type]


def test_a_class_missing_in_validation_is_told(tmp_path: Path) -> None:
    samples = samples_of(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/1.png")
    with pytest.warns(LearnkitWarning, match="no validation item of class b"):
        assert check_classes(samples) == ("a", "b")  # type: ignore[arg-type]
