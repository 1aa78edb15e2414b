"""Counts that optimizers keep in their groups: loaded, carried over and reset as the state of the parameters is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.errors import NonFiniteLossError
from tests.doubles import Blobs, acting

optim = pytest.importorskip("timm.optim")


def lookahead(groups: Any, lr: float) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = optim.Lookahead(torch.optim.AdamW(groups, lr=lr))
    return made


ways = pytest.mark.parametrize(
    ("make", "count"), [(optim.Lamb, "step"), (optim.Adan, "step"), (lookahead, "lookahead_step")]
)


def learner(blobs: Blobs, make: Any, path: Path) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    return Learner(DataBunch.from_tensors(*blobs, bs=16), model, opt_func=make, path=path, seed=0)


def counted(learn: Learner, count: str) -> set[int]:
    assert learn.opt is not None
    return {int(group[count]) for group in learn.opt.param_groups}


def weights(learn: Learner) -> list[Tensor]:
    return [p.detach().clone() for name, p in learn.model.named_parameters() if name != "unused"]


def at(learn: Learner, other: Learner) -> None:
    """Draw the same batches."""
    learn.counter.epoch, learn.counter.n_fits = other.counter.epoch, other.counter.n_fits


@ways
@pytest.mark.parametrize("n_fits", [0, 1, 3])
def test_a_file_brings_its_counts_whatever_the_learner_has_trained(
    n_fits: int, make: Any, count: str, blobs: Blobs, tmp_path: Path
) -> None:
    whole, other = learner(blobs, make, tmp_path), learner(blobs, make, tmp_path)
    whole.fit(2, 1e-2)
    file = whole.save("here").absolute()
    for _ in range(n_fits):
        other.fit(1, 1e-2)
    other.load(file, with_opt=True)
    assert counted(other, count) == {8}
    at(other, whole)
    for each in (whole, other):
        each.fit(1, 1e-2)
    assert all(map(torch.equal, weights(whole), weights(other)))


@ways
def test_an_optimizer_made_again_goes_on_as_if_it_was_not(make: Any, count: str, blobs: Blobs, tmp_path: Path) -> None:
    same, changed = learner(blobs, make, tmp_path), learner(blobs, make, tmp_path)
    for each in (same, changed):
        each.fit(2, 1e-2)
    before = changed.opt
    changed.model.register_parameter("unused", nn.Parameter(torch.zeros(2, 2)))
    for each in (same, changed):
        each.fit(1, 1e-2)
    assert changed.opt is not before
    assert counted(changed, count) == {12}
    assert all(map(torch.equal, weights(same), weights(changed)))


@ways
@pytest.mark.parametrize("is_made_again", [False, True])
def test_after_a_nan_an_optimizer_begins_as_a_new_one(
    is_made_again: bool, make: Any, count: str, blobs: Blobs, tmp_path: Path
) -> None:
    learn, new = learner(blobs, make, tmp_path), learner(blobs, make, tmp_path)
    learn.fit(2, 1e-2)
    if is_made_again:
        learn.model.register_parameter("unused", nn.Parameter(torch.zeros(2, 2)))
    good = weights(learn)
    with pytest.raises(NonFiniteLossError):
        learn.fit(1, 1e-2, callbacks=acting(after_loss=lambda state: state.loss.data.fill_(float("nan"))))
    assert all(map(torch.equal, good, weights(learn)))
    with torch.no_grad():
        for parameter, value in zip(new.model.parameters(), good[-4:], strict=True):
            parameter.copy_(value)
    at(new, learn)
    for each in (learn, new):
        each.fit(1, 1e-2)
    assert counted(learn, count) == {4}
    assert all(map(torch.equal, weights(learn), weights(new)))
