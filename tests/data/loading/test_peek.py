"""Looking into loaders: their items in order, and one input unchanged from its batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
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

from learnkit import DataBunch, DatasetType, ImageDataBunch
from learnkit.data.loading.peek import in_order, size_of
from tests.doubles import refused

X, Y = torch.arange(22.0).view(11, 2), torch.arange(11) % 2
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
    ids=lambda options: "-".join(options),
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


def doubled(items: list[Any]) -> tuple[Tensor, Tensor]:
    return 2 * torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def bunches() -> dict[str, DataBunch]:
    dataset = TensorDataset(X, Y)
    batches = [(X[start : start + 4], Y[start : start + 4]) for start in (0, 4, 8)]
    loader = DataLoader(dataset, 4, collate_fn=doubled)
    shuffled = DataLoader(dataset, 4, shuffle=True)
    backwards = DataLoader(dataset, batch_sampler=BatchSampler(range(10, -1, -1), 4, drop_last=False))
    whole = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    return {
        "tensors": DataBunch.from_tensors(X, Y, X, Y, bs=4),
        "datasets": DataBunch.from_datasets(dataset, dataset, bs=4, classes=["a", "b"]),
        "torch loaders": DataBunch.from_loaders(loader, loader),
        "shuffled": DataBunch.from_loaders(shuffled, shuffled),
        "a batch sampler": DataBunch.from_loaders(backwards, backwards),
        "a dataset of batches": DataBunch.from_loaders(whole, whole),
        "batches": DataBunch.from_loaders(batches, batches),
        "without labels": DataBunch.from_loaders([x for x, _ in batches], [x for x, _ in batches]),
    }


@pytest.mark.parametrize("name", bunches())
def test_an_input_is_the_row_of_its_batch(name: str) -> None:
    dls = bunches()[name]
    for part in (DatasetType.Valid, DatasetType.Fix):
        rows = torch.cat([batch if isinstance(batch, Tensor) else batch[0] for batch in dls.ordered_dl(part)])
        for i in (0, 3, 4, 10):
            assert torch.equal(dls.one_input(part, i), rows[i : i + 1])
        for wrong in (11, -1):
            with refused("i", got=wrong, expected="an item index from 0 to 10"):
                dls.one_input(part, wrong)


def test_an_input_may_be_written_into() -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    dls.one_input(DatasetType.Valid, 0).zero_()
    assert torch.equal(dls.one_input(DatasetType.Valid, 0), X[:1])


def test_a_image_is_normalized_and_not_augmented(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=5, num_workers=0)
    for part in (DatasetType.Valid, DatasetType.Train):
        rows = torch.cat([x for x, _ in dls.ordered_dl(part)])
        for i in (0, 6, 11):
            torch.testing.assert_close(dls.one_input(part, i), rows[i : i + 1])
            torch.testing.assert_close(dls.one_input(part, i), dls.prepare(dls.item_name(part, i)))
        for wrong in (len(rows), -1, 1.0, True):
            with refused("i", got=wrong):
                dls.one_input(part, wrong)  # type: ignore[arg-type]


def test_the_known_size_of_a_loader_is_shown() -> None:
    assert size_of(DataLoader(DATA, 3)) == "7 items in batches of 3"
    assert size_of(DataLoader(DATA, batch_size=None)) == "7 items"
    assert size_of([1, 2]) == "list"
