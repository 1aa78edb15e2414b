"""Tables of samples from datasets of images: every form of dataset, label and class list, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset
from torchvision import datasets as tv
from torchvision.transforms import v2

from learnkit.data.image.sources import HeldImage, opened
from learnkit.data.table.from_datasets import image_samples
from learnkit.errors import DataError, ImageError, LearnkitError, UsageError

NAMES = ["cat", "dog", "owl"]


def image(i: int) -> Image.Image:
    return Image.new("RGB", (6, 5), (i, i, i))


class Cifar(Dataset[Any]):
    """Like torchvision's: pixels in memory, `targets` and `classes`."""

    classes = NAMES
    reads = 0

    def __init__(self, n: int = 6) -> None:
        self.targets = [i % 3 for i in range(n)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> Any:
        self.reads += 1
        return image(i), self.targets[i]


class Unnamed(Cifar):
    classes: Any = None


def brightness(source: Any) -> int:
    return int(np.asarray(opened(source))[0, 0, 0])


DATASETS: dict[str, Callable[[], Any]] = {
    "like CIFAR": Cifar,
    "a Subset": lambda: Subset(Cifar(12), [0, 1, 2, 3, 4, 5]),
    "a Subset of a Subset": lambda: Subset(Subset(Cifar(12), range(8)), range(6)),
    "joined": lambda: ConcatDataset([Cifar(6)]),
    "text labels": lambda: [(image(i), NAMES[i % 3]) for i in range(6)],
}


@pytest.mark.parametrize("make", DATASETS.values(), ids=DATASETS)
def test_each_item_is_a_row(make: Callable[[], Any]) -> None:
    dataset = make()
    samples, classes = image_samples({"train": dataset, "valid": None, "test": None}, None, None)
    assert samples.columns.tolist() == ["input", "target", "split"]
    assert samples["target"].tolist() == ["cat", "dog", "owl", "cat", "dog", "owl"]
    assert samples["split"].tolist() == ["train"] * 6
    assert [brightness(one) for one in samples["input"]] == list(range(6))
    assert classes == (None if isinstance(dataset, list) else tuple(NAMES))
    assert str(samples["input"][4]) == "train[4]"


LABELS: dict[str, tuple[Callable[[int], Any], list[Any]]] = {
    "int": (int, ["cat", "dog", "owl"]), "NumPy": (np.int64, ["cat", "dog", "owl"]),
    "tensor": (torch.tensor, ["cat", "dog", "owl"]), "array": (np.array, ["cat", "dog", "owl"]),
    "text": (NAMES.__getitem__, ["cat", "dog", "owl"]), "list": (lambda i: NAMES[:i], [[], ["cat"], ["cat", "dog"]]),
}  # fmt: skip


@pytest.mark.parametrize(("label", "expected"), LABELS.values(), ids=LABELS)
def test_labels_come_in_every_form(label: Callable[[int], Any], expected: list[Any]) -> None:
    pairs = [(image(i), label(i)) for i in range(3)]
    assert image_samples({"train": pairs}, NAMES, None)[0]["target"].tolist() == expected
    if expected[0] == "cat" and label(0) != "cat":
        assert image_samples({"train": pairs}, None, None)[0]["target"].tolist() == [0, 1, 2]


def test_numbers_of_a_regression_name_no_class() -> None:
    for labels in ([1, 2, 3], [0.5, 1.5, 2.5], np.float32([1, 2, 3]), [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)]):
        dataset = Cifar(3)
        dataset.targets = list(labels)
        samples, classes = image_samples({"train": dataset}, None, "regression")
        assert classes is None
        assert np.allclose(np.array(samples["target"].tolist()), np.array(labels))


def test_listed_labels_are_read_without_every_image_if_they_are_those_of_the_items() -> None:
    dataset = Cifar(300)
    image_samples({"train": dataset}, None, None)
    assert dataset.reads < 15

    class Shifted(Cifar):
        def __getitem__(self, i: int) -> Any:
            return image(i), (self.targets[i] + 1) % 3

    samples, _ = image_samples({"train": Shifted(3)}, None, None)
    assert samples["target"].tolist() == ["dog", "owl", "cat"]


def test_the_images_of_a_folder_are_its_files(class_folder: Path) -> None:
    plain = tv.ImageFolder(class_folder / "train")
    assert image_samples({"train": plain}, None, None)[0]["input"].tolist() == [path for path, _ in plain.samples]
    some = Subset(plain, [3, 1])
    assert image_samples({"train": some}, None, None)[0]["input"].tolist() == [plain.samples[i][0] for i in (3, 1)]
    for changed in (
        tv.ImageFolder(class_folder / "train", v2.Resize(4)),
        tv.ImageFolder(class_folder / "train", loader=lambda path: Image.new("L", (2, 2))),
    ):
        sources = image_samples({"train": changed}, None, None)[0]["input"]
        assert all(isinstance(one, HeldImage) for one in sources)
        assert opened(sources[0]).size == changed[0][0].size


def test_a_test_set_may_have_no_labels() -> None:
    sets = {"train": Cifar(3), "valid": Cifar(2), "test": [image(7), np.zeros((4, 4, 3), np.uint8)]}
    samples, _ = image_samples(sets, None, None)
    assert samples["split"].tolist() == ["train"] * 3 + ["valid"] * 2 + ["test"] * 2
    assert samples["target"].isna().tolist() == [False] * 5 + [True] * 2


def test_an_item_in_two_sets_is_the_same() -> None:
    whole = Cifar(6)
    samples, _ = image_samples({"train": Subset(whole, [0, 1, 2]), "valid": Subset(whole, [2, 3])}, None, None)
    assert samples["input"][2] == samples["input"][3]
    assert len(set(samples["input"])) == 4


class Fails(Unnamed):
    targets: Any = None

    def __init__(self, n: int = 4) -> None:
        super().__init__(n)
        self.n, self.targets = n, None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        if i == 2:
            raise KeyError("broken")
        return image(i), i % 2


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


PAIR = (image(0), 0)
REFUSED: dict[str, tuple[Any, type[LearnkitError], str]] = {
    "float tensors": ([(torch.rand(3, 4, 4), 0)], DataError, r"float tensors.* pass it to DataBunch.from_datasets"),
    "dicts": ([{"image": image(0), "label": 1}], DataError, r"dicts with the keys image, label: expected \(image, lab"),
    "triples": ([(image(0), 0, 1)], DataError, r"an item is \(Image, int, int\): expected \(image, label\)"),
    "images alone": ([image(0)], DataError, r"an item is Image: expected \(image, label\)"),
    "no images": ([("a.jpg", 0)], DataError, r"an item is \(str, int\)"),
    "masks": ([(image(0), Image.new("L", (6, 5)))], DataError, "the label of an item is an image.*from_folder_masks"),
    "mask arrays": ([(image(0), np.zeros((5, 6)))], DataError, "the label of an item is an image"),
    "empty": ([], DataError, "the training set is empty"),
    "a stream": (Stream(), TypeError, "IterableDataset: expected items by number"),
    "nothing": (None, TypeError, "train: got NoneType: expected a dataset"),
    "a path": ("folder", TypeError, "train: got str: expected a dataset"),
    "a broken item": (Fails(), ImageError, r"item 2 of the dataset cannot be read \(KeyError: 'broken'\)"),
    "an index too large": ([PAIR, (image(1), 3)], DataError, "training set: the label of item 1: got 3"),
    "a negative index": ([PAIR, (image(1), -1)], DataError, "the label of item 1: got -1"),
}  # fmt: skip


@pytest.mark.parametrize(("dataset", "kind", "match"), REFUSED.values(), ids=REFUSED)
def test_other_items_are_refused(dataset: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        image_samples({"train": dataset, "valid": None}, NAMES, None)
    assert isinstance(caught.value, LearnkitError)


def test_sets_of_other_classes_are_refused(class_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for label in ("blue", "red"):
        (class_folder / "valid" / label).rename(tmp_path / "two" / label)
    train, valid = tv.ImageFolder(class_folder / "train"), tv.ImageFolder(tmp_path / "two")
    both = "of the validation set are others: blue, red; those of the training set are blue, green, red"
    with pytest.raises(DataError, match=both):
        image_samples({"train": train, "valid": valid}, None, None)
    with pytest.raises(DataError, match="in another order"):
        image_samples({"train": train}, ["red", "green", "blue"], None)
    with pytest.raises(UsageError, match="classes"):
        image_samples({"train": train}, {"red", "green"}, None)  # type: ignore[arg-type]
