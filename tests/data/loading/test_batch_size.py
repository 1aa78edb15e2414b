"""The size of a batch: what may be passed, and what "auto" is until a fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from learnkit import DataBunch, ImageDataBunch, LearnkitWarning
from learnkit.data.loading.batch_size import check_batch_size, initial_size, most_items
from learnkit.errors import DataError
from tests.doubles import refused


@pytest.mark.parametrize("bs", [0, -1, 2.0, "8", "Auto", True, None])
def test_a_batch_size_that_cannot_work_is_refused(bs: Any) -> None:
    with refused("bs", got=bs, expected="an integer, 1 or more, or 'auto'"):
        check_batch_size(bs, 10)


def test_a_batch_is_no_larger_than_the_training_set() -> None:
    with pytest.warns(LearnkitWarning, match="bs=64 is more than the 10 training items; bs=10 is used"):
        assert check_batch_size(64, 10) == 10
    assert check_batch_size(10, 10) == 10
    with refused("the training set is empty", DataError):
        check_batch_size(4, 0)


def test_auto_begins_with_the_default_and_says_nothing_of_few_items() -> None:
    assert initial_size("auto") == check_batch_size("auto", 1000) == 64
    assert check_batch_size("auto", 10) == 10


def test_what_is_chosen_leaves_twenty_batches_an_epoch_but_up_to_64_items_are() -> None:
    assert [most_items(n) for n in (10, 64, 1279, 1300, 20_480, 10**6)] == [10, 64, 64, 65, 1024, 1024]


def bunches(blobs: tuple[Tensor, ...], folder: Path) -> list[DataBunch]:
    train, valid = TensorDataset(*blobs[:2]), TensorDataset(*blobs[2:])
    return [
        DataBunch.from_tensors(*blobs, bs="auto"),
        DataBunch.from_datasets(train, valid, bs="auto"),
        ImageDataBunch.from_folder(folder, size=24, bs="auto"),
    ]


def test_every_factory_takes_auto(blobs: tuple[Tensor, ...], class_folder: Path) -> None:
    for dls in bunches(blobs, class_folder):
        n = len(dls.train_ds)
        assert (dls.batch_size_is, dls.batch_size) == ("due", min(n, 64))
        assert "batches of auto" in repr(dls)
        dls.take_found_batch_size(8)
        assert (dls.batch_size_is, dls.batch_size, dls.valid_dl.batch_size) == ("found", 8, 8)
        assert [len(batch[0]) for batch in dls.train_dl] == [8] * (n // 8)
        assert "batches of 8" in repr(dls)
        dls.batch_size = 4
        assert dls.batch_size_is == "given"


def test_a_size_that_is_given_is_not_to_be_found(blobs: tuple[Tensor, ...]) -> None:
    assert DataBunch.from_tensors(*blobs, bs=8).batch_size_is == "given"
    assert DataBunch.from_loaders([blobs[:2]]).batch_size_is == "given"
    dls = DataBunch.from_tensors(*blobs, bs="auto")
    dls.batch_size = 16
    assert (dls.batch_size_is, dls.batch_size) == ("given", 16)


def test_a_bunch_made_of_another_has_its_size(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs="auto")
    assert dls.drop([0]).batch_size_is == "due"
    assert {fold.batch_size_is for fold in dls.folds(2)} == {"due"}
    dls.take_found_batch_size(4)
    again = dls.drop([0])
    assert (again.batch_size_is, again.batch_size) == ("given", 4)


def test_a_stream_has_the_size_it_was_made_with() -> None:
    class Stream(IterableDataset[tuple[Tensor, Tensor]]):
        def __iter__(self) -> Any:
            return iter([(torch.ones(2), torch.tensor(0))])

    with refused("bs: the batches of an IterableDataset cannot change their size", got="auto"):
        DataBunch.from_datasets(Stream(), bs="auto")


def test_a_bunch_without_items_takes_auto() -> None:
    dls = ImageDataBunch.single_from_classes(Path(), ["a", "b"], size=24, bs="auto", normalize=None)
    assert dls.batch_size == 64
