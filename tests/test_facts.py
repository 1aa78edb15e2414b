"""Behavior that learnkit shares with fastai, with the figures observed there; the rest is next to its
subject: schedules in tests/learner/test_policies.py, heads and groups in tests/models, losses and metrics in theirs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.callbacks import GradientAccumulation
from learnkit.data.table.splits import RandomSplit
from learnkit.errors import UsageError
from learnkit.optim.groups import spread_rates
from tests.doubles import acting, linear_learner, raising, refused


@pytest.mark.parametrize(
    ("lr", "n", "expected"),
    [
        (slice(1e-5, 1e-3), 3, [1e-5, 1e-4, 1e-3]),
        (slice(1e-5, 1e-3), 1, [1e-3]),
        (slice(1e-3), 3, [1e-4, 1e-4, 1e-3]),
        (slice(3e-3), 3, [3e-4, 3e-4, 3e-3]),
        (slice(3e-3), 1, [3e-3]),
        (0.01, 3, [0.01, 0.01, 0.01]),
    ],
)
def test_rates_are_spread_over_groups(lr: Any, n: int, expected: list[float]) -> None:
    assert spread_rates(lr, n) == pytest.approx(expected)


def test_a_list_of_another_length_names_both_counts() -> None:
    with pytest.raises(UsageError, match=r"2.*3|3.*2"):
        spread_rates([1e-3, 1e-2], 3)


def test_decay_is_decoupled_and_spares_norm_and_bias(blobs: tuple[Tensor, ...]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    learn = Learner(DataBunch.from_tensors(*blobs, bs=16), model, seed=0)
    learn.fit(1)
    assert learn.opt is not None
    decays = {id(p): group["weight_decay"] for group in learn.opt.param_groups for p in group["params"]}
    found = [decays[id(parameter)] for parameter in model.parameters()]
    assert found == [0.01, 0.0, 0.0, 0.0, 0.01, 0.0]
    assert isinstance(learn.opt, torch.optim.AdamW)
    assert learn.opt.param_groups[0]["betas"] == (0.9, 0.99)
    assert learn.opt.param_groups[0]["eps"] == 1e-5


def test_a_fit_can_begin_in_the_middle_of_its_cycle(blobs: tuple[Tensor, ...]) -> None:
    whole, rest = linear_learner(blobs), linear_learner(blobs)
    whole.fit_one_cycle(4, 1e-2)
    rest.fit_one_cycle(4, 1e-2, start_epoch=2)
    assert rest.recorder.lrs[0] == pytest.approx(0.00750002, rel=1e-5)
    assert rest.recorder.lrs == whole.recorder.lrs[8:]
    assert len(rest.history) == 2


def test_two_halves_of_a_cycle_equal_the_whole(blobs: tuple[Tensor, ...]) -> None:
    half_time = acting(before_epoch=raising(KeyboardInterrupt(), epoch=2))
    whole, halves = linear_learner(blobs), linear_learner(blobs)
    whole.fit_one_cycle(4, 1e-2)
    with pytest.raises(KeyboardInterrupt):
        halves.fit_one_cycle(4, 1e-2, callbacks=half_time)
    halves.counter.epoch = 2  # the third had begun
    halves.fit_one_cycle(4, 1e-2, start_epoch=2)
    for ours, theirs in zip(whole.model.parameters(), halves.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("start", [-1, 4, 1.0, True, "2"])
def test_an_invalid_start_epoch_is_refused(start: Any, blobs: tuple[Tensor, ...]) -> None:
    with refused("start_epoch", got=start):
        linear_learner(blobs).fit(4, start_epoch=start)


@pytest.mark.parametrize(("n_acc", "epochs", "steps"), [(32, 1, 2), (48, 1, 2), (48, 2, 4)])
def test_accumulation_counts_items_and_steps_the_rest(
    n_acc: int, epochs: int, steps: int, blobs: tuple[Tensor, ...]
) -> None:  # fastai 2 takes 2 steps in 2 epochs for 48 and leaves 32 items out; v1's rule is kept
    taken: list[int] = []
    note = acting(after_step=lambda state: taken.append(state.step))
    linear_learner(blobs).fit(epochs, callbacks=[GradientAccumulation(n_acc), note])
    assert taken == list(range(1, steps + 1))


def test_predictions_losses_and_validation_agree(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs, metrics="accuracy")
    preds, targets, losses = learn.get_preds(with_loss=True)
    assert (preds.shape, targets.shape, losses.shape) == ((32, 2), (32,), (32,))
    loss, accuracy = learn.validate()
    assert isinstance(loss, float)
    assert isinstance(accuracy, float)
    assert loss == pytest.approx(losses.mean().item(), abs=1e-6)


def test_the_split_of_ten_items_is_that_of_fastai_2() -> None:
    import pandas as pd

    chosen = RandomSplit(0.2, 42)(pd.DataFrame({"input": list("abcdefghij")}))
    assert chosen.nonzero()[0].tolist() == [2, 6]


def test_training_drops_the_last_short_batch() -> None:  # 72 items in batches of 16 are 4, 24 are 2
    x, y = torch.rand(72, 2), torch.arange(72) % 2
    dls = DataBunch.from_tensors(x, y, x[:24], y[:24], bs=16)
    assert (len(dls.train_dl), len(dls.valid_dl)) == (4, 2)
