"""Targets of datasets: whose classes they are, and which are refused."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from learnkit.data.loading.targets import (
    TargetCheck,
    check_dataset,
    checked_targets,
    checked_task,
    known_classes,
    known_task,
    listed_targets,
)
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import DataError, UsageError

ABC = Classification(("a", "b", "c"))


class Named(Dataset[Any]):
    """Items (number, label); `targets` are what it lists, `labels` what its items have."""

    def __init__(self, classes: Any, labels: Sequence[Any] = (0, 1), targets: Any = None) -> None:
        self.classes, self.labels, self.targets = classes, labels, labels if targets is None else targets

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[float, Any]:
        return float(i), self.labels[i]


PARTS = {
    "itself": lambda classes: Named(classes),
    "a Subset": lambda classes: Subset(Named(classes), [1]),
    "a Subset of a Subset": lambda classes: Subset(Subset(Named(classes), [1]), [0]),
    "a ConcatDataset": lambda classes: ConcatDataset([Named(classes), Named(classes)]),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_classes_are_those_the_dataset_names_and_are_compared(part: Any) -> None:
    assert known_classes(None, {"train": part(["a", "b"]), "valid": None}) == ("a", "b")
    assert known_classes(None, {"train": Named(None), "valid": part(["a", "b"])}) == ("a", "b")
    assert known_task(None, None, {"train": part(["a", "b"])}) == Classification(("a", "b"))
    for other, kind in ((["a", "c"], "others"), (["b", "a"], "in another order"), (["a", "b", "c"], "others")):
        with pytest.raises(DataError) as caught:
            known_classes(None, {"train": Named(["a", "b"]), "valid": part(other)})
        listed = ", ".join(other)
        assert caught.value.what == (
            f"the classes of the validation set are {kind}: {listed}; those of the training set are a, b"
        )
        with pytest.raises(DataError, match="the classes of the test set"):
            known_classes(None, {"train": part(["a", "b"]), "valid": part(["a", "b"]), "test": part(other)})


def test_given_classes_may_rename_those_of_the_dataset_but_not_reorder_them() -> None:
    sets = {"train": Named(["cat", "dog"])}
    assert known_classes(["Katze", "Hund"], sets) == ("Katze", "Hund")
    assert known_classes(["cat", "dog"], sets) == ("cat", "dog")
    with pytest.raises(DataError, match=r"in another order: dog, cat; those of the training set are cat, dog. Leave"):
        known_classes(["dog", "cat"], sets)
    with pytest.raises(DataError, match="in another order"):
        known_task(Classification(("dog", "cat")), None, sets)
    assert known_task(Regression(), None, sets) == Regression()
    with pytest.raises(UsageError, match="a list of names in the order of the outputs"):
        known_classes({"cat", "dog"}, {})


def test_without_classes_there_is_no_task() -> None:
    for dataset in (Named(None), Named(10), Named([]), [(1, 2)], None):
        assert known_task(None, None, {"train": dataset}) is None


def test_several_names_of_a_class_are_one() -> None:
    assert known_classes(None, {"train": Named([("tench", "Tinca"), ("crane",), 7])}) == ("tench, Tinca", "crane", "7")


def test_the_parts_of_a_joined_dataset_agree() -> None:
    with pytest.raises(DataError, match=r"of the joined \(1\) set are others"):
        known_classes(None, {"train": ConcatDataset([Named(["a", "b"]), Named(["a", "c"])])})


@pytest.mark.parametrize("task", ["classification", 3])
def test_a_task_is_an_object(task: Any) -> None:
    with pytest.raises(UsageError, match="task: got"):
        checked_task(task)


PAIRS = [(torch.zeros(2), 0), (torch.zeros(2), 2), (torch.zeros(2), 1)]
LISTED = {
    "a list of pairs": PAIRS,
    "tensors": TensorDataset(torch.zeros(3, 2), torch.tensor([0, 2, 1])),
    "torchvision's attribute": Named(None, [0, 2, 1]),
    "as a tensor": Named(None, [0, 2, 1], torch.tensor([0, 2, 1])),
}


@pytest.mark.parametrize("dataset", LISTED.values(), ids=LISTED)
def test_listed_targets_are_found_without_reading(dataset: Any) -> None:
    assert [int(y) for y in listed_targets(dataset)] == [0, 2, 1]
    assert [int(y) for y in listed_targets(Subset(dataset, [1, 2]))] == [2, 1]
    check_dataset(ABC, "train", dataset)
    check_dataset(ABC, "train", Subset(dataset, [1, 2]))
    two = Classification(("a", "b"))
    for wrong in (dataset, Subset(dataset, [0, 1])):
        with pytest.raises(DataError, match=r"valid: 1 target, first that of item 1: got \[2\], expected class ind"):
            check_dataset(two, "valid", wrong)
    check_dataset(two, "valid", Subset(dataset, [0, 2]))
    check_dataset(None, "train", dataset)


class Mapped(Named):
    target_transform = staticmethod(lambda label: label - 1)


@pytest.mark.parametrize("dataset", [Named(None, [0, 1], [1, 2]), Mapped(None, [0, 1], [1, 2])])
def test_what_a_dataset_lists_is_not_believed_against_its_items(dataset: Any) -> None:
    check_dataset(Classification(("a", "b")), "train", dataset)


def test_a_dataset_that_lists_nothing_is_not_read() -> None:
    class Silent(Named):
        def __getitem__(self, i: int) -> tuple[float, Any]:
            raise AssertionError

    dataset = Silent(None, [0, 1])
    dataset.targets = None
    check_dataset(ABC, "train", dataset)
    for unlabeled in ([torch.zeros(2)], TensorDataset(torch.zeros(3)), [(torch.zeros(2), 0), torch.zeros(2)]):
        assert listed_targets(unlabeled) is None


REFUSED = {
    "a class too many": (ABC, torch.tensor([0, 3])),
    "a negative class": (ABC, torch.tensor([0, -1])),
    "a column": (ABC, torch.tensor([[0], [1]])),
    "floats": (ABC, torch.tensor([0.0, 1.0])),
    "text": (ABC, ["a", "b"]),
    "nan": (Regression(), torch.tensor([0.0, torch.nan])),
    "two numbers for one": (Regression(), torch.zeros(2, 2)),
    "shares above 1": (MultiLabel(("a", "b")), torch.full((2, 2), 1.5)),
}


@pytest.mark.parametrize(("task", "y"), REFUSED.values(), ids=REFUSED)
def test_targets_that_do_not_fit_are_refused_wherever_they_come_from(task: Any, y: Any) -> None:
    with pytest.raises(DataError, match=r"train: .*targets?"):
        checked_targets(task, "train", y)
    with pytest.raises(DataError, match=r"train: .*targets?"):
        TargetCheck(task, "train")((torch.zeros(2, 3), y))
    with pytest.raises(DataError, match=r"train: .*targets?"):
        check_dataset(task, "train", [(torch.zeros(3), label) for label in y])


@pytest.mark.parametrize(
    ("task", "y", "dtype"),
    [
        (ABC, torch.tensor([0, 2], dtype=torch.int32), torch.int64),
        (ABC, torch.tensor([0, 2], dtype=torch.uint8), torch.int64),
        (ABC, torch.eye(3)[:2], torch.float32),
        (Regression(), torch.tensor([1.5, 2], dtype=torch.float64), torch.float32),
        (Regression(), torch.tensor([1, 2]), torch.float32),
        (MultiLabel(("a", "b")), torch.tensor([[True, False], [False, True]]), torch.float32),
        (None, torch.tensor([1, 2], dtype=torch.int32), torch.int32),
    ],
)
def test_every_batch_has_the_type_that_the_loss_takes(task: Any, y: Tensor, dtype: torch.dtype) -> None:
    check = TargetCheck(task, "train")
    for _ in range(2):
        _, targets = check([torch.zeros(2, 3), y])
        assert targets.dtype == dtype
        assert targets.tolist() == y.tolist()


def test_doubles_stay_doubles_and_other_targets_are_unchanged() -> None:
    double = torch.zeros(2, 3, dtype=torch.float64)
    assert TargetCheck(Regression(), "train")((double, double[:, 0]))[1].dtype == torch.float64
    several = ({"boxes": torch.zeros(2, 4)}, {"names": ["x", "y"]})
    assert TargetCheck(ABC, "train")(several) is several
    assert TargetCheck(ABC, "test")(double) == (double,)
