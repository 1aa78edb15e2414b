"""Which of the splits of Hugging Face datasets are for training, validation and test."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from learnkit.checks import missing_extra
from learnkit.data.loading.from_datasets import check_set
from learnkit.data.table.samples import SPLITS
from learnkit.data.table.split_folders import split_named
from learnkit.errors import DataError, UsageError, WrongTypeError

__all__ = ["HfSplit", "hf_splits"]

EXPECTED = "a Dataset or a DatasetDict of the package datasets"


class HfSplit(NamedTuple):
    """One split of the data.

    Attributes:
        name: what its items are called in results and errors: the key of a DatasetDict, or "dataset".
        dataset: a map-style Dataset.
    """

    name: str
    dataset: Any


def hf_splits(dataset: Any, splits: Mapping[str, str] | None = None, test: Any = None) -> dict[str, HfSplit]:
    """The splits "train" and, if there are any, "valid" and "test", in this order.

    Args:
        dataset: a Dataset, which is that of training, or a DatasetDict.
        splits: {"train", "valid" or "test": key of the DatasetDict}; None to go by the keys.
        test: the folder of a test set, which a test split leaves no place for; None for none.

    Raises:
        UsageError: the package datasets is not installed, `splits` that cannot work, or a dataset with a transform.
        WrongTypeError: something else, such as a streaming dataset.
        DataError: keys that do not say which split is which, or an empty split.
    """
    try:
        from datasets import Dataset, IterableDataset, IterableDatasetDict
    except ImportError as error:  # also of a user's own module of this name
        raise missing_extra("datasets", "hf") from error
    if isinstance(dataset, Dataset):
        if splits is not None:
            raise UsageError("splits", got=splits, expected="None: one Dataset has none", fix="Pass a DatasetDict.")
        found = {"train": HfSplit("dataset", dataset)}
    elif isinstance(dataset, Mapping) and all(isinstance(one, Dataset) for one in dataset.values()):
        named = _by_key(dataset) if splits is None else _checked(splits, dataset)
        found = {split: HfSplit(named[split], dataset[named[split]]) for split in SPLITS if split in named}
    else:
        is_stream = isinstance(dataset, IterableDataset | IterableDatasetDict)
        raise _refusal(dataset, is_stream=is_stream)
    if "test" in found and test is not None:
        raise UsageError("test", got=test, expected=f"None: the test set is the split {found['test'].name!r}")
    for split, (name, part) in found.items():
        check_set(split, part)
        if part.format["type"] == "custom":
            raise UsageError(
                f"{name} has a transform, which would be left out", expected="a dataset without one",
                fix="Pass dataset.with_format(None) and augment=; loaders of its items go to DataBunch.from_loaders.",
            )  # fmt: skip
    return found


def _by_key(dataset: Mapping[str, Any]) -> dict[str, str]:
    """{split: its key}, where every key is the name of one."""
    found: dict[str, str] = {}
    for key in dataset:
        split = "valid" if key.lower() == "dev" else split_named(key)
        if split is None or split in found:
            break
        found[split] = key
    if len(found) < len(dataset) or "train" not in found:
        keys = ", ".join(map(repr, dataset)) or "none"
        example = dict(zip(("train", "valid"), dataset, strict=False))
        raise DataError(
            f"the splits of the DatasetDict are {keys}",
            expected="train and, if there are any, one for validation (validation, valid, val, dev) and test",
            fix=f"Say which is which, such as splits={example}; those that are not named are left out.",
        )
    return found


def _checked(splits: Any, dataset: Mapping[str, Any]) -> Mapping[str, str]:
    expected = '{"train": key, "valid": key, "test": key} of the DatasetDict, "train" at least'
    if not isinstance(splits, Mapping) or "train" not in splits or not set(splits) <= set(SPLITS):
        raise UsageError("splits", got=splits, expected=expected)
    for key in splits.values():
        if key not in dataset:
            raise UsageError("splits", got=key, expected=f"one of {', '.join(map(repr, dataset))}")
    return splits


def _refusal(dataset: Any, *, is_stream: bool) -> WrongTypeError:
    if is_stream:
        return WrongTypeError(
            f"dataset: got {type(dataset).__name__}, whose items are read one after the other",
            expected="items by number",
            fix="Load it without streaming=True; a DataLoader of it goes to DataBunch.from_loaders(inputs=, target=).",
        )
    fix = "datasets.load_dataset(name) loads one; other datasets of (image, label) go to from_datasets."
    if isinstance(dataset, Mapping):
        others = [f"{key!r} is {type(one).__name__}" for key, one in dataset.items()]
        return WrongTypeError(f"dataset: {', '.join(others)}", expected="a Dataset for each split", fix=fix)
    return WrongTypeError(f"dataset: got {type(dataset).__name__}", expected=EXPECTED, fix=fix)
