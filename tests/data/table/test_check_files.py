"""The files of a table before training: what is missing, leaks, repeats or cannot be read; sizes and masks."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from learnkit import ImageDataBunch
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image.resize import Resize
from learnkit.data.segmentation import Segmentation
from learnkit.data.table import check_files as checking
from learnkit.data.table.check_files import check_files, check_masks, common_size, unreadable
from learnkit.data.tasks import Classification
from learnkit.errors import DataError, ImageError, LearnkitWarning, MissingFileError

PREPROCESS = Preprocess(Resize((8, 8)), None)
TASK = Segmentation(["a", "b"], ignore_index=255)


def save_images(folder: Path, n: int, size: tuple[int, int] = (6, 4), value: int = 1) -> list[str]:
    folder.mkdir(exist_ok=True)
    files = [str(folder / f"{size[0]}-{i}.png") for i in range(n)]
    for file in files:
        Image.new("L", size, value).save(file)
    return files


def save_image(path: Path, color: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path)
    return path


def tree(root: Path, *names: str) -> Path:
    for name in names:
        save_image(root / name)
    return root


def rows(root: Path, *items: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame([(str(root / name), split) for name, split in items], columns=["input", "split"])


def masked(tmp_path: Path, n: int) -> pd.DataFrame:
    images, masks = save_images(tmp_path / "images", n), save_images(tmp_path / "masks", n)
    return pd.DataFrame({"input": images, "target": masks, "split": "train"})


def table(files: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"input": files, "target": ["ant"] * len(files), "more": range(len(files))})


def test_what_cannot_be_read_is_listed_and_reported(tmp_path: Path) -> None:
    files = save_images(tmp_path, 5)
    Path(files[1]).write_bytes(b"")
    Path(files[3]).write_bytes(Path(files[0]).read_bytes()[:40])
    samples = table([*files, str(tmp_path / "gone.png")])
    with pytest.warns(LearnkitWarning, match=r"3 of 6 items cannot be read and are left out:\n.*-1\.png") as caught:
        skipped = unreadable(samples, PREPROCESS, Classification(("ant", "bee")))
    assert skipped.index.tolist() == [1, 3, 5]
    assert skipped.columns.tolist() == ["input", "target", "more", "error"]
    for file, error in zip(skipped["input"], skipped["error"], strict=True):
        assert file in error
        assert error in str(caught[0].message)


def test_of_many_the_first_five_are_reported(tmp_path: Path) -> None:
    files = save_images(tmp_path, 8)
    for file in files[1:]:
        Path(file).write_bytes(b"text")
    with pytest.warns(LearnkitWarning, match=r"7 of 8 items (.|\n)*-5\.png(.|\n)*and 2 more: see `skipped`") as caught:
        assert len(unreadable(table(files), PREPROCESS, None)) == 7
    assert files[6] not in str(caught[0].message)


def test_what_can_be_read_is_not_reported(tmp_path: Path) -> None:
    assert unreadable(table(save_images(tmp_path, 3)), PREPROCESS, None).empty
    samples = masked(tmp_path, 3)
    assert unreadable(samples, PREPROCESS, TASK).empty
    samples["target"] = [samples["target"][0], None, float("nan")]  # a test set has no masks
    assert unreadable(samples, PREPROCESS, TASK).empty


def test_a_mask_that_cannot_be_used_is_listed(tmp_path: Path) -> None:
    samples = masked(tmp_path, 4)
    Path(samples["target"][0]).write_bytes(b"")
    Image.new("L", (6, 4), 7).save(samples["target"][1])
    Image.new("L", (4, 6), 1).save(samples["target"][2])
    with pytest.warns(LearnkitWarning, match="3 of 4 items"):
        skipped = unreadable(samples, PREPROCESS, TASK)
    assert skipped.index.tolist() == [0, 1, 2]
    for part, error in zip(("cannot be read", "{7}", "4 x 6"), skipped["error"], strict=True):
        assert part in error


def test_one_size_is_that_of_all_as_they_stand_upright(tmp_path: Path) -> None:
    files = save_images(tmp_path, 2)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 6)).save(tmp_path / "turned.jpg", exif=exif)
    assert common_size(table([*files, str(tmp_path / "turned.jpg")])) == (4, 6)


def test_sizes_that_differ_are_counted_with_an_example(tmp_path: Path) -> None:
    odd, many = save_images(tmp_path / "odd", 1, (50, 40)), save_images(tmp_path / "many", 35, (32, 31))
    with pytest.raises(DataError) as caught:
        common_size(table([*many[:3], *odd, *many[3:]]))
    for part in (f"32×31 ×35 e.g. {many[0]}", f"50×40 ×1 e.g. {odd[0]}", "Pass size="):
        assert part in str(caught.value)
    assert str(caught.value).index("×35") < str(caught.value).index("×1 ")


def test_of_many_sizes_five_are_shown(tmp_path: Path) -> None:
    files = [file for side in range(1, 9) for file in save_images(tmp_path, 1, (side, 3))]
    with pytest.raises(DataError, match=r"and 3 more\. Pass size="):
        common_size(table(files))


def test_a_file_without_a_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ImageError, match=r"text\.png cannot be read"):
        common_size(table([*save_images(tmp_path, 2), str(tmp_path / "text.png")]))


def test_masks_that_fit_pass(tmp_path: Path) -> None:
    samples = masked(tmp_path, 3)
    Image.fromarray(np.array([[0, 1, 255] * 2] * 4, dtype=np.uint8)).save(samples["target"][0])
    samples.loc[len(samples)] = {
        "input": str(tmp_path / "gone.png"),
        "target": None,
        "split": "test",
    }  # without a mask: not checked
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_masks(samples, PREPROCESS, TASK)
    check_masks(samples.iloc[:0], PREPROCESS, TASK)


@pytest.mark.parametrize(("size", "value", "parts"), [((4, 6), 1, ["4 x 6", "6 x 4"]), ((6, 4), 2, ["{2}"])])
def test_a_mask_that_does_not_fit_is_named_with_its_row(
    tmp_path: Path, size: tuple[int, int], value: int, parts: list[str]
) -> None:
    samples = masked(tmp_path, 4).set_axis([10, 11, 12, 13])
    Image.new("L", size, value).save(samples["target"][12])
    with pytest.raises(DataError) as caught:
        check_masks(samples, PREPROCESS, TASK)
    for part in [*parts, f"{samples['target'][12]} (row 12)"]:
        assert part in str(caught.value)


@pytest.mark.parametrize("mask", [np.zeros((4, 6), np.uint8), [[0, 1]], 3, b"png"])
def test_masks_are_files(tmp_path: Path, mask: Any) -> None:
    samples = masked(tmp_path, 2)
    samples["target"] = pd.Series([samples["target"][0], mask], dtype=object)
    with pytest.raises(DataError, match=r"the mask of row 1: got .*expected the path of a file"):
        check_masks(samples, PREPROCESS, TASK)
    names = pd.DataFrame({"file": samples["input"], "mask": samples["target"]})
    with pytest.raises(DataError, match="the mask of row 1"):
        ImageDataBunch.from_df(tmp_path, names, task=TASK, size=8)


@pytest.mark.parametrize("n", [199, 200, 201, 399, 400, 1000])
def test_at_most_200_masks_are_looked_at(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    seen: list[str] = []

    def stored(self: Preprocess, source: str, mask: str, **options: object) -> tuple[str]:
        seen.append(source)
        return (source,)

    monkeypatch.setattr(Preprocess, "decode", stored)
    monkeypatch.setattr(checking, "usable_cpus", lambda: 1)
    samples = pd.DataFrame({"input": [str(i) for i in range(n)], "target": ["m"] * n, "split": "train"})
    check_masks(samples, PREPROCESS, TASK)
    steps = np.diff([int(name) for name in seen])
    assert min(n, 100) <= len(seen) <= 200
    assert len(set(steps)) == 1
    assert n - int(seen[-1]) <= steps[0]


def failing_reader(error: Exception) -> Any:
    def read(file: str) -> Any:
        if file.endswith("3.png"):
            raise error
        return np.zeros((16, 16, 3), np.uint8)

    return read


@pytest.mark.parametrize("size", [16, None])
@pytest.mark.parametrize(
    "error", [KeyError("arr_0"), RuntimeError("cv2.error"), BadZipFile("no zip"), AttributeError("no PixelData")]
)
def test_files_that_a_reader_fails_on_are_named_or_skipped(tmp_path: Path, error: Exception, size: int | None) -> None:
    tree(tmp_path, *(f"{number}.png" for number in range(8)))
    files, labels = [tmp_path / f"{number}.png" for number in range(8)], ["a", "b", "a", "b", "a", "a", "b", "b"]
    options: Any = {"reader": failing_reader(error), "size": size, "bs": 2, "augment": False, "device": "cpu"}
    options["split"] = lambda table: [number > 4 for number in range(8)]
    with pytest.warns(LearnkitWarning, match=rf"1 of 8 items cannot be read.*(?s:.)*3\.png.*{type(error).__name__}"):
        dls = ImageDataBunch.from_lists(tmp_path, files, labels, on_error="skip", **options)
    assert (len(dls.samples), len(dls.skipped)) == (7, 1)
    with pytest.raises(ImageError, match=r"3\.png.*the reader failed"):
        list(ImageDataBunch.from_lists(tmp_path, files, labels, **options).fix_dl)


@pytest.mark.parametrize("returned", [None, 3, np.zeros(5), "pixels"])
def test_a_reader_that_returns_no_image_is_named_when_sizes_are_compared(returned: Any) -> None:
    samples = pd.DataFrame({"input": ["a.h5"]})
    with pytest.raises(ImageError, match=r"a\.h5: the reader returned"):
        common_size(samples, lambda file: returned)


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
    with pytest.raises(DataError, match=r"^1 file is in the training set and in another one.*a\.png \(rows \[1, 2\]"):
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


def test_files_that_are_known_are_not_asked_for_but_compared(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "a.png")
    samples = rows(tmp_path, ("a.png", "train"), ("c.png", "valid"), ("none.png", "valid"))
    asked = {str(tmp_path / name) for name in ("c.png", "of no row.png")}
    with pytest.raises(DataError, match=r"in the training set and in another one.*a\.png \(rows \[0, 1\]"):
        check_files(samples, asked, allow_leak=False)
    with pytest.raises(MissingFileError, match=r"1 of 3 files are missing, first '.*none\.png' \(row 2\)"):
        check_files(samples, asked | {str(tmp_path / "none.png")}, allow_leak=False)


LEAKS: dict[str, Callable[[Path], None]] = {
    "a linked file": lambda root: (root / "valid/ant/9.png").symlink_to(root / "train/ant/0.png"),
    "a linked class": lambda root: (root / "valid/cat").symlink_to(root / "train/ant"),
    "a linked class in train": lambda root: (root / "train/cat").symlink_to(root / "valid/ant"),
    "a relative link": lambda root: (root / "valid/ant/9.png").symlink_to("../../train/ant/0.png"),
    "a link to a link": lambda root: (root / "valid/dog").symlink_to(chain(root)),
}


def chain(root: Path) -> Path:
    (root / "between").symlink_to(root / "train/bee")
    return root / "between"


@pytest.mark.parametrize("by", ["its path", "a relative path", "a link"])
@pytest.mark.parametrize("leak", LEAKS)
def test_links_between_the_splits_of_a_folder_are_found(
    leak: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    for name in ("train/ant/0.png", "train/bee/1.png", "valid/ant/2.png", "valid/bee/3.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alias").symlink_to(root)
    path = {"its path": root, "a relative path": Path("data"), "a link": tmp_path / "alias"}[by]
    assert len(ImageDataBunch.from_folder(path, size=8, bs=1).samples) == 4
    LEAKS[leak](root)
    with pytest.raises(DataError, match="1 file is in the training set and in another one"):
        ImageDataBunch.from_folder(path, size=8, bs=1)


@pytest.mark.parametrize("factory", ["from_folder", "from_name_re"])
def test_a_link_to_nothing_in_a_folder_is_a_missing_file(factory: str, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    options: Any = {"valid_pct": 0.5, "size": 8, "bs": 2}
    arguments = {"from_folder": (tmp_path,), "from_name_re": (tmp_path, None, r"/([ab])/")}[factory]
    with pytest.raises(MissingFileError, match=r"1 of 5 files are missing, first '.*gone\.png'"):
        getattr(ImageDataBunch, factory)(*arguments, **options)


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/0.png", "a/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    listed, real = [], os.scandir

    def counted(folder: Any) -> Any:
        if str(folder).startswith(str(tmp_path)):
            listed.append(os.path.relpath(folder, tmp_path))
        return real(folder)

    monkeypatch.setattr(os, "scandir", counted)
    options: Any = {"split": lambda table: [False, True] * 2, "size": 8, "bs": 1}
    ImageDataBunch.from_folder(tmp_path, **options)
    assert sorted(listed) == [".", "a", "b"]
    ImageDataBunch.from_name_re(
        tmp_path, None, r"/([ab])/", split=lambda table: [False, True] * 2, size=8, bs=1, num_workers=0
    )
    assert len(listed) == 6


def test_a_file_in_validation_and_test_is_not_a_leak(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png")
    check_files(rows(tmp_path, ("b.png", "train"), ("a.png", "valid"), ("a.png", "test")), allow_leak=False)


@pytest.mark.parametrize("allow_leak", [True, False])
def test_a_file_twice_in_a_split_is_reported(tmp_path: Path, allow_leak: bool) -> None:
    names: list[Any] = ["cat/a.png", *links(tmp_path)]
    samples = rows(tmp_path, *((name, "train") for name in names))
    with pytest.warns(LearnkitWarning, match=r"^3 rows repeat a file of the split, first .*\(row 1\)"):
        check_files(samples, allow_leak=allow_leak)


@pytest.mark.parametrize(
    ("there", "name", "fix"),
    [
        ("a/1.png", r"a\1.png", r"df[column].str.replace('\\', '/') writes slashes"),
        ("1.PNG", "1.png", "There is '1.PNG': upper and lower case differ."),
        ("1.jpeg", "1", "There is '1.jpeg': pass suffix='.jpeg'."),
        ("2.png", "1.png", "Check path, folder=, suffix= and the column, fn_col="),
        ("2.png", "b/1.png", "Check path, folder=, suffix= and the column, fn_col="),
    ],
)
def test_a_missing_file_comes_with_what_is_there(there: str, name: str, fix: str, tmp_path: Path) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(b"")
    samples = pd.DataFrame({"input": [f"{tmp_path}/{name}"], "split": ["train"]})
    with pytest.raises(MissingFileError) as caught:
        check_files(samples, allow_leak=False)
    assert fix in caught.value.fix


@pytest.mark.parametrize("target", ["gone.png", "../gone/1.png", "/nowhere/1.png"])
def test_a_missing_file_that_is_a_link_says_where_it_leads(target: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to(target)
    samples = pd.DataFrame({"input": [f"{tmp_path}/1.png"], "split": ["train"]})
    with pytest.raises(MissingFileError) as caught:
        check_files(samples, allow_leak=False)
    assert caught.value.fix == f"It is a link to {target!r}, which is not there: correct or remove it."
