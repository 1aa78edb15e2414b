"""Gradient accumulation: a step of several batches is the step of one large batch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import GradientClipping, MixedPrecision, OneCycle
from learnkit.callbacks.accumulation import GradientAccumulation
from learnkit.errors import SkipBatch
from tests.doubles import acting, raising, refused

Batch = tuple[Tensor, Tensor]


def batches(sizes: Sequence[int]) -> list[Batch]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(sum(sizes), 3, generator=random)
    y = (x.sum(1) > 0).long()
    return list(zip(x.split(list(sizes)), y.split(list(sizes)), strict=True))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def fitted(sizes: Sequence[int], *callbacks: Callback, epochs: int = 3, opt: Any = "adamw") -> Learner:
    data = batches(sizes)
    learn = Learner(DataBunch.from_loaders(data, data), model(), loss_func=nn.CrossEntropyLoss(), opt_func=opt, seed=0)
    learn.fit(epochs, 1e-2, callbacks=callbacks)
    return learn


def weights(learn: Learner) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learn.model.parameters()])


@pytest.mark.parametrize(
    ("small", "large", "n_items"),
    [
        ([4, 4, 4, 4], [8, 8], 8),
        ([5, 5, 5, 5, 3], [10, 10, 3], 10),  # a last group of one short batch
        ([4, 4, 2, 4, 1], [10, 5], 10),  # batches of different sizes
        ([3, 3, 3, 3], [6, 6], 5),  # as many as are needed, whole batches
        ([8, 8], [8, 8], 1),
        ([4, 4], [8], 1000),
    ],
)
@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_it_equals_the_large_batch(small: list[int], large: list[int], n_items: int, opt: str) -> None:
    ours, theirs = fitted(small, GradientAccumulation(n_items), opt=opt), fitted(large, opt=opt)
    torch.testing.assert_close(weights(ours), weights(theirs), atol=1e-6, rtol=0)
    assert len(ours.recorder.losses) == 3 * len(small)


def test_it_equals_a_loop_by_hand() -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.0)
    for x, y in batches([10, 10, 3]) * 2:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    data = batches([5, 5, 5, 5, 3])
    dls = DataBunch.from_loaders(data, data)
    learn = Learner(dls, model(), loss_func=nn.CrossEntropyLoss(), opt_func="sgd", wd=0.0, seed=0)
    learn.fit(2, 0.1, callbacks=GradientAccumulation(10))
    expected = torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
    torch.testing.assert_close(weights(learn), expected, atol=1e-6, rtol=0)


def test_gradients_are_clipped_as_those_of_the_large_batch() -> None:
    ours = fitted([5, 5, 5, 5, 3], GradientAccumulation(10), GradientClipping(0.05))
    theirs = fitted([10, 10, 3], GradientClipping(0.05))
    torch.testing.assert_close(weights(ours), weights(theirs), atol=1e-6, rtol=0)
    assert not torch.allclose(weights(ours), weights(fitted([5, 5, 5, 5, 3], GradientAccumulation(10))), atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_too(precision: Any) -> None:
    callbacks = [MixedPrecision(precision), GradientClipping(1.0)]
    ours = fitted([5, 5, 5, 5, 3], GradientAccumulation(10), *callbacks, opt="sgd")
    theirs = fitted([10, 10, 3], *callbacks, opt="sgd")
    torch.testing.assert_close(weights(ours), weights(theirs), atol=2e-4, rtol=0)


@pytest.mark.parametrize("n_items", [2, 8, 16])
def test_a_group_in_which_no_target_counts_changes_nothing(n_items: int) -> None:
    x, y = torch.randn(32, 3), torch.full((32,), -100)
    y[:16] = torch.arange(16) % 2
    data = DataBunch.from_loaders(list(zip(x.split(2), y.split(2), strict=True)))
    learn = Learner(data, model(), loss_func=nn.CrossEntropyLoss(), opt_func=torch.optim.SGD, wd=0.0, seed=0)
    seen = [weights(learn)]
    learn.fit(
        1, 0.1, callbacks=[GradientAccumulation(n_items), acting(after_step=lambda _: seen.append(weights(learn)))]
    )
    changed = [not torch.equal(one, two) for one, two in pairwise(seen)]
    assert changed == [True] * (16 // n_items) + [False] * (16 // n_items)


def test_schedules_advance_once_per_step() -> None:
    def rates(sizes: list[int], bs: int, *callbacks: Callback) -> tuple[list[float], Learner]:
        x, y = (torch.cat(part) for part in zip(*batches(sizes), strict=True))
        seen: list[float] = []
        watch = acting(after_step=lambda state: seen.append(state.optimizer.param_groups[0]["lr"]))
        data = DataBunch.from_tensors(x, y, x, y, bs=bs)
        learn = Learner(data, model(), seed=0)
        learn.fit(2, 1e-2, callbacks=[*callbacks, OneCycle(), watch])
        return seen, learn

    ours, learn = rates([32], 4, GradientAccumulation(8))
    theirs, other = rates([32], 8)
    assert ours == theirs
    assert len(learn.recorder.lrs) == 2 * len(ours)
    assert learn.recorder.lrs[::2] == learn.recorder.lrs[1::2] == other.recorder.lrs
    torch.testing.assert_close(weights(learn), weights(other), atol=1e-6, rtol=0)


def test_the_reported_loss_does_not_depend_on_it() -> None:
    ours = fitted([4, 4, 4], GradientAccumulation(1000), epochs=1)
    net = model()
    expected = [F.cross_entropy(net(x), y).item() for x, y in batches([4, 4, 4])]
    assert ours.recorder.losses == pytest.approx(expected)


def test_a_skipped_batch_leaves_the_others_of_its_group() -> None:
    skip = acting(after_pred=raising(SkipBatch(), batch=1))
    ours = fitted([4, 4, 4], GradientAccumulation(1000), skip, epochs=1)
    first, _, last = batches([4, 4, 4])
    data = [(torch.cat([first[0], last[0]]), torch.cat([first[1], last[1]]))]
    theirs = Learner(DataBunch.from_loaders(data, data), model(), loss_func=nn.CrossEntropyLoss(), seed=0)
    theirs.fit(1, 1e-2)
    torch.testing.assert_close(weights(ours), weights(theirs), atol=1e-6, rtol=0)


def test_the_next_fit_steps_every_batch_again() -> None:
    learn = fitted([4, 4], GradientAccumulation(8), epochs=1)
    other = fitted([8], epochs=1)
    learn.fit(1, 1e-2)
    data = batches([4, 4])
    other.dls = DataBunch.from_loaders(data, data)
    other.fit(1, 1e-2)
    torch.testing.assert_close(weights(learn), weights(other), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n", [0, -4, 2.5, "8", True])
def test_an_invalid_number_is_refused(n: Any) -> None:
    with refused("n_items", got=n):
        GradientAccumulation(n)
