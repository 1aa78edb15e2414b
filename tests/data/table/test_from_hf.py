"""Tables of samples from Hugging Face datasets: labels of every kind by name, and the columns that are kept."""

from typing import Any

import datasets
import numpy as np
import pytest

from learnkit import Classification, ImageDataBunch, LearnkitWarning, MultiLabel, Points, Regression
from learnkit.data.table.from_hf import HfTable, hf_samples
from learnkit.data.table.hf_splits import hf_splits
from learnkit.errors import DataError, LearnkitError, UsageError
from learnkit.splits import GroupSplit, StratifiedSplit

NAMES = datasets.ClassLabel(names=["owl", "cat", "dog"])  # not in alphabetical order
N = 12


def pixels(i: int) -> Any:
    return np.random.default_rng(i).integers(0, 256, (6, 8, 3), np.uint8)


def table(n: int = N, features: dict[str, Any] | None = None, **columns: Any) -> datasets.Dataset:
    features = {"image": datasets.Image(), **(features or {})}
    rows = {"image": [pixels(i) for i in range(n)], **columns}
    rest = {name: datasets.Dataset.from_dict({name: rows[name]}).features[name] for name in set(rows) - set(features)}
    return datasets.Dataset.from_dict(rows, features=datasets.Features({**features, **rest}))


def samples(dataset: Any, label: Any = "label", task: Any = None, classes: Any = None) -> HfTable:
    return hf_samples(hf_splits(dataset), "image", label, task, classes)


SEVERAL = datasets.Sequence(NAMES)
LABELS: dict[str, tuple[list[Any], Any, Any, list[Any], Any]] = {
    "ClassLabel": ([0, 1, 2], NAMES, None, ["owl", "cat", "dog"], ["owl", "cat", "dog"]),
    "ClassLabel with -1 and nothing": ([0, -1, None], NAMES, None, ["owl", None, None], ["owl", "cat", "dog"]),
    "ClassLabel as numbers": ([0, 1, 2], NAMES, "regression", [0, 1, 2], None),
    "text": (["a", "b", None], None, None, ["a", "b", None], None),
    "whole numbers": ([5, 6, 5], None, None, [5, 6, 5], None),
    "booleans": ([True, False, True], None, None, [True, False, True], None),
    "numbers": ([0.5, 1.5, 2.5], None, "regression", [0.5, 1.5, 2.5], None),
    "several of ClassLabel": ([[1], [], [0, 2]], SEVERAL, None, [["cat"], [], ["owl", "dog"]], ["owl", "cat", "dog"]),
    "several texts": ([["b", "a"], [], ["c"]], None, None, [["b", "a"], [], ["c"]], None),
    "points": ([[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]], None, Points(["eye"]),
               [[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]], None),
}  # fmt: skip


@pytest.mark.parametrize(("cells", "feature", "task", "expected", "classes"), LABELS.values(), ids=LABELS)
def test_labels_are_named(cells: list[Any], feature: Any, task: Any, expected: list[Any], classes: Any) -> None:
    found = samples(table(3, {"label": feature} if feature else None, label=cells), task=task)
    assert found.samples["target"].tolist() == expected
    assert (found.classes and list(found.classes)) == classes
    assert found.names == ()
    assert list(map(str, found.samples["input"])) == ["dataset[0]", "dataset[1]", "dataset[2]"]
    assert found.samples["split"].tolist() == ["train"] * 3


def test_whole_numbers_are_indices_into_classes_that_are_passed() -> None:
    numbers = table(3, label=[1, 0, 1])
    assert samples(numbers, classes=["a", "b"]).samples["target"].tolist() == ["b", "a", "b"]
    of_task = samples(numbers, task=Classification(("c", "d")))
    assert of_task.samples["target"].tolist() == ["d", "c", "d"]
    assert of_task.classes is None
    with pytest.raises(DataError, match="training set: the label of item 0: got 1, expected a class index from 0 to 0"):
        samples(numbers, classes=["a"])


def test_splits_may_number_their_classes_differently() -> None:
    other = datasets.ClassLabel(names=["dog", "owl", "cat"])
    both = datasets.DatasetDict(
        train=table(6, {"label": NAMES}, label=[0, 1, 2] * 2), validation=table(3, {"label": other}, label=[0, 1, 2])
    )
    dls = ImageDataBunch.from_hf(both, size=None, bs=2)
    assert dls.classes == ["owl", "cat", "dog"]
    assert dls.samples["target"].tolist() == ["owl", "cat", "dog"] * 2 + ["dog", "owl", "cat"]
    assert dls.one_batch("valid")[1].tolist() == [2, 0]


def test_several_columns_are_numbers_or_a_class_each() -> None:
    columns = {"age": [0.5 + i for i in range(N)], "size": [1.5] * N, "cat": [0, 1] * 6, "dog": [True, False] * 6}
    dls = ImageDataBunch.from_hf(
        table(**columns), label=["age", "size"], size=None, bs=2, task="regression", valid_pct=0
    )
    assert dls.task == Regression(("age", "size"))
    assert dls.samples["target"][3] == (3.5, 1.5)
    flags = ImageDataBunch.from_hf(table(**columns), label=["cat", "dog"], size=None, bs=2, valid_pct=0)
    assert isinstance(flags.task, MultiLabel)
    assert flags.classes == ["cat", "dog"]
    assert flags.samples["target"].tolist() == [["dog"], ["cat"]] * 6
    words = datasets.ClassLabel(names=["no", "yes"])
    named = table(features={"cat": words, "dog": words}, cat=[0, 1] * 6, dog=[1, 0] * 6)
    assert (
        ImageDataBunch.from_hf(named, label=["cat", "dog"], size=None, bs=2, valid_pct=0).samples["target"].tolist()
        == [["dog"], ["cat"]] * 6
    )


def test_columns_of_text_numbers_and_classes_are_kept() -> None:
    full = table(
        4, {"label": NAMES, "kind": NAMES, "raw": datasets.Value("binary")}, label=[0, 1, 2, 0], kind=[0, 1, -1, None],
        raw=[b"x"] * 4, patient=[1, 1, 2, 2], input=["i"] * 4, target=["t"] * 4, split=["s"] * 4, boxes=[[1, 2]] * 4,
    )  # fmt: skip
    found = samples(full).samples
    assert sorted(found.columns) == [
        "input",
        "input_",
        "kind",
        "label",
        "patient",
        "split",
        "split_",
        "target",
        "target_",
    ]
    assert found["kind"].tolist()[:2] == ["owl", "cat"]
    assert found["kind"].isna().tolist() == [False, False, True, True]
    assert found["input_"].tolist() + found["target_"].tolist() == ["i"] * 4 + ["t"] * 4
    assert found["patient"].tolist() == [1, 1, 2, 2]
    own = samples(table(2, target=["a", "b"]), "target").samples
    assert sorted(own.columns) == ["input", "split", "target"]


def test_rows_are_split_as_those_of_files_are() -> None:
    full = table(30, {"label": NAMES}, label=[0, 1, 2] * 10, patient=[i // 5 for i in range(30)])
    by_default = ImageDataBunch.from_hf(full, size=None, bs=2)
    assert (len(by_default.train_ds), len(by_default.valid_ds)) == (24, 6)
    stratified = ImageDataBunch.from_hf(full, size=None, bs=2, split=StratifiedSplit(0.2))
    assert stratified.samples.groupby(["split", "target"]).size()["valid"].tolist() == [2, 2, 2]
    grouped = ImageDataBunch.from_hf(full, size=None, bs=2, split=GroupSplit("patient", 0.2)).samples
    assert grouped.groupby("patient")["split"].nunique().tolist() == [1] * 6
    assert ImageDataBunch.from_hf(full, size=None, bs=2, valid_pct=0).valid_dl is None
    with_test = datasets.DatasetDict(train=full, test=table(4, {"label": NAMES}, label=[0, 1, 2, 0]))
    dls = ImageDataBunch.from_hf(with_test, size=None, bs=2, valid_pct=0.5)
    assert dls.samples["split"].value_counts().to_dict() == {"train": 15, "valid": 15, "test": 4}
    assert [str(one) for one in dls.test_ds.inputs] == [f"test[{i}]" for i in range(4)]
    with_valid = datasets.DatasetDict(train=full, val=full.select(range(4)))
    with pytest.raises(UsageError, match="valid: got 'val', expected None with valid_pct or split"):
        ImageDataBunch.from_hf(with_valid, valid_pct=0.5)
    same = datasets.DatasetDict(train=full, val=full)
    with pytest.raises(DataError, match="30 files are in the training set and in another one"):
        ImageDataBunch.from_hf(same, size=None, bs=2)


def test_a_test_set_may_have_no_labels() -> None:
    train = table(6, {"label": NAMES}, label=[0, 1, 2] * 2)
    for test in (table(3, {"label": NAMES}, label=[-1] * 3), table(3)):
        dls = ImageDataBunch.from_hf(datasets.DatasetDict(train=train, val=train.select([0, 1, 2]), test=test),
                                     size=None, bs=2)  # fmt: skip
        assert len(dls.one_batch("test")) == 1
    some = table(3, {"label": NAMES}, label=[0, -1, 1])
    with pytest.warns(LearnkitWarning, match=r"1 of 3 test items have no label, first test\[1\]"):
        ImageDataBunch.from_hf(
            datasets.DatasetDict(train=train, val=train.select([0, 1, 2]), test=some), size=None, bs=2
        )
    with pytest.raises(DataError, match=r"2 rows have no label, first rows \[1, 4\] \(dataset\[1\]\)"):
        ImageDataBunch.from_hf(table(6, {"label": NAMES}, label=[0, -1, 2, 0, -1, 2]), size=None, bs=2, valid_pct=0.5)


ONES = table(4, {"label": NAMES}, label=[0, 1, 2, 0], x=[0.5, 1.5, 2.5, 3.5], boxes=[{"a": [1]}] * 4, raw=[b"x"] * 4)
REFUSED: dict[str, tuple[dict[str, Any], type[LearnkitError], str]] = {
    "no such image": ({"image": "img"}, DataError, r"dataset: no column 'img'; columns are image \(Image\), label"),
    "no such label": ({"label": "y"}, DataError, r"no column 'y'; .*x \(float64\).* Pass image= and label=, by name"),
    "one of several": ({"label": ["x", "z"]}, DataError, "no column 'z'"),
    "a number": ({"label": 1}, UsageError, "label: got 1, expected the name of a column"),
    "images": ({"label": "image"}, DataError, r"the column 'image' holds images.* task=Segmentation\(codes\)"),
    "dicts": ({"label": "boxes"}, DataError, "the column 'boxes' holds .*: expected a class, several of them"),
    "bytes": ({"label": "raw"}, DataError, "the column 'raw' holds"),
    "floats": ({"label": "x"}, UsageError, "labels like 0.5 are numbers"),
    "classes that lack one": ({"classes": ["owl", "cat"]}, UsageError, "classes: got .*also 'dog'"),
    "a misspelt option": ({"siz": 3}, TypeError, "siz"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "kind", "match"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused(options: dict[str, Any], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        ImageDataBunch.from_hf(ONES, **{"size": None, "bs": 2, "valid_pct": 0, **options})
    assert isinstance(caught.value, LearnkitError)
