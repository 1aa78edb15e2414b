"""Tables of samples from lists: what a cell means, and names that are refused."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learnkit.data.table.from_csv import frame_samples, list_samples, named_samples, pattern_label, read_table
from learnkit.errors import DataError, MissingFileError, UnsafeFileError, UsageError
from tests.doubles import refused


def read(file: Path, text: str | bytes, delimiter: str | None = None, header: Any = "infer") -> pd.DataFrame:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(file, delimiter, header, empty_is_none=False)


def samples_of(root: Path, table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    arguments = {"folder": "", "fn_col": 0, "label_col": 1, "label_delim": None, "suffix": "", "as_numbers": False,
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


def test_several_labels_in_a_cell(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": list("abcde"), "tags": ["sun sea", "", None, " sea  sun sea ", 3]})
    targets = samples_of(tmp_path, table, label_delim=" ")["target"].tolist()
    assert targets == [["sun", "sea"], [], [], ["sea", "sun"], ["3"]]
    with refused("label_delim", got=" ", expected="None with several label columns"):
        samples_of(tmp_path, table.assign(more="x"), label_col=["tags", "more"], label_delim=" ")


@pytest.mark.parametrize("kind", [int, float, bool])
def test_columns_of_yes_and_no_are_labels(kind: type, tmp_path: Path) -> None:
    table = pd.DataFrame({"name": list("abc"), "sea": [1, 0, 0], "sun": [1, 1, 0]}).astype({"sea": kind, "sun": kind})
    for columns in (["sea", "sun"], [1, 2], (-2, "sun")):
        assert samples_of(tmp_path, table, label_col=columns)["target"].tolist() == [["sea", "sun"], ["sun"], []]


def test_columns_of_numbers_are_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": list("ab"), "x": [0.5, 1], "y": [3, 4], "left": [0, 1], "right": [1, 1]})
    assert samples_of(tmp_path, table, label_col=["x", "y"])["target"].tolist() == [(0.5, 3.0), (1.0, 4.0)]
    numbers = samples_of(tmp_path, table, label_col=["left", "right"], as_numbers=True)["target"].tolist()
    assert numbers == [(0.0, 1.0), (1.0, 1.0)]


def test_columns_of_text_are_labels_unless_empty(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": list("ab"), "first": ["sun", "sea"], "second": [None, "boat"]})
    assert samples_of(tmp_path, table, label_col=[1, 2])["target"].tolist() == [["sun"], ["sea", "boat"]]


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
    with pytest.raises(UnsafeFileError, match=r"1 names point outside .*database/x\.png' \(row 0\)"):
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
        with pytest.raises(UnsafeFileError, match=r"1 names point outside .*\(row 1\)"):
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
