"""Batches: split, counted, and those of an epoch."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.data.loading.shares import Share
from learnkit.device import Compute
from learnkit.distributed.world import World
from learnkit.errors import DataError
from learnkit.training import batches
from learnkit.training.batches import batches_of_epoch, split_batch
from learnkit.training.limits import Limits
from learnkit.training.state import TrainState
from learnkit.tree import items_of_batch


@pytest.mark.parametrize("kind", [tuple, list])
def test_the_last_entry_is_the_target(kind: Any) -> None:
    assert split_batch(kind([1, 2, 3]), "training") == ((1, 2), 3)


@pytest.mark.parametrize(
    ("batch", "named"),
    [((torch.ones(2),), "tuple of 1"), ([], "list of 0"), (torch.ones(2), "Tensor"), ({"x": 1}, "dict")],
)
def test_a_batch_without_a_target_is_refused(batch: Any, named: str) -> None:
    with pytest.raises(DataError, match=f"a batch of the training loader is a {named}: expected a tuple"):
        split_batch(batch, "training")


def test_a_dict_needs_the_names_of_its_entries() -> None:
    with pytest.raises(DataError, match=r"is a dict: .*from_loaders\(..., inputs=, target=\), of image, label"):
        split_batch({"image": torch.zeros(2, 3), "label": torch.zeros(2)}, "train")


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        (torch.zeros(3, 2), 3),
        ((torch.zeros(3, 2),), 3),
        ((torch.zeros(6, 2), torch.zeros(3)), 3),  # six views of three items
        (((torch.zeros(3, 2), torch.zeros(3, 2)), torch.zeros(3)), 3),
        ((2.0, torch.zeros(9)), 9),
        ([torch.zeros(4, 2), {"boxes": [1, 2]}], 4),
    ],
)
def test_the_items_of_a_batch_are_counted_by_its_target(batch: Any, n: int) -> None:
    assert items_of_batch(batch) == n


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


@pytest.mark.parametrize(
    ("norm", "totals", "left", "message"),
    [
        (nn.BatchNorm1d, [8, 3], [8], "holds 3 items, one of them in a process, and is dropped"),
        (nn.BatchNorm1d, [8, 4], [8, 4], ""),
        (nn.SyncBatchNorm, [8, 3], [8, 3], ""),
        (nn.SyncBatchNorm, [8, 2], [8, 2], ""),
        (nn.SyncBatchNorm, [8, 1], [8], "holds one item and is dropped"),
    ],
)
def test_of_several_processes_a_batch_is_as_small_as_what_is_normalized_together(
    norm: Any, totals: list[int], left: list[int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = World()
    two._size = 2
    monkeypatch.setattr(batches, "world", two)
    monkeypatch.setattr(batches, "shares", lambda loader: (Share(None, 0, total // 2, total) for total in loader))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list(batches_of_epoch(state(totals, nn.Sequential(norm(2)))))
    assert [share.total for share in found] == left
    assert message in "".join(str(warning.message) for warning in caught)
    assert len(caught) == bool(message)


@pytest.mark.parametrize("start", [0, 1, 2, 3, 5])
def test_a_limit_counts_the_batches_before_a_resume(start: int) -> None:
    running = state([(torch.full((2, 2), float(k)), torch.zeros(2)) for k in range(5)])
    running.limit(Limits.of(limit_batches=3))
    assert [x[0, 0].item() for x, _ in batches_of_epoch(running, start)] == [0, 1, 2][start:]
