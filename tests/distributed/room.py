"""What the processes tell each other, checked in each of them: `python tests/distributed/room.py`, by a launcher."""

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from learnkit import DataBunch, Learner, LearnkitError
from learnkit.data.loading.shares import Share, shares
from learnkit.device import default_device
from learnkit.distributed import world
from learnkit.distributed.agreement import Agreement
from learnkit.distributed.exchange import gathered, in_order, sent_by_device, together
from learnkit.distributed.failures import told
from learnkit.distributed.parallel import Parallel, synchronized_batch_norm
from learnkit.distributed.world import span
from learnkit.errors import DataError, LearnkitWarning, ProcessError, UsageError
from learnkit.inference.processes import gathered_batch, gathered_set
from learnkit.metrics.accumulate import Kept, Moments, Range, Sums


def refused(function: Callable[[], object], kind: type[LearnkitError], words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        function()


def numbers() -> None:
    ranks = range(world.size)
    assert world.sums(world.rank + 0.5, 1) == [sum(ranks) + 0.5 * world.size, world.size]
    assert world.agreed(7 + world.rank) == 7
    assert world.highest(world.rank) == world.size - 1
    world.check_same({"a": 1, "b": 5})
    refused(
        lambda: world.check_same({"a": 1, "b": world.rank}), UsageError, f"the processes differ in b: got {[*ranks]}"
    )
    tensor, empty = torch.full((2, 3), float(world.rank), dtype=torch.float64).t(), torch.empty(0)
    world.spread(tensor, empty)
    assert tensor.eq(0).all()
    with world.alone():
        assert (world.size, world.rank) == (1, 0)
        assert world.sums(3) == [3]
    assert world.is_first == (os.environ["RANK"] == "0")
    world.wait()


def tensors() -> None:
    """Of every type, of lengths that differ, none at all in one process."""
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool, torch.complex64):
        own = torch.arange(2 * world.rank).to(dtype).reshape(world.rank, 2)
        parts = gathered(own)
        assert [tuple(part.shape) for part in parts] == [(rank, 2) for rank in range(world.size)]
        assert all(
            torch.equal(part, torch.arange(2 * rank).to(dtype).reshape(rank, 2)) for rank, part in enumerate(parts)
        )
    assert [part.shape for part in gathered(torch.zeros(0, 3))] == [torch.Size([0, 3])] * world.size
    assert [float(part) for part in gathered(torch.tensor(float(world.rank)))] == [*map(float, range(world.size))]
    for dtype in (torch.float32, torch.bool, torch.uint8):  # what an accelerator's backend sends, here through gloo
        rows = torch.arange(6 * world.rank, dtype=torch.int64).reshape(2 * world.rank, 3).to(dtype)
        parts = sent_by_device(rows.t().contiguous().t())
        assert [len(part) for part in parts] == [2 * rank for rank in range(world.size)]
        assert torch.equal(parts[world.rank], rows)
        assert parts[world.rank].dtype == dtype
    assert [part.shape for part in sent_by_device(torch.zeros(0, 3))] == [torch.Size([0, 3])] * world.size
    refused(lambda: sent_by_device(torch.zeros(1, 2 + world.rank)), DataError, "rows of different shapes or types")
    refused(lambda: sent_by_device(torch.zeros(1).to([torch.int64, torch.float32][world.is_first])), DataError, "types")
    lists = together([torch.tensor([world.rank])] * world.rank)
    assert [[int(part) for part in parts] for parts in lists] == [[rank] * rank for rank in range(world.size)]
    places = torch.arange(world.rank, 3 * world.size, world.size)
    rows = in_order(torch.stack([places, places]).t().double(), places)
    assert rows.tolist() == [[i, i] for i in range(3 * world.size)]
    only_first = in_order(
        torch.ones(2 if world.is_first else 0, dtype=torch.float64), torch.arange(2 if world.is_first else 0)
    )
    assert only_first.tolist() == [1, 1]
    assert only_first.dtype == torch.float64
    shape = (1, 2) if world.is_first else (1, 3)
    refused(lambda: in_order(torch.zeros(shape), torch.tensor([world.rank])), DataError, "rows of different shapes")


def agreement() -> None:
    """What the last process notices at its second call is known to all at the third."""
    pact = Agreement()
    is_last = world.rank == world.size - 1
    seen = [pact.exchange(5 if is_last and call == 1 else 0, 0)[0] for call in range(4)]
    assert seen == [0, 0, 5, 0]
    assert pact.finish() == [0, 0]
    assert pact.finish() == []


def accumulators() -> None:
    values = torch.arange(7 * 3, dtype=torch.float64).reshape(7, 3)
    own = values[slice(*span(7, world.rank, world.size))]
    for kind, feed in (
        (Sums, lambda a, x: a.update(x.sum(0))),
        (Kept, lambda a, x: a.update(x)),
        (Range, lambda a, x: a.update(x)),
        (Moments, lambda a, x: a.update(x)),
    ):
        part, whole, merged = kind(), kind(), kind()
        feed(part, own)
        feed(whole, values)
        for tensors in together(part.tensors()):
            merged.add(tensors)
        for got, expected in zip(merged.compute(), whole.compute(), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


class Numbers(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(11))

    def __len__(self) -> int:
        return 11


def batches() -> None:
    """Of any loader: the shares of all processes make the batches, in their order; each process has as many."""
    x, y = torch.arange(11), torch.arange(11) * 10
    bunch = DataBunch.from_tensors(x[:9].float()[:, None], y[:9], x.float()[:, None], y, bs=4)
    pairs = TensorDataset(x, y)
    loaders = {
        "tensors": bunch.valid_dl, "torch": DataLoader(pairs, 4), "stream": DataLoader(Numbers(), 4),
        "workers": DataLoader(pairs, 4, num_workers=1), "list": [(x[i : i + 4], y[i : i + 4]) for i in range(0, 11, 4)],
        "dicts": [{"x": x[i : i + 4], "y": y[i : i + 4]} for i in range(0, 11, 4)],
    }  # fmt: skip
    for name, loader in loaders.items():
        found = list(shares(loader))
        assert [share.total for share in found] == [4, 4, 3], name
        seen: list[int] = []
        for share in found:
            first = share.batch["x"] if isinstance(share.batch, dict) else share.batch[0]
            first = share.batch if isinstance(share.batch, Tensor) else first
            assert len(first) == max(share.n, 1), name
            place = torch.arange(share.start, share.start + share.n)
            assert torch.equal(first.flatten()[: share.n].long(), place), name
            seen += place.tolist()
        assert sorted(int(i) for part in gathered(torch.tensor(seen)) for i in part) == [*range(11)], name
        assert len(list(shares(loader, 2))) == 2
    drawn = [share.batch[0] for share in _epoch(bunch, 5)]
    with world.alone():
        bunch.train_dl.seed_epoch(1, 5)
        whole = [batch[0] for batch in bunch.train_dl]
    for own, batch in zip(drawn, whole, strict=True):
        assert torch.equal(own, batch[slice(*span(4, world.rank, world.size))])
    shuffled = DataLoader(pairs, 4, sampler=torch.utils.data.DistributedSampler(pairs, world.size, world.rank))
    refused(lambda: list(shares(shuffled)), UsageError, "DistributedSampler")
    small = DataBunch.from_tensors(x.float()[:, None], x % 2, x.float()[:, None], x % 2, bs=1)
    refused(lambda: list(shares(small.train_dl)), UsageError, "bs=1 is the batch of all processes")
    refused(lambda: list(shares([(x[:0], y[:0])])), DataError, "a batch without items")


def _epoch(bunch: DataBunch, epoch: int) -> list[Share]:
    bunch.train_dl.seed_epoch(1, epoch)
    return list(shares(bunch.train_dl))


def different_data() -> None:
    """What differs between the processes is refused in all of them, before it is trained on."""
    pairs = TensorDataset(torch.arange(12.0)[:, None], torch.arange(12) % 2)
    drawn = DataLoader(pairs, 4, shuffle=True, generator=torch.Generator().manual_seed(world.rank))
    refused(lambda: next(shares(drawn)), UsageError, "the processes differ in the order of the items (as a hash)")
    texts = DataLoader(pairs, batch_sampler=[[0] * (1 + world.rank)])
    refused(lambda: next(shares(texts)), UsageError, "the processes differ in the size of the first batch")
    parts = [(torch.zeros(3), torch.tensor([1, world.rank, 1]))]  # as a stream that each process reads a part of
    refused(lambda: next(shares(parts)), UsageError, "the processes differ in the targets of the first batch")
    augmented = [(torch.full((3,), world.rank), torch.ones(3))]
    assert next(shares(augmented)).total == 3
    x = torch.zeros(12 + world.rank, 1)
    learn = Learner(DataBunch.from_tensors(x, torch.arange(len(x)) % 2, x, x[:, 0].long(), bs=8), nn.Linear(1, 2))
    refused(lambda: learn.fit(1), UsageError, "the processes differ in the data: training (as a hash)")
    x = torch.zeros(12, 1)
    y = torch.arange(12) % 2
    learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=8), nn.Linear(1, 2))
    refused(lambda: learn.fit(1, 0.1 * (1 + world.rank)), UsageError, "differ in the learning rates (as a hash)")
    refused(lambda: learn.fit(1, max_steps=1 + world.rank), UsageError, "differ in the limits (as a hash)")


def predictions() -> None:
    start, stop = span(5, world.rank, world.size)
    rows = torch.arange(5.0)[start:stop][:, None]
    whole = gathered_batch({"a": rows, "b": (rows.long(),)}, stop - start)
    assert whole["a"].flatten().tolist() == [0, 1, 2, 3, 4]
    assert whole["b"][0].dtype == torch.int64
    assert gathered_batch(None, 1) is None
    one = torch.full((1, 2), 9.0)  # of two batches of one item: the others compute an item that does not count
    counts = int(world.is_first)
    preds, none = gathered_set([((one, None), 0, counts), ((one + 1, None), 1, counts)])
    assert preds.tolist() == [[9, 9], [10, 10]]
    assert none is None
    refused(lambda: gathered_set([((one, ["a", "b"]), 0, counts)]), DataError, "expected tensors of 1 rows")
    refused(lambda: gathered_set([]), DataError, "no items to predict")
    out = torch.zeros(3, 2)
    refused(lambda: gathered_set([((one,), 0, counts)], out), UsageError, "out: got (3, 2)")


class Branches(nn.Module):
    """The first process uses one layer, the others another; a third is used by none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.others, self.unused = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.first(x) if world.is_first else self.others(x)
        return out


def gradients() -> None:
    """Averaged over the processes in the first pass, by torch's wrapper in later ones, and after passes without it."""
    model, weight = Branches(), nn.Parameter(torch.ones(()))
    parallel = Parallel(model, [weight])
    x = torch.full((1, 2), float(world.rank + 1))
    for is_last in ([True], [True], [False, True], [False, False], [True]):
        model.zero_grad()
        weight.grad = None
        for step in is_last:
            parallel.refresh()
            with parallel.averaging(step):
                (parallel(x).sum() + weight * world.rank).backward()
        parallel.finish()
        parallel.finish()  # does nothing
        n = len(is_last)
        of_first, of_others = n / world.size, n * sum(range(2, world.size + 1)) / world.size
        torch.testing.assert_close(model.first.weight.grad, torch.full((1, 2), of_first))
        torch.testing.assert_close(model.others.weight.grad, torch.full((1, 2), of_others))
        torch.testing.assert_close(weight.grad, torch.tensor(n * sum(range(world.size)) / world.size))
        assert model.unused.weight.grad is None
    model.first.weight.requires_grad_(False)  # frozen meanwhile
    model.zero_grad()
    parallel.refresh()
    with parallel.averaging(True):
        parallel(x).sum().backward()
    parallel.finish()
    assert model.first.weight.grad is None
    torch.testing.assert_close(model.others.weight.grad, torch.full((1, 2), sum(range(2, world.size + 1)) / world.size))


def batch_norm() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LearnkitWarning)
        with synchronized_batch_norm(model):
            assert type(model[1]) is nn.BatchNorm2d
    assert "batch norm normalizes with the statistics of each process's share" in str(caught[0].message)


def fails() -> None:
    """In the last process; the others are told."""
    with told(lambda: "the test"):
        if world.rank == world.size - 1:
            time.sleep(0.5)
            raise ValueError("mine")
        world.sums(1)


def failure() -> None:
    """An error of one process is named in the others; this is the last thing that they do."""
    if world.rank == world.size - 1:
        with pytest.raises(ValueError, match="mine"):
            fails()
        time.sleep(0.5)
    else:
        refused(fails, ProcessError, f"(the test): process {world.size - 1} failed: ValueError: mine")


def main() -> None:
    torch.set_num_threads(1)
    assert default_device().type == "cpu"  # joins the others
    assert world.size == int(os.environ["WORLD_SIZE"])
    assert world.local_size == world.size
    for check in (
        numbers,
        tensors,
        agreement,
        accumulators,
        batches,
        different_data,
        predictions,
        gradients,
        batch_norm,
    ):
        check()
    failure()
    os._exit(0)


if __name__ == "__main__":
    main()
