"""Other labels for some files, and fewer rows: in every way a table or a selection is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from learnkit.data.image.sources import HeldImage
from learnkit.data.segmentation import Segmentation
from learnkit.data.table.edit import dropped, relabeled
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import DataError, UsageError
from tests.doubles import refused

ROOT = Path("/data")
ANIMALS = Classification(("cat", "dog"))


def samples(*targets: Any) -> pd.DataFrame:
    table = pd.DataFrame({"input": [f"/data/{name}.png" for name in "abcd"], "split": ["train"] * 4})
    return table.assign(target=pd.Series(targets or ["cat", "dog", "cat", "dog"], dtype=object))


def changed(table: Any, task: Any = ANIMALS, *targets: Any, **options: Any) -> list[Any]:
    return relabeled(samples(*targets), table, ROOT, task, **options)["target"].tolist()


@pytest.mark.parametrize("files", ["input", "path"])
@pytest.mark.parametrize("labels", ["target", "label"])
@pytest.mark.parametrize("name", ["/data/b.png", "b.png", Path("b.png"), b"b.png"])
def test_the_files_of_a_table_have_its_labels(files: str, labels: str, name: Any) -> None:
    assert changed(pd.DataFrame({files: [name], labels: ["cat"], "score": [1]})) == ["cat", "cat", "cat", "dog"]


def test_a_csv_file_is_a_table(tmp_path: Path) -> None:
    issues = pd.DataFrame({"item": [1], "path": ["/data/b.png"], "label": ["001"], "suggestion": ["x"]})
    issues.to_csv(tmp_path / "issues.csv")
    task = Classification(("001", "1"))
    assert changed(tmp_path / "issues.csv", task, "1", "1", "1", "1") == ["1", "001", "1", "1"]
    assert changed(str(tmp_path / "issues.csv"), task, "1", "1", "1", "1")[1] == "001"


def test_labels_are_those_of_the_task() -> None:
    several = MultiLabel(("sun", "sea"))
    table = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["sun; sea", ""]})
    assert changed(table, several, [], [], [], [], delimiter=";")[:2] == [["sun", "sea"], []]
    numbers = pd.DataFrame({"path": ["a.png"], "label": ["2.5"]})
    assert changed(numbers, Regression(), 1.0, 1.0, 1.0, 1.0) == ["2.5", 1.0, 1.0, 1.0]  # read as a number later
    masks = pd.DataFrame({"path": ["a.png"], "label": ["masks/a.png"]})
    assert changed(masks, Segmentation(["x", "y"]))[0] == "/data/masks/a.png"
    assert changed(pd.DataFrame({"path": ["b.png"], "label": ["CAT"]}), change=str.lower)[1] == "cat"


def test_labels_that_cannot_work_are_refused() -> None:
    def table(*rows: tuple[str, Any]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["path", "label"])

    with refused("row 1: label", DataError, got="cow", expected="one of cat, dog, ..."):
        changed(table(("a.png", "dog"), ("b.png", "cow")))
    with pytest.raises(DataError, match=r"column 'label': no label in rows \[0\]"):
        changed(table(("a.png", None)))
    with pytest.raises(DataError, match=r"/data/a\.png has two labels: got \['cat', 'dog'\]"):
        changed(table(("a.png", "cat"), ("/data/a.png", "dog")))
    with pytest.raises(DataError, match=r"1 file is not in the table of samples, first \['/data/e\.png'\]"):
        changed(table(("e.png", "cat")))
    with pytest.raises(DataError, match="no column 'target' or 'label'; columns are path, kind"):
        changed(pd.DataFrame({"path": ["a.png"], "kind": ["cat"]}))
    with refused("row 0: label", DataError, got="sun", expected="a list of labels"):
        changed(table(("a.png", "sun")), MultiLabel(("sun", "sea")))


@pytest.mark.parametrize(
    "rows",
    [
        [1, 3],
        (3, 1),
        {1, 3},
        range(1, 4, 2),
        np.array([1, 3]),
        torch.tensor([1, 3]),
        pd.Series([1, 3]),
        pd.Index([1, 3]),
        [False, True, False, True],
        np.array([False, True, False, True]),
        pd.Series([False, True, False, True], index=[3, 2, 1, 0]),
        ["b.png", "/data/d.png"],
        pd.Series(["/data/b.png", "/data/d.png"]),
        [Path("/data/b.png"), b"d.png"],
    ],
)
def test_rows_are_left_out_however_they_are_named(rows: Any) -> None:
    assert dropped(samples(), rows, ROOT)["input"].tolist() == ["/data/a.png", "/data/c.png"]


def test_nothing_is_left_out_by_an_empty_list() -> None:
    assert len(dropped(samples(), [], ROOT)) == 4


@pytest.mark.parametrize("rows", [[4], [-1], [True, False], "b.png", 3, None])
def test_rows_that_cannot_be_meant_are_refused(rows: Any) -> None:
    with refused("rows"):
        dropped(samples(), rows, ROOT)


def test_files_that_are_not_there_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 file is not in the table of samples, first \['/data/z\.png'\]"):
        dropped(samples(), ["a.png", "z.png"], ROOT)


def held(n: int = 3) -> list[HeldImage]:
    images = [np.zeros((4, 4, 3), np.uint8)] * n
    return [HeldImage(images, i, f"train[{i}]") for i in range(n)]


def test_images_without_files_are_found_by_their_names(tmp_path: Path) -> None:
    images = held()
    table = pd.DataFrame({"input": [*images, "/data/a.png"], "target": ["cat"] * 4}, dtype=object)
    issues = pd.DataFrame({"path": ["train[1]", "a.png"], "label": ["dog", "dog"], "score": [1, 0]})
    issues.to_csv(tmp_path / "issues.csv")
    for edited in (issues, tmp_path / "issues.csv", issues.assign(path=[images[1], "/data/a.png"])):
        assert relabeled(table, edited, ROOT, ANIMALS)["target"].tolist() == ["cat", "dog", "cat", "dog"]
    for rows in (["train[1]", "a.png"], [images[1], "a.png"], issues["path"], (name for name in issues["path"])):
        assert dropped(table, rows, ROOT)["input"].tolist() == [images[0], images[2]]
    twice = table.assign(input=[*images[:2], held()[1], "/data/a.png"])
    with pytest.raises(DataError, match=r"2 images are called 'train\[1\]'. Pass the rows by number"):
        dropped(twice, ["train[1]"], ROOT)
    assert len(dropped(twice, [1, 2], ROOT)) == 2


def test_two_columns_of_labels_are_refused_if_they_differ() -> None:
    table = pd.DataFrame({"path": ["a.png"], "target": ["dog"], "label": ["dog"]})
    assert changed(table)[0] == "dog"
    with pytest.raises(DataError, match=r"'target' and 'label' differ in row 0: got \['dog', 'cat'\]"):
        changed(table.assign(label="cat"))
    assert changed(table.assign(label="cat").drop(columns="label"))[0] == "dog"
    assert changed(table.assign(input="/data/b.png", path="sub/b.png"))[1] == "dog"  # input is what samples has


def test_a_label_that_reads_as_missing_is_a_label(tmp_path: Path) -> None:
    (tmp_path / "issues.csv").write_text("path,label\na.png,NA\n")
    assert changed(tmp_path / "issues.csv", Classification(("NA", "US")), *["US"] * 4)[0] == "NA"
    (tmp_path / "issues.csv").write_text("path;label\na.png;NA\n")
    with pytest.raises(DataError, match="separated by ';'"):
        changed(tmp_path / "issues.csv")


def test_what_is_no_selection_of_rows_is_refused() -> None:
    issues = pd.DataFrame({"item": [1], "path": ["a.png"]})
    for rows in (issues, issues["item"], "a.png", {"a.png": 1}, None, 3):
        with pytest.raises(UsageError, match=r'rows: got .*issues\["path"\]'):
            dropped(samples(), rows, ROOT)
    assert len(dropped(samples(), issues["path"], ROOT)) == 3
