"""Batches: split, sliced, and those of an epoch."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from learnkit.device import Compute
from learnkit.errors import DataError
from learnkit.training.batches import batches_of_epoch, count_items, slice_batch, split_batch
from learnkit.training.state import TrainState


class Pair(NamedTuple):
    image: Tensor
    weight: Tensor


@pytest.mark.parametrize("kind", [tuple, list])
def test_the_last_entry_is_the_target(kind: Any) -> None:
    assert split_batch(kind([1, 2, 3]), "train") == ((1, 2), 3)


@pytest.mark.parametrize(
    ("batch", "named"),
    [((torch.ones(2),), "tuple of 1"), ([], "list of 0"), (torch.ones(2), "Tensor"), ({"x": 1}, "dict")],
)
def test_a_batch_without_a_target_is_refused(batch: Any, named: str) -> None:
    with pytest.raises(DataError, match=f"a batch of the train loader is a {named}: expected a tuple"):
        split_batch(batch, "train")


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        (torch.zeros(3, 2), 3),
        ((torch.zeros(3, 2), torch.zeros(5)), 3),
        (({"x": torch.zeros(4), "scale": 2.0}, torch.zeros(9)), 4),
        ({}, 0),
        (([1, 2],), 2),
        ((2.0, torch.zeros(9)), 1),  # a number counts as one item
        (7, 1),
    ],
)
def test_items_are_counted_by_the_first_entry(batch: Any, n: int) -> None:
    assert count_items(batch) == n


def test_values_with_one_entry_per_item_are_sliced_and_others_kept() -> None:
    rows, other, zero = torch.arange(8).view(4, 2), torch.arange(3), torch.tensor(5)
    assert slice_batch(rows, 1, 3, 4).tolist() == [[2, 3], [4, 5]]
    assert slice_batch(other, 1, 3, 4) is other
    assert slice_batch(zero, 1, 3, 4) is zero
    assert slice_batch("abcd", 1, 3, 4) == "abcd"
    assert slice_batch(list("abcd"), 1, 3, 4) == ["b", "c"]
    assert slice_batch(list("abc"), 1, 3, 4) == list("abc")
    columns = slice_batch([rows, rows[:, 0], 1, 2], 1, 3, 4)  # four columns, not four items
    assert [columns[0].tolist(), columns[1].tolist(), *columns[2:]] == [[[2, 3], [4, 5]], [2, 4], 1, 2]
    nested = slice_batch({"a": (rows, {"b": list("abcd")})}, 0, 1, 4)
    assert nested["a"][0].tolist() == [[0, 1]]
    assert nested["a"][1] == {"b": ["a"]}


def test_a_named_tuple_stays_one() -> None:
    pair = slice_batch(Pair(torch.arange(4), torch.ones(1)), 1, 3, 4)
    assert isinstance(pair, Pair)
    assert pair.image.tolist() == [1, 2]
    assert pair.weight.tolist() == [1.0]


def state(loader: Any, model: nn.Module | None = None, **options: Any) -> TrainState:
    model = model or nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    compute = Compute(torch.device("cpu"))
    return TrainState(
        model=model, optimizer=optimizer, loss_func=nn.CrossEntropyLoss(), train_dl=loader, compute=compute, **options
    )


class Seeded:
    """Notes what it is seeded with."""

    def __init__(self) -> None:
        self.seeds: list[tuple[int, ...]] = []

    def __iter__(self) -> Any:
        return iter(["a", "b", "c"])


class SkipsByItself(Seeded):
    def seed_epoch(self, seed: int, epoch: int, start: int = 0) -> None:
        self.seeds.append((seed, epoch, start))


class SkipsNothing(Seeded):
    def seed_epoch(self, seed: int, epoch: int) -> None:
        self.seeds.append((seed, epoch))


class HasState(Seeded):
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("loader", "start", "seeds", "batches"),
    [
        (SkipsByItself, 0, [(7, 5, 0)], ["a", "b", "c"]),
        (SkipsByItself, 2, [(7, 5, 2)], ["a", "b", "c"]),  # this one ignores its state; nothing else skips for it
        (SkipsNothing, 0, [(7, 5)], ["a", "b", "c"]),
        (SkipsNothing, 2, [(7, 5)], ["c"]),
        (HasState, 2, [], ["a", "b", "c"]),  # it is where its state put it
        (Seeded, 1, [], ["b", "c"]),
    ],
)
def test_batches_before_the_start_are_skipped_by_the_loader_if_it_can(
    loader: type[Seeded], start: int, seeds: list[Any], batches: list[str]
) -> None:
    made = loader()
    assert list(batches_of_epoch(state(made, seed=7, epoch=2, epoch_offset=3), start)) == batches
    assert made.seeds == seeds


def test_an_epoch_without_batches_is_refused_but_not_the_rest_of_one() -> None:
    with pytest.raises(DataError, match="train_dl yielded no batches"):
        list(batches_of_epoch(state([])))
    assert list(batches_of_epoch(state([[1, 2]]), 1)) == []


NORMED = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("sizes", "start", "left"), [([4, 1], 0, [4]), ([1, 1], 0, [1, 1]), ([4, 1], 1, []), ([1, 4, 1, 1], 0, [1, 4, 1])]
)
def test_one_item_after_a_larger_batch_is_dropped_before_batch_norm(
    sizes: list[int], start: int, left: list[int]
) -> None:
    data = [torch.zeros(n, 2) for n in sizes]
    found = batches_of_epoch(state(data, NORMED, epoch=1), start)  # the warning is of the first epoch
    assert [len(batch) for batch in found] == left
    assert [len(batch) for batch in batches_of_epoch(state(data, epoch=1), start)] == sizes[start:]
