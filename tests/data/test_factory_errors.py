"""The factories of ImageDataBunch: tables and arguments that are refused."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from learnkit import ImageDataBunch, LearnkitWarning
from learnkit.data.table.splits import StratifiedSplit
from learnkit.errors import DataError, MissingFileError, UnsafeFileError, WrongTypeError
from tests.doubles import refused

SMALL: dict[str, Any] = {"size": 8, "bs": 2, "augment": False, "channels": 1, "normalize": None, "num_workers": 0}
KINDS = ["cat"] * 5 + ["dog"] * 5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with img/0.png to img/9.png, each of one gray, ten times its number."""
    folder = tmp_path / "data"
    (folder / "img").mkdir(parents=True)
    for i in range(10):
        Image.new("L", (8, 8), 10 * i).save(folder / "img" / f"{i}.png")
    return folder


def csv(root: Path, columns: dict[str, Any], **options: Any) -> ImageDataBunch:
    """From a table of the ten images with these further columns, or of those named in a column `name`."""
    pd.DataFrame({"name": [f"{i}.png" for i in range(10)], **columns}).to_csv(root / "labels.csv", index=False)
    return ImageDataBunch.from_csv(root, **{"folder": "img", **SMALL, **options})


def test_a_column_of_splits_that_cannot_work_is_refused(root: Path) -> None:
    columns = {"label": KINDS, "use": ["train"] * 8 + ["dev", "valid"]}
    with refused("split: row 8", DataError, got="dev"):
        csv(root, columns, valid_col="use")
    for absent in ("sue", 3):
        with pytest.raises(DataError, match=r"no column .*; columns are name, label, use"):
            csv(root, columns, valid_col=absent)
    for options in ({"valid_pct": 0.2}, {"split": StratifiedSplit()}):
        with refused("valid_col", got="use", expected="None with valid_pct or split"):
            csv(root, columns, valid_col="use", **options)


def with_name(root: Path, name: str, **options: Any) -> ImageDataBunch:
    """The table with this name in row 3."""
    table = pd.DataFrame({"name": [f"img/{i}.png" for i in range(10)], "label": KINDS})
    table.loc[3, "name"] = name
    return ImageDataBunch.from_df(root, table, **{**SMALL, **options})


@pytest.mark.parametrize("way", ["up", "absolute", "link", "folder"])
def test_names_outside_the_folder_are_refused_unless_allowed(way: str, root: Path) -> None:
    secret = root.parent / "secret.png"
    Image.new("L", (8, 8), 255).save(secret)
    (root / "link.png").symlink_to(secret)
    (root / "folder").symlink_to(root.parent)
    name = {"up": "../secret.png", "absolute": str(secret), "link": "link.png", "folder": "folder/secret.png"}[way]
    with pytest.raises(UnsafeFileError, match=r"1 name points outside .*\(row 3\).*allow_outside=True"):
        with_name(root, name)
    dls = with_name(root, name, allow_outside=True)
    assert dls.prepare(dls.samples.query("name == @name")["input"].item()).max() == 1


def test_addresses_and_nul_characters_are_refused(root: Path) -> None:
    with pytest.raises(UnsafeFileError, match=r"file:///etc/passwd' \(row 3\)"):
        with_name(root, "file:///etc/passwd")
    with pytest.raises(MissingFileError, match=r"file:///etc/passwd' \(row 3\)"):
        with_name(root, "file:///etc/passwd", allow_outside=True)
    with pytest.raises(UnsafeFileError, match="row 3: a NUL character"):
        with_name(root, "img/3.png\0.jpg")


def test_bad_tables_are_refused(root: Path) -> None:
    with pytest.raises(MissingFileError, match=r"2 of 10 files are missing, first .*4\.png' \(row 4\), .*\(row 9\)"):
        csv(root, {"name": [f"{i}.png" if i % 5 < 4 else f"{i}4.png" for i in range(10)], "label": KINDS})
    with pytest.raises(DataError, match="no column 'kind'; columns are name, label"):
        csv(root, {"label": KINDS}, label_col="kind")
    with pytest.raises(DataError, match=r"2 rows have no label, first rows \[1, 7\]"):
        csv(root, {"label": [None if i in (1, 7) else kind for i, kind in enumerate(KINDS)]})
    with pytest.raises(DataError, match=r"1 row has no label, first rows \[4\]"):
        csv(root, {"x": [None if i == 4 else i / 2 for i in range(10)]}, task="regression")
    (root / "labels.csv").write_text("name,label\n")
    with pytest.raises(DataError, match="has 0 rows"):
        ImageDataBunch.from_csv(root)
    with pytest.raises(MissingFileError, match=r"no file .*other\.csv. CSV files there: labels\.csv"):
        ImageDataBunch.from_csv(root, "other.csv")


def test_path_and_table_in_the_wrong_order_are_reported(root: Path) -> None:
    table: Any = pd.DataFrame({"name": ["img/0.png", "img/1.png"], "label": ["cat", "dog"]})
    with pytest.raises(WrongTypeError, match=r"df: got .*Path', expected a DataFrame\. Call from_df\(path, df\)"):
        ImageDataBunch.from_df(table, root)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [False, 1, 2, -0.1, float("nan")])
def test_shares_that_cannot_work_are_refused(share: float, root: Path) -> None:
    with refused("valid_pct", got=share, expected="a share in (0, 1)"):
        csv(root, {"label": KINDS}, valid_pct=share)


def test_a_file_in_both_sets_is_refused_and_one_listed_twice_reported(root: Path) -> None:
    columns = {"name": [f"{i % 9}.png" for i in range(10)], "label": ["cat", "dog"] * 5}
    in_both, twice = [0] * 5 + [1] * 5, [1] + [0] * 8 + [1]
    with pytest.raises(DataError, match=r"1 file is in the training set and in another one.*0\.png.*allow_leak=True"):
        csv(root, {**columns, "v": in_both}, valid_col="v")
    assert len(csv(root, {**columns, "v": in_both}, valid_col="v", allow_leak=True).samples) == 10
    with pytest.warns(LearnkitWarning, match=r"1 row repeats a file of the split.*0\.png' \(row 9\)"):
        csv(root, {**columns, "v": twice}, valid_col="v")


def test_keywords_that_cannot_work_are_refused(root: Path) -> None:
    with pytest.raises(TypeError, match="batch_size"):
        csv(root, {"label": KINDS}, batch_size=3)
    for options in ({"on_error": "ignore"}, {"cache": "ram"}, {"split": 0.2}, {"seed": 1.5},
                    {"split": StratifiedSplit(), "valid_pct": 0.2}):  # fmt: skip
        with refused(next(iter(options)), got=next(iter(options.values()))):
            csv(root, {"label": KINDS}, **options)


def test_two_columns_of_one_name_are_named_or_kept(root: Path) -> None:
    table = pd.DataFrame({"name": [f"{i}.png" for i in range(10)], "label": KINDS})
    twice = pd.concat([table, pd.DataFrame({"x": range(10)}), pd.DataFrame({"x": range(10, 20)})], axis=1)
    samples = ImageDataBunch.from_df(root, twice, folder="img", valid_pct=0.2, **SMALL).samples
    assert list(samples.columns) == ["input", "target", "split", "name", "label", "x", "x"]
    assert (samples.iloc[:, 6] - samples.iloc[:, 5]).tolist() == [10] * 10
    for names in (["name", "name"], ["label", "label"]):
        twice = table.set_axis(names, axis=1)
        for columns in ({}, {"fn_col": names[0], "label_col": 1}):
            with refused(f"several columns are called {names[0]!r}", DataError):
                ImageDataBunch.from_df(root, twice, folder="img", valid_pct=0.2, **columns, **SMALL)  # type: ignore[arg-type]
