"""Which split of a Hugging Face dataset is which, and what is refused."""

import sys
from types import ModuleType
from typing import Any

import datasets
import pytest

from learnkit.data.table.hf_splits import hf_splits
from learnkit.errors import DataError, LearnkitError, UsageError, WrongTypeError


def table(n: int = 2) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"number": range(n)})


def tables(*keys: str) -> datasets.DatasetDict:
    return datasets.DatasetDict({key: table() for key in keys})


def test_one_dataset_is_for_training() -> None:
    only = table()
    found = hf_splits(only)
    assert list(found) == ["train"]
    assert found["train"].name == "dataset"
    assert found["train"].dataset is only


@pytest.mark.parametrize("key", ["validation", "valid", "val", "dev", "Validation"])
def test_keys_say_which_split_is_which(key: str) -> None:
    given = tables("test", key, "train")
    found = hf_splits(given)
    assert {split: part.name for split, part in found.items()} == {"train": "train", "valid": key, "test": "test"}
    assert list(found) == ["train", "valid", "test"]
    assert all(found[split].dataset is given[found[split].name] for split in found)
    assert list(hf_splits(dict(tables("train", "test")))) == ["train", "test"]


def test_splits_are_chosen_by_hand_and_the_others_left_out() -> None:
    given = tables("train", "test", "unsupervised", "small")
    found = hf_splits(given, {"train": "small", "valid": "test"})
    assert {split: part.name for split, part in found.items()} == {"train": "small", "valid": "test"}


ONE = table()
REFUSED: dict[str, tuple[Any, dict[str, Any], type[LearnkitError], str]] = {
    "other keys": (
        tables("a", "b"), {}, DataError,
        "the splits of the DatasetDict are 'a', 'b': expected train.*splits={'train': 'a', 'valid': 'b'}; those",
    ),
    "a key too many": (tables("train", "unsupervised"), {}, DataError, "Say which is which"),
    "two for validation": (tables("train", "val", "dev"), {}, DataError, "are 'train', 'val', 'dev'"),
    "no training": (tables("test"), {}, DataError, "are 'test'"),
    "none": (datasets.DatasetDict(), {}, DataError, "are none"),
    "an empty one": (datasets.DatasetDict(train=table(), val=table(0)), {}, DataError, "the validation set is empty"),
    "splits of one": (ONE, {"splits": {"train": "a"}}, UsageError, "splits: got .*, expected None: one Dataset has"),
    "splits without train": (tables("a"), {"splits": {"valid": "a"}}, UsageError, '"train" at least'),
    "another split": (tables("a"), {"splits": {"train": "a", "validation": "a"}}, UsageError, "splits: got"),
    "splits as text": (tables("a"), {"splits": "a"}, UsageError, "splits: got 'a'"),
    "another key": (tables("a", "b"), {"splits": {"train": "c"}}, UsageError, "got 'c', expected one of 'a', 'b'"),
    "a folder for test": (tables("train", "test"), {"test": "folder"}, UsageError, "None: the test set is the split"),
    "a name": ("cifar10", {}, WrongTypeError, r"got str: expected a Dataset or .* datasets.load_dataset\(name\) loads"),
    "another dict": ({"train": [1]}, {}, WrongTypeError, "'train' is list: expected a Dataset for each split"),
    "a stream": (ONE.to_iterable_dataset(), {}, WrongTypeError, "got IterableDataset.* without streaming=True"),
    "streams": (
        datasets.IterableDatasetDict({"train": ONE.to_iterable_dataset()}), {}, WrongTypeError, "IterableDatasetDict",
    ),
    "a transform": (ONE.with_transform(dict), {}, UsageError, r"dataset has a transform.*dataset.with_format\(None\)"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "options", "kind", "match"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_say_it_is_refused(given: Any, options: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        hf_splits(given, **options)
    assert type(caught.value) is kind


@pytest.mark.parametrize("module", [None, ModuleType("datasets")], ids=["none", "a module of the user"])
def test_without_the_package_the_extra_is_named(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(UsageError, match=r'the package datasets. Install it: pip install "learnkit\[hf\]"'):
        hf_splits(ONE)
