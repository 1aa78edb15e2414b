"""Which folders are splits: one rule, for every tree."""

from pathlib import Path

import pytest

from learnkit import LearnkitWarning
from learnkit.data.table.split_folders import SPLIT_NAMES, SplitFolders, held_out, split_folders, split_named


def found(*names: str, **options: object) -> SplitFolders:
    return split_folders([tuple(name.split("/")) for name in names], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "split"), SPLIT_NAMES.items())
def test_splits_have_their_names_in_any_case(name: str, split: str) -> None:
    for written in (name, name.upper(), name.title(), f" {name} "):
        assert split_named(written) == split


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_folders_beside_each_other_that_hold_classes_are_splits(train: str, valid: str) -> None:
    splits = found(f"{train}/cat/1.png", f"{valid}/cat/2.png", "test/3.png")
    assert splits == ({train: "train", valid: "valid", "test": "test"}, (), ())
    beside = found(f"{train}/cat/1.png", f"{valid}/cat/2.png", "old/cat/3.png", "notes.png")
    assert beside == ({train: "train", valid: "valid"}, ("old",), ())


@pytest.mark.parametrize("name", ["train", "val", "valid", "Training", "validation"])
def test_a_class_may_have_the_name_of_a_split(name: str) -> None:
    assert found("bus/1.png", "car/2.png", f"{name}/3.png") == ({}, (), ())
    assert found("bus/city/1.png", f"{name}/steam/3.png") == ({}, (), (name,))  # doubtful: it could hold classes


def test_only_what_is_directly_below_the_root_counts() -> None:
    assert found("cat/train/1.png", "cat/valid/2.png", "dog/test/3.png").splits == {}


def test_folders_of_splits_alone_are_splits() -> None:
    assert found("train/cat/1.png").splits == {"train": "train"}
    assert found("train/1.png", "valid/2.png").splits == {"train": "train", "valid": "valid"}  # then no class is found


def test_a_test_folder_among_classes_is_held_out() -> None:
    assert found("cat/1.png", "dog/2.png", "test/cat/3.png") == ({"test": "test"}, (), ())
    assert found("cat/1.png", "dog/2.png", "test/3.png") == ({"test": "test"}, (), ("test",))
    assert found("cat/1.png", "dog/2.png", "test/3.png", named={"test": "test"}) == ({"test": "test"}, (), ())
    assert found("cat/1.png", "dog/2.png", "test/3.png", classes=["cat", "dog", "test"]) == ({}, (), ())


def test_a_folder_that_was_named_is_a_split() -> None:
    splits = {"fit": "train", "check": "valid"}
    assert found("fit/cat/1.png", "check/cat/2.png", named=splits).splits == splits
    assert found("cat/1.png", "dog/2.png", "later/3.png", named={"later": "test"}).splits == {"later": "test"}
    assert found("cat/1.png", named={"later": "test"}).splits == {}


def test_what_is_doubtful_is_explained() -> None:
    with pytest.warns(LearnkitWarning, match=r"folders beside train, valid in /x are left out: 'old'"):
        found("train/cat/1.png", "valid/cat/2.png", "old/cat/3.png").explain(Path("/x"))
    with pytest.warns(LearnkitWarning, match=r"folder 'test' of /x is taken as a test set and left out; classes="):
        found("cat/1.png", "dog/2.png", "test/3.png").explain(Path("/x"))
    with pytest.warns(LearnkitWarning, match=r"folder 'train' of /x is taken as a class"):
        found("bus/city/1.png", "train/steam/3.png").explain(Path("/x"))


def test_test_folders_are_held_out_of_other_trees() -> None:
    assert held_out(["test", "Test", "a", "testing", "later"]) == {"test", "Test"}
