"""OneCycle on a real fit: rates, momenta and groups at every batch."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.callbacks import OneCycle
from learnkit.errors import UsageError
from tests.doubles import linear_learner, refused


def learner(blobs: tuple[Tensor, ...], opt_func: str = "adamw") -> Learner:
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    return linear_learner(blobs, model, groups=list(model), opt_func=opt_func)


def cosine(start: float, end: float, p: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * p)) / 2


def test_the_defaults_are_those_of_the_article(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(5, callbacks=OneCycle(0.1))  # 20 batches, the peak after 6
    rates = [cosine(0.1 / 25, 0.1, k / 6) if k < 6 else cosine(0.1, 0.1 / 2.5e5, (k - 6) / 14) for k in range(20)]
    moms = [cosine(0.95, 0.85, k / 6) if k < 6 else cosine(0.85, 0.95, (k - 6) / 14) for k in range(20)]
    assert learn.recorder.lrs == pytest.approx(rates)
    assert learn.recorder.moms == pytest.approx(moms)


@pytest.mark.parametrize("opt_func", ["sgd", "adam", "rmsprop"])
def test_momentum_is_cycled_for_every_optimizer_that_has_it(opt_func: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, opt_func)
    learn.fit(1, callbacks=OneCycle(1e-3, pct_start=0.5))
    assert learn.recorder.moms == pytest.approx([0.95, 0.9, 0.85, 0.9])


def test_groups_keep_their_ratio_at_every_step(blobs: tuple[Tensor, ...]) -> None:
    seen = []
    learn = learner(blobs)
    step = learn._ready_optimizer().step
    assert learn.opt is not None

    def spy(*args: object, **kwargs: object) -> object:
        assert learn.opt is not None
        seen.append([learn.opt.param_groups[i]["lr"] for i in (0, 2, 4)])
        return step(*args, **kwargs)  # type: ignore[arg-type]

    learn.opt.step = spy  # type: ignore[assignment, method-assign]
    learn.fit(2, callbacks=OneCycle(slice(1e-5, 1e-3)))
    assert seen[0] == pytest.approx([4e-7, 4e-6, 4e-5])
    assert all(b / a == pytest.approx(10) and c / b == pytest.approx(10) for a, b, c in seen)


@pytest.mark.parametrize(
    ("name", "value"),
    [("moms", (0.9,)), ("moms", (0.95, 1.0)), ("moms", (-0.1, 0.9)), ("moms", 0.9), ("moms", "ab"),
     ("moms", (0.95, None)),
     ("moms", (0.9, True)), ("pct_start", 1.5), ("pct_start", -0.1), ("div_factor", 0), ("div_factor", math.inf),
     ("final_div", -1), ("final_div", True)],
)  # fmt: skip
def test_invalid_arguments_are_refused_at_construction(name: str, value: Any) -> None:
    with refused(name, got=value):
        OneCycle(0.1, **{name: value})


@pytest.mark.parametrize("lr_max", [math.nan, slice(None), -1])
def test_an_invalid_peak_is_refused_at_construction(lr_max: Any) -> None:
    with refused("lr"):
        OneCycle(lr_max)


def test_the_last_rate_is_near_the_peak_over_final_div(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(1, callbacks=OneCycle(1.0, div_factor=4, pct_start=0, final_div=2))
    assert learn.recorder.lrs == pytest.approx([cosine(1, 1 / 2, k / 4) for k in range(4)])


def test_a_loader_without_a_length_cannot_be_scheduled() -> None:
    class Stream:
        def __iter__(self) -> object:
            return iter([(torch.ones(2, 2), torch.tensor([0, 1]))])

    dls = DataBunch.from_loaders(Stream(), None, classes=["a", "b"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no length"):
        Learner(dls, nn.Linear(2, 2)).fit(1, callbacks=OneCycle(0.1))
