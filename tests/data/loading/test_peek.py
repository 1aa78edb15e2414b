"""Looking into loaders: their items in order, and one input unchanged from its batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
from learnkit.data.loading.peek import first_target, in_order, size_of
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


@pytest.mark.parametrize("size", [2, 4], ids=["as many items as inputs", "more items"])
def test_an_input_of_two_tensors_is_cut_by_items(size: int) -> None:
    batches = [((X[i : i + size], -X[i : i + size]), Y[i : i + size]) for i in range(0, len(X), size)]
    dls = DataBunch.from_loaders(batches, batches)
    for i in (0, 3, 10):
        x, negative = dls.one_input("valid", i)
        assert torch.equal(x, X[i : i + 1])
        assert torch.equal(negative, -X[i : i + 1])


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


class Point(NamedTuple):
    x: Tensor
    y: Tensor


class Own:
    """A loader of one's own, with a dataset whose items are not its inputs."""

    dataset = TensorDataset(X.view(11, 1, 2), Y)

    def __iter__(self) -> Any:
        return iter([(X, Y)])


PAIRS: list[Any] = [((x, x), y) for x, y in zip(X, Y, strict=True)]
NAMED: list[Any] = [{"y": y, "x": x} for x, y in zip(X, Y, strict=True)]
THREE: list[Any] = [(x, x[:1], y) for x, y in zip(X, Y, strict=True)]
ARRAYS: list[Any] = [(x.double().numpy(), int(y)) for x, y in zip(X, Y, strict=True)]
BY_NAME = {"inputs": "x", "target": "y"}
SHAPES: dict[str, tuple[Callable[[], DataBunch], tuple[int, ...] | None]] = {
    "tuples": (lambda: DataBunch.from_loaders([(X, Y)]), (2,)),
    "lists": (lambda: DataBunch.from_loaders([[X, Y]]), (2,)),
    "a tuple of batches": (lambda: DataBunch.from_loaders(((X, Y),)), (2,)),
    "named tuples": (lambda: DataBunch.from_loaders([Point(X, Y)]), (2,)),
    "inputs alone": (lambda: DataBunch.from_loaders([X]), (2,)),
    "numbers": (lambda: DataBunch.from_loaders([(X[:, 0], Y)]), ()),
    "pairs": (lambda: DataBunch.from_loaders([((X, X), Y)]), None),
    "lists of images": (lambda: DataBunch.from_loaders([(list(X), Y)]), None),
    "a dict as input": (lambda: DataBunch.from_loaders([({"x": X}, Y)]), None),
    "two inputs": (lambda: DataBunch.from_loaders([(X, X[:, :1], Y)]), None),
    "dicts without keys": (lambda: DataBunch.from_loaders([{"y": Y, "x": X}]), None),
    "dicts": (lambda: DataBunch.from_loaders([{"y": Y, "x": X}], **BY_NAME), (2,)),
    "no batches": (lambda: DataBunch.from_loaders([]), None),
    "an own loader": (lambda: DataBunch.from_loaders(Own()), None),
    "a DataLoader": (lambda: DataBunch.from_loaders(DataLoader(TensorDataset(X, Y), 4)), (2,)),
    "of pairs": (lambda: DataBunch.from_loaders(DataLoader(PAIRS, 4)), None),
    "of two inputs": (lambda: DataBunch.from_loaders(DataLoader(THREE, 4)), None),
    "of dicts without keys": (lambda: DataBunch.from_loaders(DataLoader(NAMED, 4)), None),
    "of dicts": (lambda: DataBunch.from_loaders(DataLoader(NAMED, 4), **BY_NAME), (2,)),
    "of arrays": (lambda: DataBunch.from_loaders(DataLoader(ARRAYS, 4)), (2,)),
    "of an own collation": (lambda: DataBunch.from_loaders(DataLoader(DATA, 4, collate_fn=doubled)), None),
    "datasets": (lambda: DataBunch.from_datasets(TensorDataset(X, Y), bs=4), (2,)),
    "datasets of dicts": (lambda: DataBunch.from_datasets(NAMED, bs=4, **BY_NAME), (2,)),
    "datasets of pairs": (lambda: DataBunch.from_datasets(PAIRS, bs=4), None),
    "datasets of arrays": (lambda: DataBunch.from_datasets(ARRAYS, bs=4), (2,)),
    "tensors": (lambda: DataBunch.from_tensors(X, Y, bs=4), (2,)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_of_an_input_is_that_of_a_row_or_unknown(name: str) -> None:
    make, shape = SHAPES[name]
    state = torch.get_rng_state()
    dls = make()
    assert dls.input_shape == shape
    assert torch.equal(torch.get_rng_state(), state)
    if shape is not None:
        assert dls.one_batch()[0].shape[1:] == shape


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in ("no batches", "inputs alone")])
def test_the_first_target_is_the_last_part_of_a_row(name: str) -> None:
    found = first_target(SHAPES[name][0]().train_dl)
    is_hidden = name.startswith(("an own", "of an own")) or name.endswith("without keys")
    assert found is None if is_hidden else found == Y[0]
