"""The test folder: whose images have a label, and what is said of those that have none."""

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from learnkit import LearnkitWarning
from learnkit.data.classes import normal_form
from learnkit.data.table.held_out import held_out_samples, label_held_out, report_unlabeled
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import DataError, MissingFileError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(root / name)
    return root


def labels(root: Path, task: Task, change: Any = None, label: Any = None) -> dict[str, Any]:
    samples = label_held_out(held_out_samples(root), root, task, change, label)
    assert samples["split"].tolist() == ["test"] * len(samples)
    names = [Path(name).relative_to(root).as_posix() for name in samples["input"]]
    return dict(zip(names, samples["target"].tolist(), strict=True))


ANIMALS = Classification(("cat", "dog"))


def test_a_test_folder_is_labeled_by_its_folders(tmp_path: Path) -> None:
    tree(tmp_path, "dog/x.png", "cat/deep/y.png")
    assert labels(tmp_path, ANIMALS) == {"cat/deep/y.png": "cat", "dog/x.png": "dog"}
    assert labels(tmp_path, MultiLabel(("cat", "dog"))) == {"cat/deep/y.png": ["cat"], "dog/x.png": ["dog"]}
    assert labels(tmp_path, Regression()) == {"cat/deep/y.png": None, "dog/x.png": None}


@pytest.mark.parametrize("unknown", ["bird", "Cat", "cat ", "images"])
def test_a_folder_that_is_no_class_is_named_and_the_others_keep_their_labels(unknown: str, tmp_path: Path) -> None:
    tree(tmp_path, "dog/x.png", f"{unknown}/y.png", f"{unknown}/z.png", "loose.png")
    with pytest.warns(LearnkitWarning, match=rf"folders of the test set that are not a class, .*'{unknown}' \(2\)"):
        found = labels(tmp_path, ANIMALS)
    assert found == {"dog/x.png": "dog", f"{unknown}/y.png": None, f"{unknown}/z.png": None, "loose.png": None}


def test_folders_that_only_look_like_classes_are_named(tmp_path: Path) -> None:
    tree(tmp_path, "Cat/x.png")
    with pytest.warns(LearnkitWarning, match=r"folders of the test set that are not a class, .*'Cat' \(1\)"):
        assert labels(tmp_path, ANIMALS) == {"Cat/x.png": None}
    assert labels(tmp_path, ANIMALS, normal_form) == {"Cat/x.png": "cat"}


def test_a_test_folder_without_classes_is_unlabeled_without_a_word(tmp_path: Path) -> None:
    tree(tmp_path, "images/x.png", "y.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert labels(tmp_path, ANIMALS) == {"images/x.png": None, "y.png": None}


def test_rows_outside_the_folder_are_left_alone(tmp_path: Path) -> None:
    tree(tmp_path, "test/cat/x.png")
    samples = pd.DataFrame({"input": [str(tmp_path / "test/cat/x.png")] * 3, "target": [None, "dog", None],
                            "split": ["train", "test", "test"]})  # fmt: skip
    assert label_held_out(samples, tmp_path / "test", ANIMALS)["target"].tolist()[1:] == ["dog", "cat"]


def test_an_empty_or_missing_test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        held_out_samples(tmp_path)
    with pytest.raises(MissingFileError, match=r"no folder .*pest; the nearest existing one"):
        held_out_samples(tmp_path / "pest")


def test_a_partly_labeled_test_set_is_reported() -> None:
    samples = pd.DataFrame({"input": list("abcd"), "target": ["x", None, "x", None], "split": ["train", *["test"] * 3]})
    with pytest.warns(LearnkitWarning, match=r"2 of 3 test items have no label, first 'b' \(row 1\), 'd' \(row 3\)"):
        report_unlabeled(samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report_unlabeled(samples.iloc[:2])
        report_unlabeled(samples.iloc[:1])
        report_unlabeled(samples.iloc[[0, 2]])


def by_name(file: str) -> str:
    return Path(file).name.split("_")[0]


LABELED_BY_NAME: list[tuple[Task, Any, Any]] = [
    (ANIMALS, by_name, "cat"),
    (MultiLabel(("cat", "dog", "cow")), lambda file: [by_name(file), "dog"], ["cat", "dog"]),
    (Regression(), lambda file: int(Path(file).stem[-1]), 1.0),
    (Regression(("a", "b")), lambda file: [Path(file).stem[-1], 2], (1.0, 2.0)),
]


@pytest.mark.parametrize(("task", "label", "expected"), LABELED_BY_NAME)
def test_a_function_labels_the_test_set_as_it_did_the_others(
    task: Task, label: Any, expected: Any, tmp_path: Path
) -> None:
    tree(tmp_path, "cat_1.png")
    assert labels(tmp_path, task, None, label) == {"cat_1.png": expected}
    tree(tmp_path, "x/x_y.png")
    with pytest.warns(LearnkitWarning, match="labels of the test set that are not a class, .*stay without a label"):
        assert labels(tmp_path, task, None, label) == {"cat_1.png": expected, "x/x_y.png": None}


def test_names_that_say_nothing_leave_the_folders_or_no_label(tmp_path: Path) -> None:
    tree(tmp_path, "dog/x.png", "cat/y.png")
    for label in (by_name, lambda file: file[10**6], lambda file: None, lambda file: {}):
        assert labels(tmp_path, ANIMALS, None, label) == {"cat/y.png": "cat", "dog/x.png": "dog"}
        assert labels(tmp_path, Regression(), None, label) == {"cat/y.png": None, "dog/x.png": None}
    assert labels(tmp_path, ANIMALS, normal_form, lambda file: "CAT") == {"cat/y.png": "cat", "dog/x.png": "cat"}
