"""Tables of samples from lists: what a cell means, and names that are refused."""

import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit import LearnkitWarning
from learnkit.data.table.from_csv import frame_samples, read_table, without_split_columns
from learnkit.errors import DataError, MissingFileError, UnsafeFileError, UsageError


def read(file: Path, text: str | bytes, delimiter: str | None = None, header: Any = "infer") -> pd.DataFrame:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(file, delimiter, header, empty_is_none=False)


def samples_of(root: Path, table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    arguments = {"folder": "", "fn_col": 0, "label_col": 1, "label_delim": None, "suffix": "", "kind": None,
                 "allow_outside": False, **options}  # fmt: skip
    return frame_samples(root, table, **arguments)


def names(root: Path, table: pd.DataFrame, **options: Any) -> list[str]:
    return [os.path.relpath(name, root) for name in samples_of(root, table, **options)["input"]]


def test_a_table_is_read_as_it_stands(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "name,label\nx,1\ny,2\n").to_dict("list") == {"name": ["x", "y"], "label": [1, 2]}
    assert read(tmp_path / "a.csv", "x;1\ny;2\n", ";", None).to_dict("list") == {0: ["x", "y"], 1: [1, 2]}
    assert read(tmp_path / "a.tsv", "name\tlabel\nx\t1\n").to_dict("list") == {"name": ["x"], "label": [1]}


def test_only_an_empty_cell_is_missing_if_labels_look_like_missing_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,label\nx,NA\ny,\nz,None\n")
    for empty_is_none, missing in ((True, [False, True, False]), (False, [True, True, True])):
        table = read_table(tmp_path / "a.csv", None, "infer", empty_is_none=empty_is_none)
        assert table["label"].isna().tolist() == missing


def test_a_missing_table_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x")
    with pytest.raises(MissingFileError, match=r"no file .*labels\.csv. CSV files there: train\.csv") as caught:
        read_table(tmp_path / "labels.csv", None, "infer", empty_is_none=False)
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(MissingFileError, match="CSV files there: none"):
        read_table(tmp_path / "nowhere" / "labels.csv", None, "infer", empty_is_none=False)


@pytest.mark.parametrize("text", ["", "\n", "name,label\n"])
def test_a_table_without_rows_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv has 0 rows"):
        read(tmp_path / "a.csv", text)
    with pytest.raises(DataError, match="the table has 0 rows"):
        samples_of(tmp_path, pd.DataFrame({"name": [], "label": []}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,2,3,4\n", "cannot be read as a table .*delimiter="),
        (b"\xff\xfe\x00\xd8,b\n1,2\n", "is not UTF-8 text .*from_df"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"a\.csv {message}"):
        read(tmp_path / "a.csv", text)


def test_columns_are_kept_and_rows_numbered_from_0(tmp_path: Path) -> None:
    table = pd.DataFrame({"age": [3, 4], "file": ["a.png", "b.png"], "kind": ["x", "y"]}, index=[7, 7])
    samples = samples_of(tmp_path, table, fn_col="file", label_col="kind")
    assert samples.columns.tolist() == ["age", "file", "kind", "input", "target"]
    assert samples.index.tolist() == [0, 1]
    assert samples["target"].tolist() == ["x", "y"]
    assert samples["age"].tolist() == [3, 4]
    assert table.columns.tolist() == ["age", "file", "kind"]


def test_folder_and_suffix_are_put_around_the_name(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": [12, 7], "kind": ["x", "y"]})
    assert names(tmp_path, table) == ["12", "7"]
    assert names(tmp_path, table, folder="images/small", suffix=".jpg") == ["images/small/12.jpg", "images/small/7.jpg"]


@pytest.mark.parametrize("column", [{"fn_col": "nmae"}, {"label_col": "nmae"}, {"label_col": ["kind", "nmae"]}])
def test_a_missing_column_names_those_there_are(column: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'nmae'; columns are name, kind"):
        samples_of(tmp_path, pd.DataFrame({"name": ["a"], "kind": ["x"]}), **column)


@pytest.mark.parametrize("missing", [None, float("nan"), "", pd.NA])
def test_rows_without_a_name_are_refused(missing: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'name': no name in rows \[1, 3\]"):
        samples_of(tmp_path, pd.DataFrame({"name": ["a", missing, "b", missing], "kind": list("xyxy")}), fn_col="name")


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "file:///etc/passwd", "http://x/a.png"])
def test_names_outside_the_folder_are_refused_with_their_rows(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "a").mkdir(parents=True)
    table = pd.DataFrame({"name": ["a.png", name, "b.png", name], "kind": list("xyxy")})
    with pytest.raises(UnsafeFileError, match=rf"^2 names point outside .*{re.escape(name)}' \(row 1\), .*\(row 3\)"):
        samples_of(root, table)
    assert samples_of(root, table, allow_outside=True)["input"][1] == f"{root}/{name}"


def test_absolute_names_must_be_inside(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "database").mkdir()
    outside = pd.DataFrame({"name": [str(tmp_path / "database" / "x.png")], "kind": ["x"]})
    with pytest.raises(UnsafeFileError, match=r"1 name points outside .*database/x\.png' \(row 0\)"):
        samples_of(root, outside)
    assert samples_of(root, outside, allow_outside=True)["input"].tolist() == outside["name"].tolist()
    inside = pd.DataFrame({"name": [str(root / "x.png")], "kind": ["x"]})
    assert names(root, inside) == ["x.png"]


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    root, away = tmp_path / "data", tmp_path / "away"
    root.mkdir()
    away.mkdir()
    (away / "x.png").write_bytes(b"")
    (root / "link.png").symlink_to(away / "x.png")
    (root / "folder").symlink_to(away)
    (root / "inside.png").symlink_to(root / "folder" / ".." / "data" / "y.png")
    for name in ("link.png", "folder/x.png", "folder/none.png"):
        table = pd.DataFrame({"name": ["y.png", name], "kind": list("xy")})
        with pytest.raises(UnsafeFileError, match=r"1 name points outside .*\(row 1\)"):
            samples_of(root, table)
        assert names(root, table, allow_outside=True) == ["y.png", name]
    assert names(root, pd.DataFrame({"name": ["inside.png"], "kind": ["x"]})) == ["inside.png"]
    (tmp_path / "alias").symlink_to(root)  # a link of the user to the data is allowed
    assert names(tmp_path / "alias", pd.DataFrame({"name": ["y.png"], "kind": ["x"]})) == ["y.png"]


def test_names_may_leave_the_image_folder_but_not_the_data(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    table = pd.DataFrame({"name": ["../other/a.png"], "kind": ["x"]})
    (tmp_path / "other").mkdir()
    assert names(tmp_path, table, folder="images") == ["other/a.png"]
    with pytest.raises(UnsafeFileError):
        samples_of(tmp_path, table, folder="..")


def test_a_nul_character_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFileError, match=r"row 1: a NUL character in the name '.*b\\x00\.png'"):
        samples_of(tmp_path, pd.DataFrame({"name": ["a.png", "b\0.png"], "kind": list("xy")}))


@pytest.mark.parametrize("columns", [["id", "label"], [0, 1], [-3, -2], [np.int64(0), np.int64(1)]])
@pytest.mark.parametrize("text", ["0001,007", "12e10,1e5", "1_000,NaN1", "+5,-0"])
def test_columns_of_names_and_labels_are_text_as_it_stands(columns: list[Any], text: str, tmp_path: Path) -> None:
    name, label = text.split(",")
    (tmp_path / "a.csv").write_text(f"id,label,age\n{text},07\n{text},08\n")
    table = read_table(tmp_path / "a.csv", None, "infer", empty_is_none=False, text_columns=columns)
    assert table.to_dict("list") == {"id": [name] * 2, "label": [label] * 2, "age": [7, 8]}
    (tmp_path / "b.csv").write_text(f"{text}\n{text}\n")
    bare = read_table(tmp_path / "b.csv", None, None, empty_is_none=False, text_columns=[0, 1, 7, "x"])
    assert bare.to_numpy().tolist() == [[name, label]] * 2


@pytest.mark.parametrize(("name", "fn_col"), [("a.png", 0), ("b.JPG", 0), ("a", 0), ("a.png", "name"), ("a.png", -2)])
def test_a_first_line_that_names_an_image_is_no_header(name: str, fn_col: Any, tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(b"")
    suffix = "" if "." in name else ".png"
    (tmp_path / "a.csv").write_text(f"{name},cat\nc,dog\n")
    with pytest.raises(DataError, match=rf"the first line names an image, '{name}': .*header=None"):
        read_table(tmp_path / "a.csv", None, "infer", empty_is_none=False, images=(tmp_path / "img", fn_col, suffix))
    assert len(read_table(tmp_path / "a.csv", None, None, empty_is_none=False, images=(tmp_path, 0, ""))) == 2
    (tmp_path / "a.csv").write_text(f"name,label\n{name},cat\n")
    assert len(read_table(tmp_path / "a.csv", None, 0, empty_is_none=False, images=(tmp_path / "img", 0, suffix))) == 1


def test_an_index_column_is_seen_where_it_is_taken_for_names_or_labels(tmp_path: Path) -> None:
    pd.DataFrame({"name": ["a.png", "b.png"], "kind": ["x", "y"]}).to_csv(tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    for columns in ({}, {"fn_col": "name", "label_col": 0}):
        with pytest.raises(UsageError, match=r"first column has no name and numbers the rows.*by name, of name, kind"):
            samples_of(tmp_path, table, **columns)
    assert samples_of(tmp_path, table, fn_col=1, label_col=2)["target"].tolist() == ["x", "y"]
    assert names(tmp_path, table.assign(**{"Unnamed: 0": ["5", "7"]})) == ["5", "7"]


@pytest.mark.parametrize(("name", "text"), [(b"a.png", "a.png"), (Path("a.png"), "a.png"), (12.0, "12"), (7, "7")])
def test_names_may_be_bytes_paths_and_whole_numbers(name: Any, text: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"name": pd.Series([name], dtype=object), "kind": ["x"]})
    assert names(tmp_path, table) == [text]


@pytest.mark.parametrize("name", [1.5, ["a"], {"a": 1}])
def test_other_names_are_refused_with_their_row(name: Any, tmp_path: Path) -> None:
    table = pd.DataFrame({"name": pd.Series(["a.png", name], dtype=object), "kind": ["x", "y"]})
    with pytest.raises(DataError, match="row 1: name of type"):
        samples_of(tmp_path, table)


def test_masks_named_in_a_table_are_relative_to_the_path_and_held_inside(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": ["a.png", "b.png"], "mask": ["masks/a.png", "masks/b.png"]})
    samples = samples_of(tmp_path, table, folder="img", kind="masks")
    assert samples["target"].tolist() == [f"{tmp_path}/masks/a.png", f"{tmp_path}/masks/b.png"]
    outside = table.assign(mask=["masks/a.png", "../b.png"])
    with pytest.raises(UnsafeFileError, match=r"1 name points outside .*b\.png' \(row 1\)"):
        samples_of(tmp_path, outside, kind="masks")
    assert len(samples_of(tmp_path, outside, kind="masks", allow_outside=True)) == 2


def test_a_table_remembers_its_classes_only_for_the_same_labels(tmp_path: Path) -> None:
    table = pd.DataFrame({"input": ["a.png"], "target": ["x"], "kind": ["y"]})
    table.attrs = {"learnkit": {"task": "classification", "classes": ["x", "z"]}, "mine": 1}
    assert samples_of(tmp_path, table, fn_col="input", label_col="target").attrs == table.attrs
    assert samples_of(tmp_path, table, fn_col="input", label_col="kind").attrs == {"mine": 1}


@pytest.mark.parametrize("row", ["a.png,cat,dog", "a.png,cat,dog\nb.png,cat", "0,a.png,cat"])
def test_rows_that_are_longer_than_the_first_line_shift_nothing(row: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows have more cells than the first line"):
        read(tmp_path / "a.csv", f"name,label\n{row}\n")
    trailing = read(tmp_path / "a.csv", "name,label\na.png,cat,\nb.png,dog,\n")
    assert trailing["name"].tolist() == ["a.png", "b.png"]


@pytest.mark.parametrize("header", [True, False, "yes", [0, 1], 1.0])
def test_a_header_is_a_line_or_none(header: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'header: got .*expected "infer", the number of a line, or None'):
        read(tmp_path / "a.csv", "name,label\na.png,cat\n", header=header)
    assert list(read(tmp_path / "a.csv", "x,y\nname,label\na.png,cat\n", header=np.int64(1))) == ["name", "label"]


def test_a_column_that_is_there_twice_is_asked_for_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.TSV").write_text("name\tlabel\tlabel\na.png\tcat\tdog\n")
    with pytest.raises(DataError, match="several columns are called 'label'"):
        read_table(tmp_path / "a.TSV", None, "infer", empty_is_none=False, text_columns=["name", "label"])
    table = read_table(tmp_path / "a.TSV", None, "infer", empty_is_none=False, text_columns=[0, 2])
    assert table.iloc[0].tolist() == ["a.png", "cat", "dog"]


def test_a_column_of_splits_that_is_not_used_is_named() -> None:
    table = pd.DataFrame({"input": ["a", "b"], "split": ["train", "valid"]})
    with pytest.warns(LearnkitWarning, match=r"the column 'split' names splits and is not used: valid_col='split'"):
        assert list(without_split_columns(table, is_split=False)) == ["input"]
    with pytest.warns(LearnkitWarning, match="valid_col='is_valid' uses it"):
        without_split_columns(table.assign(split=0, is_valid=[True, False]), is_split=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without_split_columns(table, is_split=True)
        for others in (["left", "right"], ["train", "train"], [0.5, None]):
            without_split_columns(table.assign(split=others), is_split=False)


@pytest.mark.parametrize("delimiter", ["", "\\t", "\\|", "ab", 1])
def test_a_delimiter_is_one_character(delimiter: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected one character"):
        read(tmp_path / "a.csv", "name\tlabel\na.png\tx\n", delimiter)


@pytest.mark.parametrize("delimiter", ["\t", r"\s+"])
def test_a_tab_and_any_spaces_are_delimiters(delimiter: str, tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "name\tlabel\na.png\tx\n", delimiter).to_numpy().tolist() == [["a.png", "x"]]
