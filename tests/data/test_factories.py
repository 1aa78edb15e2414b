"""The factories of ImageDataBunch, end to end on real files."""

import inspect
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from learnkit import DatasetType, ImageDataBunch, LearnkitWarning, get_image_files
from learnkit.data.options import ImageOptions, ImageSettings
from learnkit.data.table.splits import FileListSplit, GroupSplit, StratifiedSplit
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import DataError, UsageError, WrongTypeError
from tests.doubles import refused

SMALL: dict[str, Any] = {"size": 8, "bs": 2, "augment": False, "channels": 1, "normalize": None, "num_workers": 0}
FACTORIES = ("from_folder", "from_csv", "from_df", "from_lists", "from_name_func", "from_path_func", "from_name_re",
             "from_folder_masks", "from_samples", "single_from_classes")  # fmt: skip


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


def numbers(dls: ImageDataBunch, split: str) -> list[int]:
    """The numbers of the images of a split, in the order of the table."""
    return [int(Path(name).stem) for name in dls.samples.query("split == @split")["input"]]


def targets(dls: ImageDataBunch, part: DatasetType = DatasetType.Valid) -> torch.Tensor:
    return torch.cat([y for _, y in dls.ordered_dl(part)])


KINDS = ["cat"] * 5 + ["dog"] * 5


def test_a_csv_file_is_all_it_takes(root: Path) -> None:
    dls = csv(root, {"label": KINDS})
    assert dls.task == Classification(("cat", "dog"))
    assert dls.path == root
    assert sorted(numbers(dls, "valid")) == [2, 6]  # the first of torch.randperm(10) seeded 42
    assert numbers(dls, "train") == [0, 1, 3, 4, 5, 7, 8, 9]
    x, y = dls.one_batch()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((2, 1, 8, 8), torch.float32, (2,), torch.int64)


@pytest.mark.parametrize(
    ("values", "test"),
    [
        ([False] * 7 + [True] * 3, []),
        ([0] * 7 + [1] * 3, []),
        (["train"] * 7 + ["valid"] * 3, []),
        (["train"] * 7 + ["val"] * 2 + ["test"], [9]),
    ],
)
@pytest.mark.parametrize("column", ["use", 2])
def test_a_column_defines_the_split(values: list[Any], test: list[int], column: Any, root: Path) -> None:
    dls = csv(root, {"label": ["cat", "dog"] * 5, "use": values}, valid_col=column)
    assert numbers(dls, "train") == list(range(7))
    assert numbers(dls, "valid") == [i for i in (7, 8, 9) if i not in test]
    assert numbers(dls, "test") == test
    assert (dls.test_dl is not None) == bool(test)
    assert dls.samples["use"].tolist() == values


def test_several_labels_in_a_cell_and_none_in_an_empty_one(root: Path) -> None:
    tags = ["sea sun", "", "sun", "NA sea", "sea", "sun NA", "sea sun", "", "sun", "NA sea"]
    dls = csv(root, {"tags": tags, "v": [i > 5 for i in range(10)]}, label_delim=" ", valid_col="v")
    assert dls.task == MultiLabel(("NA", "sea", "sun"))
    assert targets(dls).tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 1], [1, 1, 0]]
    assert targets(dls).dtype == torch.float32


def test_a_column_a_label(root: Path) -> None:
    columns = {"sea": [1, 0, 0, 1] * 2 + [1, 0], "sun": [0, 0, 1, 1] * 2 + [1, 0], "v": [0] * 6 + [1] * 4}
    dls = csv(root, columns, label_col=["sea", "sun"], valid_col="v")
    assert dls.task == MultiLabel(("sea", "sun"))
    assert targets(dls).tolist() == [[0, 1], [1, 1], [1, 1], [0, 0]]


def test_numbers_are_a_regression_when_it_is_said(root: Path) -> None:
    columns = {"x": [i / 4 for i in range(10)], "y": list(range(10)), "hit": [0, 1] * 5, "v": [0] * 8 + [1] * 2}
    with pytest.raises(UsageError, match="task='regression'"):
        csv(root, columns, label_col="x", valid_col="v")
    one = csv(root, columns, label_col="x", valid_col="v", task="regression")
    assert one.task == Regression()
    assert targets(one).tolist() == [[2.0], [2.25]]
    two = csv(root, columns, label_col=[1, 2], valid_col="v", task="regression")
    assert two.task == Regression(("x", "y"))
    assert targets(two).tolist() == [[2.0, 8.0], [2.25, 9.0]]
    assert targets(two).dtype == torch.float32
    bits = csv(root, columns, label_col=["hit", "v"], valid_col="v", task=Regression(("hit", "v")))
    assert targets(bits).tolist() == [[0.0, 1.0], [1.0, 1.0]]


def test_integers_are_classes(root: Path) -> None:
    dls = csv(root, {"n": [10] * 5 + [9] * 5})
    assert dls.classes == ["9", "10"]
    assert csv(root, {"n": [10] * 5 + [9] * 5}, task="regression").task == Regression()


def test_integers_with_an_unlabeled_test_folder(root: Path) -> None:
    os.rename(root / "img" / "0.png", root / "spare.png")
    (root / "test").mkdir()
    os.rename(root / "spare.png", root / "test" / "0.png")
    columns = {"name": [f"{i}.png" for i in range(1, 10)], "n": [10, 9, 2] * 3}
    pd.DataFrame(columns).to_csv(root / "labels.csv", index=False)
    dls = ImageDataBunch.from_csv(root, folder="img", test="test", split=StratifiedSplit(0.34), **SMALL)
    assert dls.classes == ["2", "9", "10"]
    assert dls.samples["target"].isna().tolist() == [False] * 9 + [True]


@pytest.mark.parametrize("options", [{}, {"valid_pct": 0.2}])
def test_the_seed_draws_the_split(options: dict[str, Any], root: Path) -> None:
    dls = csv(root, {"x": [i / 2 for i in range(10)]}, task="regression", seed=43, **options)
    drawn = torch.randperm(10, generator=torch.Generator().manual_seed(43))[:2]
    assert numbers(dls, "valid") == sorted(drawn.tolist()) != [2, 6]


def test_suffix_folder_delimiter_and_no_header(root: Path) -> None:
    (root / "l.txt").write_text("".join(f"{i};{kind}\n" for i, kind in enumerate(KINDS)))
    dls = ImageDataBunch.from_csv(root, "l.txt", "img", suffix=".png", delimiter=";", header=None, **SMALL)
    assert dls.samples["input"][0] == str(root / "img" / "0.png")
    assert len(dls.samples) == 10


def test_further_columns_are_kept_except_an_unrequested_split(root: Path) -> None:
    extra = {"label": KINDS, "age": list(range(20, 30)), "split": ["x"] * 10}
    dls = csv(root, extra)
    assert dls.samples.columns.tolist() == ["input", "target", "split", "name", "label", "age"]
    assert [age - 20 for age in dls.samples["age"]] == numbers(dls, "train") + numbers(dls, "valid")
    grouped = csv(
        root, {**extra, "label": ["cat", "dog"] * 5, "age": [i // 5 for i in range(10)]}, split=GroupSplit("age", 0.5)
    )
    assert grouped.samples.groupby("split")["age"].nunique().to_dict() == {"train": 1, "valid": 1}


def test_rows_of_a_split_are_in_the_order_of_predictions(root: Path) -> None:
    dls = csv(root, {"label": KINDS}, valid_pct=0.5, seed=3)
    for part, split in ((DatasetType.Valid, "valid"), (DatasetType.Train, "train")):
        rows = dls.samples.query("split == @split")
        assert [dls.classes[i] for i in targets(dls, part)] == rows["target"].tolist()
        grays = torch.cat([x for x, _ in dls.ordered_dl(part)])[:, 0, 0, 0] * 255
        assert grays.round().int().tolist() == [10 * number for number in numbers(dls, split)]


def test_lists_of_files_and_labels(root: Path) -> None:
    names = [root / "img" / f"{i}.png" if i % 2 else f"img/{i}.png" for i in range(10)]
    dls = ImageDataBunch.from_lists(root, names, KINDS, **SMALL)
    assert dls.task == Classification(("cat", "dog"))
    assert numbers(dls, "valid") == [2, 6]
    points = ImageDataBunch.from_lists(root, names, [(i / 2, 1.0) for i in range(10)], task="regression", **SMALL)
    assert points.task == Regression(("value 0", "value 1"))
    several = ImageDataBunch.from_lists(root, names, [["a"]] * 5 + [["a", "b"]] * 5, **SMALL)
    assert several.classes == ["a", "b"]
    with pytest.raises(DataError, match="got 10 names and 9 labels"):
        ImageDataBunch.from_lists(root, names, KINDS[:9], **SMALL)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lambda_labels_whatever_the_workers(workers: int, root: Path) -> None:
    def odd(path: str) -> str:
        return "odd" if int(Path(path).stem) % 2 else "even"

    for factory in (ImageDataBunch.from_name_func, ImageDataBunch.from_path_func):
        dls = factory(root, None, lambda path: odd(path), **{**SMALL, "num_workers": workers, "valid_pct": 0.4})
        assert [dls.classes[i] for i in targets(dls)] == [odd(f"{number}.png") for number in numbers(dls, "valid")]
        assert len(dls.samples) == 10


def test_a_pattern_labels(root: Path) -> None:
    for i in range(10):
        os.rename(root / "img" / f"{i}.png", root / "img" / f"{KINDS[i]}_{i}.png")
    dls = ImageDataBunch.from_name_re(root / "img", None, r"/([^/]+)_\d+\.png$", **SMALL)
    assert dls.samples["target"].tolist() == [Path(name).stem.split("_")[0] for name in dls.samples["input"]]
    assert dls.classes == ["cat", "dog"]
    names = ["img/cat_0.png", "img/dog_5.png", "img/cat_1.png", "img/dog_6.png"]
    some = ImageDataBunch.from_name_re(root, names, r"/([a-z]+)_\d", split=FileListSplit(names[2:]), **SMALL)
    assert [Path(name).name for name in some.valid_ds.inputs] == ["cat_1.png", "dog_6.png"]
    with pytest.raises(DataError, match=r"is not found in '.*cat_0\.png'"):
        ImageDataBunch.from_name_re(root / "img", None, r"(\d+)\.jpg", **SMALL)


def test_a_relative_path_is_joined_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    expected = [os.path.join(root, "img", f"{i}.png") for i in range(10)]
    found, relative = get_image_files(root.name), [f"img/{i}.png" for i in range(10)]
    for names in (None, found, map(str, found), relative, [root / name for name in relative]):
        dls = ImageDataBunch.from_name_func(root.name, names, lambda path: path[-5] in "01234", **SMALL)
        assert sorted(map(os.path.normpath, dls.samples["input"])) == expected
    for names in (found, relative):
        assert sorted(ImageDataBunch.from_lists(root.name, names, KINDS, **SMALL).samples["input"]) == expected


def test_a_folder_named_as_its_parent_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    os.rename(root / "img", root / root.name)
    names = [f"{root.name}/{i}.png" for i in range(10)]
    dls = ImageDataBunch.from_lists(root.name, names, KINDS, **SMALL)
    assert sorted(dls.samples["input"]) == [f"{root}/{name}" for name in names]


def test_the_order_of_the_file_system_does_not_matter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> list[list[Any]]:
        dls = ImageDataBunch.from_name_func(root, None, lambda path: path[-5] in "01234", **SMALL)
        return [dls.samples[name].tolist() for name in ("input", "target", "split")]

    first, real = made(), os.walk

    def backwards(top: Any, **options: Any) -> Any:
        for where, folders, files in real(top, **options):
            folders.sort(reverse=True)
            yield where, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert made() == first


def test_a_table_is_used_again(root: Path) -> None:
    samples = csv(root, {"label": KINDS}).samples
    again = ImageDataBunch.from_samples(samples[samples["input"] != str(root / "img" / "3.png")], root, **SMALL)
    assert numbers(again, "train") == [0, 1, 4, 5, 7, 8, 9]
    assert numbers(again, "valid") == [2, 6]
    named = ImageDataBunch.from_samples(samples.assign(split=["train"] * 6 + ["val"] * 4), **SMALL)
    assert len(numbers(named, "valid")) == 4
    with refused("split: row 0", DataError, got="dev"):
        ImageDataBunch.from_samples(samples.assign(split=["dev"] + ["train", "valid"] * 4 + ["test"]), **SMALL)
    with pytest.raises(DataError, match="no column 'target'; columns are input, split"):
        ImageDataBunch.from_samples(samples[["input", "split"]], **SMALL)


def test_a_sampler_draws_the_training_items(root: Path) -> None:
    weights = [0.0] * 7 + [1.0]
    dls = csv(root, {"label": KINDS}, sampler=weights)
    drawn = torch.cat([x for x, _ in dls.train_dl])[:, 0, 0, 0] * 255
    assert drawn.round().int().tolist() == [90] * 8
    rare = csv(root, {"label": ["a", "a", *"abbbbabb"]}, sampler="balanced", bs=8)
    assert torch.cat([y for _, y in rare.train_dl]).sum() == 4


def test_a_bunch_without_items_prepares_images(root: Path) -> None:
    dls = ImageDataBunch.single_from_classes(root, ["cat", "dog"], **SMALL)
    assert dls.classes == ["cat", "dog"]
    assert dls.input_shape == (1, 8, 8)
    full = csv(root, {"label": KINDS})
    assert torch.equal(dls.prepare(root / "img" / "7.png"), full.prepare(root / "img" / "7.png"))
    assert np.isclose(dls.prepare(root / "img" / "7.png").max().item(), 70 / 255)
    assert len(dls.samples) == 0
    for options, text in (({"size": None}, "size: got None"), ({"normalize": "data"}, "normalize: got 'data'")):
        with pytest.raises(UsageError, match=text):
            ImageDataBunch.single_from_classes(root, ["cat", "dog"], **{**SMALL, **options})


def test_every_keyword_is_shown_by_every_factory() -> None:
    shared = {field.name: field.default for field in fields(ImageSettings)}
    assert shared.keys() == ImageOptions.__annotations__.keys()
    for name in FACTORIES:
        factory: Callable[..., Any] = getattr(ImageDataBunch, name)
        shown = inspect.signature(factory).parameters
        assert shared.keys() <= shown.keys(), name
        assert "options" not in shown
        own = {"single_from_classes": {"classes"}}.get(name, set())
        assert all(shown[key].default == default for key, default in shared.items() if key not in own), name


def test_user_columns_with_reserved_names_are_kept(root: Path) -> None:
    samples = csv(root, {"label": KINDS, "input": range(10), "target": list("abcdefghij")}, label_col="label").samples
    numbers_in_names = [int(Path(file).stem) for file in samples["input"]]
    assert samples["input_"].tolist() == numbers_in_names
    assert samples["target_"].tolist() == ["abcdefghij"[number] for number in numbers_in_names]


def test_a_bunch_without_items_has_the_task_it_is_told_and_says_that_it_is_empty(root: Path) -> None:
    names = ["cat", "dog"]
    tasks: list[tuple[Any, Any]] = [
        ("classification", Classification(("cat", "dog"))),
        ("multilabel", MultiLabel(("cat", "dog"))),
        (MultiLabel(("cat", "dog"), 0.3), MultiLabel(("cat", "dog"), 0.3)),
    ]
    for task, expected in tasks:
        assert ImageDataBunch.single_from_classes(root, names, task=task, **SMALL).task == expected
    for task in ("regression", Regression()):
        with pytest.raises(UsageError, match=r"task: got .*a task with classes"):
            ImageDataBunch.single_from_classes(root, names, task=task, **SMALL)
    with pytest.raises(DataError, match="the classes of classes are in another order"):
        ImageDataBunch.single_from_classes(root, names, task=Classification(("dog", "cat")), **SMALL)
    dls = ImageDataBunch.single_from_classes(root, names, **SMALL)
    for ask in (dls.summary, dls.one_batch, dls.show_batch, lambda: dls.one_batch("valid")):
        with pytest.raises(DataError, match="items"):
            ask()


def test_the_name_says_the_label_of_the_test_set_too(root: Path) -> None:
    for number in (90, 91):
        Image.new("L", (8, 8), 1).save(root / f"{number}.png")
    (root / "test").mkdir()
    for name in ("1.png", "2.png", "x.png"):
        Image.new("L", (8, 8), 1).save(root / "test" / name)
    for make in (
        lambda: ImageDataBunch.from_name_re(root, None, r"(\d)\.png$", test="test", valid_pct=0, **SMALL),
        lambda: ImageDataBunch.from_name_func(
            root, None, lambda file: int(Path(file).stem) % 10, test="test", valid_pct=0, **SMALL
        ),
    ):
        with pytest.warns(LearnkitWarning) as said:
            dls = make()
        assert "labels of the test set that are not a class, their images stay without a label: '(none)' (1)" in str(
            said[0]
        )
        assert dls.samples[dls.samples["split"] == "test"]["target"].tolist() == ["1", "2", None]
        assert targets(dls.drop(["test/x.png"]), DatasetType.Test).tolist() == [1, 2]
    for wrong in (5, ["test"]):
        with refused("test", WrongTypeError, got=wrong):
            ImageDataBunch.from_name_re(root, None, r"(\d)\.png$", test=wrong, **SMALL)  # type: ignore[arg-type]
