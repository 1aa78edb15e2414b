"""A table of samples from datasets of (image, label), such as those of torchvision."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import IterableDataset, Subset

from learnkit.checks import plain
from learnkit.data.classes import Classes
from learnkit.data.image.sources import HeldImage, is_image
from learnkit.data.loading.from_datasets import HF_FIX, check_set, is_hf
from learnkit.data.loading.targets import SET_NAMES, known_classes, listed_targets
from learnkit.data.tasks import Regression, Task
from learnkit.errors import DataError, ImageError, LearnkitError, WrongTypeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["image_samples", "named_class"]

N_COMPARED = 10  # items whose label is compared with the one the dataset lists


def image_samples(
    sets: Mapping[str, Any], classes: Sequence[str] | None, task: Task | str | None
) -> "tuple[pd.DataFrame, Classes | None]":
    """A table with one row per item and the columns input, target and split; and the classes, None if unknown.

    An item is (image, label), in a test set also an image alone; an image is PIL, an array (H, W, C), a uint8 tensor
    (C, H, W) or encoded bytes. The images of an ImageFolder are its files.

    Args:
        sets: map-style datasets as "train", "valid" and "test"; None for none.
        classes: names of the labels that are whole numbers; None for those that the task or the datasets name, and
            without any for the numbers themselves. A regression has none.
        task: what the labels mean, or None.

    Raises:
        WrongTypeError: something that is not a map-style dataset.
        DataError: an empty set, items of another form, sets with different classes, or an index without a class.
        ImageError: an item that cannot be read for its label.
    """
    import pandas as pd

    is_regression = task == "regression" or isinstance(task, Regression)
    known = None if is_regression else known_classes(classes or getattr(task, "classes", None) or None, sets)
    tables = []
    for split, dataset in sets.items():
        if dataset is None and split != "train":
            continue
        check_set(split, dataset)
        if isinstance(dataset, IterableDataset):
            raise WrongTypeError(
                f"{split}: got an IterableDataset", expected="items by number",
                fix="DataBunch.from_datasets takes one whose items are tensors.",
            )  # fmt: skip
        is_labeled = _check_item(split, dataset)
        labels = (
            [named_class(label, known, split, i) for i, label in enumerate(_labels(dataset))] if is_labeled else None
        )
        columns = {"input": _sources(dataset, split), "target": labels or [None] * len(dataset)}
        tables.append(pd.DataFrame(columns, dtype=object).assign(split=split))
    return pd.concat(tables, ignore_index=True), known


def _check_item(split: str, dataset: Any) -> bool:
    """Whether the items of a set have labels, judged by its first.

    Raises:
        DataError: an item that is not (image, label); in a test set, an image.
    """
    from PIL import Image

    item = _item(dataset, 0)
    expected = "(image, label)"
    if isinstance(item, Mapping):
        keys = ", ".join(map(str, item))
        fix = HF_FIX if is_hf(dataset) else "Pass a list of pairs, or from_df with fn_col= and label_col=."
        raise DataError(f"{split}: items are dicts with the keys {keys}", expected=expected, fix=fix)
    is_pair = isinstance(item, tuple | list) and len(item) == 2
    image = item[0] if is_pair else item
    if isinstance(image, Tensor) and image.is_floating_point():
        raise DataError(
            f"{split}: items are float tensors, which a transform made",
            expected="images as they are: PIL, arrays or uint8 tensors",
            fix="Leave the dataset's transform out, or pass it to DataBunch.from_datasets.",
        )
    if not is_image(image) or not (is_pair or split == "test"):
        raise DataError(f"{split}: an item is {_described(item)}", expected=expected)
    if is_pair and (isinstance(item[1], Image.Image) or getattr(item[1], "ndim", 0) > 1):
        raise DataError(
            f"{split}: the label of an item is an image, {_described(item[1])}", expected="a class, or numbers",
            fix="Masks are read from files: from_folder_masks, or from_df with task=Segmentation(codes).",
        )  # fmt: skip
    return is_pair


def _described(item: Any) -> str:
    if isinstance(item, tuple | list):
        return f"({', '.join(type(part).__name__ for part in item)})"
    return type(item).__name__


def _labels(dataset: Any) -> list[Any]:
    """The label of every item: as the dataset lists them, if that is what its items have, otherwise from the items."""
    listed = listed_targets(dataset)
    if listed is not None:
        labels = listed.tolist() if isinstance(listed, Tensor) else [plain(label) for label in listed]
        some = range(0, len(labels), max(1, len(labels) // N_COMPARED))
        if all(plain(dataset[i][1]) == labels[i] for i in some):
            return labels
    return [plain(_item(dataset, i)[1]) for i in range(len(dataset))]


def _item(dataset: Any, i: int) -> Any:
    try:
        return dataset[i]
    except (LearnkitError, MemoryError):
        raise
    except Exception as error:  # a dataset may fail in any way
        raise ImageError(f"item {i} of the dataset cannot be read ({type(error).__name__}: {error})") from error


def named_class(label: Any, classes: Classes | None, split: str, i: int) -> Any:
    """The class that an index is of; any other label unchanged."""
    if classes is None or isinstance(label, bool) or not isinstance(label, int):
        return label
    if not 0 <= label < len(classes):
        raise DataError(
            f"{SET_NAMES.get(split, split)} set: the label of item {i}",
            got=label,
            expected=f"a class index from 0 to {len(classes) - 1}",
        )
    return classes[label]


def _sources(dataset: Any, split: str) -> list[Any]:
    """Where each image comes from; a Subset's are those of its dataset, so that an item in two sets is seen."""
    from torchvision.datasets.folder import DatasetFolder, default_loader

    indices: Sequence[int] = range(len(dataset))
    while isinstance(dataset, Subset):
        inner = dataset
        indices, dataset = [inner.indices[i] for i in indices], inner.dataset
    is_folder = isinstance(dataset, DatasetFolder) and type(dataset).__getitem__ is DatasetFolder.__getitem__
    if is_folder and dataset.transforms is None and dataset.loader is default_loader:
        return [dataset.samples[i][0] for i in indices]
    return [HeldImage(dataset, i, f"{split}[{place}]") for place, i in enumerate(indices)]
