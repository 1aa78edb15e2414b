"""Shares of batches, as each of several processes would read them; `tests/distributed/room.py` has real processes."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from learnkit import DataBunch
from learnkit.data.loading import shares as module
from learnkit.data.loading.shares import Share, shares
from learnkit.distributed.world import World
from learnkit.errors import DataError, LearnkitWarning, UsageError


@pytest.fixture
def each(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a function as each of `size` processes, and returns what it returned."""

    def call(size: int, function: Any) -> list[Any]:
        found = []
        for rank in range(size):
            world = World()
            world._size, world._rank = size, rank
            monkeypatch.setattr(world, "check_same", lambda what: None)  # nobody else is there
            monkeypatch.setattr(module, "world", world)
            found.append(function())
        return found

    return call


def bunch(n_train: int = 9, n_valid: int = 11, bs: int = 4) -> DataBunch:
    x = torch.arange(max(n_train, n_valid)).float()[:, None]
    y = torch.arange(len(x)) % 2
    return DataBunch.from_tensors(x[:n_train], y[:n_train], x[:n_valid], y[:n_valid], bs=bs)


def whole(found: list[list[Share]]) -> list[Tensor]:
    """The batches that the shares of all processes make."""
    return [torch.cat([share.batch[0][: share.n] for share in one]) for one in zip(*found, strict=True)]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_shares_in_order_make_the_batches(each: Any, size: int) -> None:
    dls = bunch()
    found = each(size, lambda: list(shares(dls.valid_dl)))
    expected = [batch[0] for batch in dls.valid_dl]  # the cut was for one iteration
    assert [len(batch) for batch in expected] == [4, 4, 3]
    for got, batch in zip(whole(found), expected, strict=True):
        assert torch.equal(got, batch)
    for one in found:
        assert all(torch.equal(s.batch[0][: s.n].flatten(), torch.arange(s.start, s.start + s.n).float()) for s in one)
        assert [share.total for share in one] == [4, 4, 3]


@pytest.mark.parametrize("start", [0, 1])
def test_shares_of_a_drawn_order_make_the_batches(each: Any, start: int) -> None:
    dls = bunch()

    def epoch() -> list[Share]:
        dls.train_dl.seed_epoch(7, 3, start)
        return list(shares(dls.train_dl))

    found = each(2, epoch)
    dls.train_dl.seed_epoch(7, 3, start)
    expected = [batch[0] for batch in dls.train_dl]
    assert len(expected) == 2 - start
    assert all(torch.equal(got, batch) for got, batch in zip(whole(found), expected, strict=True))


def test_a_process_without_an_item_keeps_in_step(each: Any) -> None:
    first, second, third = each(3, lambda: list(shares(bunch(n_valid=2).valid_dl)))
    assert [share.n for share in (*first, *second, *third)] == [1, 1, 0]
    assert third[0].batch[0].tolist() == [[0.0]]


def own_loaders() -> Iterator[tuple[str, Any]]:
    x = torch.arange(11).float()[:, None]
    pairs = TensorDataset(x, torch.arange(11))
    yield "torch's", DataLoader(pairs, 4)
    yield "torch's without a last short batch", DataLoader(pairs, 4, drop_last=True)
    yield "a list", [(x[i : i + 4], i) for i in range(0, 11, 4)]


@pytest.mark.filterwarnings("ignore:every process reads all")
@pytest.mark.parametrize(("name", "loader"), list(own_loaders()))
def test_shares_of_a_users_loader_make_its_batches(each: Any, name: str, loader: Any) -> None:
    found = each(3, lambda: list(shares(loader)))
    for got, batch in zip(whole(found), loader, strict=True):
        assert torch.equal(got, batch[0]), name
    assert [len(one) for one in each(3, lambda: list(shares(loader, 1)))] == [1, 1, 1]


def test_a_shuffled_loader_of_torch_is_cut_alike_with_equal_generators(each: Any) -> None:
    loader = DataLoader(TensorDataset(torch.arange(12)), 4, shuffle=True)

    def epoch() -> list[Share]:
        torch.manual_seed(3)
        return list(shares(loader))

    torch.manual_seed(3)
    expected = [batch[0] for batch in loader]
    assert all(torch.equal(got, batch) for got, batch in zip(whole(each(2, epoch)), expected, strict=True))


class Tripled(DataLoader[Any]):
    def __iter__(self) -> Any:
        return ((x * 3, y) for x, y in super().__iter__())


@pytest.mark.filterwarnings("ignore:every process reads all")
def test_a_loader_that_changes_its_batches_is_iterated_itself(each: Any) -> None:
    loader = Tripled(TensorDataset(torch.arange(11), torch.arange(11)), 4)
    found = whole(each(2, lambda: list(shares(loader))))
    assert torch.equal(torch.cat(found), torch.arange(11) * 3)


def test_the_order_of_a_loader_whose_workers_persist_is_its_own(each: Any) -> None:
    def epochs(read: Any) -> list[Any]:
        random = torch.Generator().manual_seed(4)
        pairs = TensorDataset(torch.arange(8), torch.arange(8))
        loader = DataLoader(pairs, 4, shuffle=True, generator=random, num_workers=1, persistent_workers=True)
        return [part for _ in range(3) for part in read(loader)]

    expected = [batch[0] for batch in epochs(list)]
    found = each(2, lambda: epochs(lambda loader: list(shares(loader))))
    assert all(torch.equal(got, batch) for got, batch in zip(whole(found), expected, strict=True))


def test_what_each_process_reads_whole_is_said_once(each: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOLD", set())
    batches = [torch.arange(4)]
    with pytest.warns(LearnkitWarning, match="every process reads all of a list, and keeps its share") as told:
        found = each(2, lambda: [*shares(batches), *shares(batches)])
    assert len(told) == 1
    assert [share.batch.tolist() for share in found[1]] == [[2, 3], [2, 3]]


@pytest.mark.parametrize(
    ("loader", "kind", "message"),
    [
        (lambda: bunch(bs=1).train_dl, UsageError, "bs=1 is the batch of all processes together, and there are 2"),
        (lambda: [(torch.zeros(0, 1), torch.zeros(0))], DataError, "a batch without items"),
        (
            lambda: DataLoader(bunch().train_ds, 2, sampler=DistributedSampler(bunch().train_ds, 2, 0)),
            UsageError, "a loader with a DistributedSampler shares its items out itself",
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:every process reads all")
def test_what_cannot_be_shared_out_is_refused(each: Any, loader: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        each(2, lambda: list(shares(loader())))
