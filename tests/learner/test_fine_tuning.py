"""fine_tune without freeze_epochs: the head on features that are kept, then everything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from learnkit import DataBunch, Learner, Segmentation, unet_learner
from learnkit.callbacks import CSVLogger, MixUp, OneCycle, SaveModel
from learnkit.data.loading.loaders import TensorLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.errors import UsageError
from learnkit.learner import head_features
from learnkit.learner.fine_tuning import HEAD_EPOCHS, second_peak
from learnkit.training.callback import Order
from tests.doubles import acting, refused, slow

BATCHES = 3  # of an epoch: 24 images in batches of 8


class Body(nn.Module):
    """A convolution and batch norm; counts the images it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.n_images = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_images += len(x)
        out: Tensor = self.net(x)
        return out


def data() -> DataBunch:
    random = torch.Generator().manual_seed(0)
    y = torch.arange(24) % 2
    x = torch.rand(24, 1, 6, 6, generator=random) + y[:, None, None, None]
    return DataBunch.from_tensors(x, y, x[:10], y[:10], bs=8)


def learner(dls: DataBunch | None = None, **options: Any) -> Learner:
    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.Linear(4, 2))
    model = nn.Sequential(Body(), head)
    model[0].net[1].running_mean += 0.25  # as of a trained body
    return Learner(data() if dls is None else dls, model, groups=[model[0], model[1]], seed=0, **options)


def tensors(learn: Learner, prefix: str = "") -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learn.model.state_dict().items() if name.startswith(prefix)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Batches:
    """What is seen at each batch: images through the body before it, and its modes."""

    def __init__(self) -> None:
        self.images: list[int] = []
        self.statistics: list[bool] = []

    def callback(self) -> Any:
        def look(state: Any) -> None:
            body, head = state.model[0], state.model[1]
            self.images.append(body.n_images)
            self.statistics.append((body.net[1].training, head[2].training))

        return acting(after_loss=look)


def test_the_head_has_30_epochs_at_the_cost_of_one_pass_through_the_body() -> None:
    learn, seen = learner(), Batches()
    before, n_before = tensors(learn, "0."), learn.model[0].n_images  # type: ignore[index, union-attr]
    kept = acting(
        label="Kept", after_fit=lambda state: None if state.continues_call else firsts.append(tensors(learn, "0."))
    )
    firsts: list[dict[str, Tensor]] = []
    learn.fine_tune(2, callbacks=[seen.callback(), kept])
    assert len(learn.history) == HEAD_EPOCHS + 2
    n_first = HEAD_EPOCHS * BATCHES
    assert seen.images[n_first - 1] == n_before + 24 + 10
    assert seen.images[n_first] == n_before + 24 + 10 + 8  # the second stage computes every batch
    assert same(firsts[0], before), "weights and statistics of the body"
    assert not same(tensors(learn, "0."), before)


def test_it_is_a_fit_of_the_head_and_a_cycle_of_everything() -> None:
    learn, by_hand = learner(), learner()
    learn.fine_tune(2, 1e-2)
    by_hand.fit_head(HEAD_EPOCHS, 1e-2, callbacks=OneCycle(None, pct_start=0.25))
    by_hand.unfreeze()  # with a new optimizer
    keep = acting(before_epoch=lambda state: state.model[0].net[1].eval())
    by_hand.fit_one_cycle(2, slice(5e-6, 5e-4), pct_start=0.3, div_factor=5, callbacks=keep)
    assert same(tensors(learn), tensors(by_hand))
    assert learn.recorder.lrs == by_hand.recorder.lrs


def test_everything_is_trained_but_the_statistics_of_the_body_stay() -> None:
    learn, seen = learner(), Batches()
    before = tensors(learn, "0.net.1.")
    learn.fine_tune(2, 1e-2, callbacks=seen.callback())
    after = tensors(learn, "0.net.1.")
    assert all(parameter.requires_grad for parameter in learn.model.parameters())
    assert not torch.equal(before["0.net.1.weight"], after["0.net.1.weight"])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(before[f"0.net.1.{name}"], after[f"0.net.1.{name}"])
    assert set(seen.statistics[HEAD_EPOCHS * BATCHES :]) == {(False, True)}


def test_statistics_of_no_data_are_learned() -> None:
    learn = learner()
    learn.model[0].net[1].reset_running_stats()  # type: ignore[index, union-attr]
    learn.fine_tune(1, 1e-2)
    assert learn.model[0].net[1].num_batches_tracked == BATCHES  # type: ignore[index, union-attr]


@pytest.mark.parametrize("freeze_epochs", [0, 1])
def test_with_a_number_of_frozen_epochs_the_statistics_move_as_in_fastai(freeze_epochs: int) -> None:
    learn = learner()
    before = tensors(learn, "0.net.1.running")
    learn.fine_tune(1, 1e-2, freeze_epochs=freeze_epochs)
    assert len(learn.history) == freeze_epochs + 1
    assert not same(tensors(learn, "0.net.1.running"), before)


# Where the head cannot be trained alone, one epoch of it goes through the whole model


def with_mixup() -> Learner:
    return learner(callbacks=MixUp())


def with_own_sampler() -> Learner:
    dls = data()
    items = TensorDataset(*dls.train_dl.tensors)
    loader = DataLoader(items, 8, sampler=WeightedRandomSampler([1.0] * 24, 24))
    return learner(DataBunch(loader, dls.valid_dl, task=dls.task))


def with_head_inside() -> Learner:
    learn = learner()
    return learn.split([learn.model[1], learn.model[0]])


def with_masks() -> Learner:
    x = torch.rand(8, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.5).long()
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, task=Segmentation(("dark", "light")))
    return unet_learner(dls, "resnet18", pretrained=False, seed=0)


@pytest.mark.parametrize("make", [with_mixup, with_own_sampler, with_head_inside, with_masks])
def test_without_features_the_head_has_one_epoch(make: Callable[[], Learner]) -> None:
    learn = make()
    peaks: list[list[float]] = []
    learn.fine_tune(1, 1e-2, callbacks=acting(before_fit=lambda state: peaks.append(state.rates)))
    assert len(learn.history) == 1 + 1
    assert [rates[-1] for rates in peaks] == [1e-2, 5e-3]


def test_features_that_do_not_fit_into_memory_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_features, "free_memory", lambda device=None: 100)
    learn = learner()
    learn.fine_tune(1)
    assert len(learn.history) == 1 + 1


def test_a_limit_is_refused_before_the_body_computes_anything() -> None:
    learn = learner()
    n_before = learn.model[0].n_images  # type: ignore[index, union-attr]
    with refused("max_steps", got=0):
        learn.fine_tune(1, max_steps=0)
    assert learn.model[0].n_images == n_before  # type: ignore[index, union-attr]


def test_a_later_start_needs_the_number_of_frozen_epochs() -> None:
    with refused("start_epoch", got=1, expected="0 without freeze_epochs="):
        learner().fine_tune(2, start_epoch=1)


# Both stages are one call


@pytest.mark.parametrize("stage", [0, slow(1)])
def test_an_interrupted_stage_goes_on_to_the_same_bits(stage: int, tmp_path: Path) -> None:
    def crash(state: Any) -> None:
        if state.continues_call == bool(stage) and state.epoch == 1 and state.batch == 1:
            raise ZeroDivisionError

    crashing = acting(before_batch=crash, order=Order.REPORT)
    whole = learner(path=tmp_path / "whole")
    whole.fine_tune(2, 1e-2, checkpoint_every=1)
    with pytest.raises(ZeroDivisionError):
        learner(path=tmp_path / "run").fine_tune(2, 1e-2, callbacks=crashing, checkpoint_every=1)
    again = learner(path=tmp_path / "run")
    again.fine_tune(2, 1e-2, checkpoint_every=1, resume="auto")
    assert same(tensors(again), tensors(whole))
    assert again.recorder.rows[-1].keys() == whole.recorder.rows[-1].keys()
    assert [row["epoch"] for row in again.recorder.rows] == [*range(HEAD_EPOCHS + 2)]


def test_a_completed_first_stage_computes_no_features_again(tmp_path: Path) -> None:
    crash = acting(before_fit=lambda state: state.continues_call and 1 / 0, order=Order.REPORT)
    with pytest.raises(ZeroDivisionError):
        learner(path=tmp_path).fine_tune(1, checkpoint_every=1, callbacks=crash)
    learner(path=tmp_path).fine_tune(1, checkpoint_every=1, resume="auto")
    again = learner(path=tmp_path)
    n_before = again.model[0].n_images  # type: ignore[index, union-attr]
    again.fine_tune(1, checkpoint_every=1, resume="auto")
    assert len(again.history) == HEAD_EPOCHS + 1
    assert again.model[0].n_images == n_before  # type: ignore[index, union-attr]


@pytest.mark.slow
def test_another_rate_of_a_completed_first_stage_is_refused(tmp_path: Path) -> None:
    learner(path=tmp_path).fine_tune(1, checkpoint_every=1)
    with pytest.raises(UsageError, match=r"fit-0 belongs to another fit: lr: \[.*0.002\] there, \[.*0.004\] here"):
        learner(path=tmp_path).fine_tune(1, 4e-3, checkpoint_every=1, resume="auto")


def test_the_best_of_both_stages_is_kept_and_one_table_has_all_epochs(tmp_path: Path) -> None:
    learn = learner(path=tmp_path)

    def spoil(state: Any) -> None:
        if state.continues_call:
            with torch.no_grad():
                state.model[1][4].bias.copy_(torch.tensor([100.0, -100.0]))

    learn.fine_tune(2, callbacks=[SaveModel(), CSVLogger(), acting(before_validate=spoil)])
    assert learn.history["valid_loss"].idxmin() < HEAD_EPOCHS
    assert learn.validate()[0] == pytest.approx(learn.history["valid_loss"].min(), rel=1e-5)
    assert len((tmp_path / "models" / "history.csv").read_text().splitlines()) == 1 + HEAD_EPOCHS + 2


@pytest.mark.parametrize(("n", "share"), [(100, 20), (2_000, 20), (3_000, 4), (50_000, 4)])
def test_more_items_are_trained_at_higher_rates(n: int, share: float) -> None:
    loader = TensorLoader((torch.zeros(n, 1),), BatchOrder(n, 64, shuffle=True))
    assert second_peak(0.02, loader, on_features=True) == pytest.approx(0.02 / share)
    assert second_peak(0.02, loader, on_features=False) == 0.01
    assert second_peak(0.02, iter([]), on_features=True) == pytest.approx(0.001)
