"""The table of samples: its splits, its order, and how its rows are named."""

import pandas as pd

from learnkit.data.table.samples import in_order, rows_text, split_samples
from learnkit.data.table.splits import ColumnSplit, RandomSplit


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
