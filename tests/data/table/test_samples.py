"""The table of samples: its splits, its order, and how its rows are named."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit.data.table.samples import checked_samples, file_name, in_order, rows_text, split_samples
from learnkit.data.table.splits import ColumnSplit, RandomSplit
from learnkit.errors import DataError, WrongTypeError


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


def test_rows_are_named_up_to_five() -> None:
    samples = pd.DataFrame({"input": list("abcdefgh")})
    assert rows_text(samples, range(2, 8)) == "'c' (row 2), 'd' (row 3), 'e' (row 4), 'f' (row 5), 'g' (row 6)"


INDEXES: list[Any] = [
    [0, 0, 0, 0],
    [3, 2, 1, 0],
    list("abcd"),
    pd.CategoricalIndex(list("aabb")),
    pd.date_range("2024", periods=4),
]


@pytest.mark.parametrize("index", INDEXES, ids=str)
@pytest.mark.parametrize("kind", [object, "category", "string"])
def test_rows_go_by_their_place(index: Any, kind: Any) -> None:
    columns = {
        "input": [f"/{x}.png" for x in "wxyz"],
        "target": list("abab"),
        "split": ["test", "train", "valid", "train"],
    }
    samples = pd.DataFrame({name: pd.Series(cells, dtype=kind) for name, cells in columns.items()}).set_axis(index)
    checked = checked_samples(samples)
    assert checked.index.tolist() == [0, 1, 2, 3]
    assert checked[["input", "target", "split"]].to_dict("list") == columns
    split = split_samples(checked, RandomSplit(0.5))
    assert split["split"].tolist()[0] == "test"
    assert sorted(split["split"][1:]) == ["train", "train", "valid"]


def test_targets_and_paths_are_plain() -> None:
    samples = pd.DataFrame({"input": ["a.png", "/b.png"], "target": pd.array([1, None], dtype="Int64")})
    checked = checked_samples(samples)
    assert checked["input"].tolist() == [os.path.join(os.getcwd(), "a.png"), "/b.png"]
    assert type(checked["target"][0]) is int
    masks = checked_samples(pd.DataFrame({"input": ["a.png"], "target": ["m/a.png"]}), are_masks=True)
    assert masks["target"].tolist() == [os.path.join(os.getcwd(), "m/a.png")]


@pytest.mark.parametrize(
    "split", [pd.array(["test", None, None], dtype="string"), pd.Categorical(["test", None, None])]
)
def test_a_column_of_splits_may_have_gaps_that_a_split_fills(split: Any) -> None:
    samples = checked_samples(pd.DataFrame({"input": list("abc"), "target": list("aba"), "split": split}))
    assert sorted(split_samples(samples, RandomSplit(0.5))["split"]) == ["test", "train", "valid"]


@pytest.mark.parametrize(
    ("name", "text"), [("a", "a"), (b"caf\xc3\xa9", "café"), (Path("x/y"), "x/y"), (np.str_("b"), "b")]
)
def test_names_of_files_are_text_bytes_or_paths(name: Any, text: str) -> None:
    assert file_name(name, 0) == text


@pytest.mark.parametrize("name", [0, 1.5, None, ["a"], np.zeros((2, 2))])
def test_what_is_no_path_is_refused_with_its_row(name: Any) -> None:
    samples = pd.DataFrame({"input": pd.Series(["a", name], dtype=object), "target": [0, 1]})
    with pytest.raises(DataError, match=r"(?s)input of row 1: .*the path of a file\. .*from_datasets"):
        checked_samples(samples)


def test_tables_that_cannot_work_are_refused() -> None:
    with pytest.raises(WrongTypeError, match="expected a DataFrame with the columns input and target"):
        checked_samples(["a.png"])
    with pytest.raises(DataError, match="no column 'target'; columns are input"):
        checked_samples(pd.DataFrame({"input": ["a"]}))
    with pytest.raises(DataError, match="the table has 0 rows"):
        checked_samples(pd.DataFrame({"input": [], "target": []}))
    twice = pd.DataFrame([["a", "b", 0]], columns=["input", "input", "target"])
    with pytest.raises(DataError, match="several columns are called 'input'"):
        checked_samples(twice)
