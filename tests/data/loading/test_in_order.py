"""Loaders of one's own, put in order."""

from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from learnkit import DataBunch, DatasetType
from learnkit.data.loading.in_order import in_order

DATA = TensorDataset(torch.arange(7), torch.arange(7) * 10)


def rows(loader: Any) -> list[int]:
    return torch.cat([x for x, _ in loader]).tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 3, "shuffle": True},
        {"batch_size": 3, "shuffle": True, "drop_last": True},
        {"batch_size": 3, "drop_last": True},
        {"batch_size": 3, "sampler": WeightedRandomSampler([1.0] * 6 + [0.0], 20)},
        {"batch_sampler": BatchSampler(RandomSampler(DATA), 3, drop_last=True)},
        {"batch_sampler": BatchSampler(SequentialSampler(DATA), 3, drop_last=False)},
    ],
    ids=str,
)
def test_every_item_once_in_its_order(options: dict[str, Any]) -> None:
    assert rows(in_order(DataLoader(DATA, **options))) == list(range(7))


def test_a_subset_has_the_order_of_its_indices() -> None:
    loader = DataLoader(DATA, 2, sampler=SubsetRandomSampler([4, 1, 6]))
    assert rows(in_order(loader)) == [4, 1, 6]
    dls = DataBunch.from_loaders(DataLoader(DATA, 2, shuffle=True), loader, classes=["a", "b"])
    assert rows(dls.ordered_dl(DatasetType.Valid)) == [4, 1, 6]
    assert rows(dls.ordered_dl(DatasetType.Train)) == list(range(7))


def test_batches_are_made_as_before() -> None:
    loader = DataLoader(DATA, 3, shuffle=True, collate_fn=lambda items: (len(items), items[0][1]))
    assert list(in_order(loader)) == [(3, 0), (3, 30), (1, 60)]


def test_what_has_an_order_of_its_own_is_left_alone() -> None:
    class Backwards(Sampler[int]):
        def __iter__(self) -> Any:
            return iter(range(6, -1, -1))

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([(1, 2)])

    plain, own = DataLoader(DATA, 3), DataLoader(DATA, 3, sampler=Backwards())
    stream, single = DataLoader(Stream(), 3), DataLoader(DATA, batch_size=None)
    for loader in (plain, own, stream, single, [1, 2]):
        assert in_order(loader) is loader
