"""Predictions leave no trace: modes, gradients, generators, the optimizer's rates, and loaders that others read."""

import gc
import random
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.callbacks import (
    EMA,
    EarlyStopping,
    MixedPrecision,
    SaveModel,
    StopAfterNBatches,
    TensorBoard,
    TerminateOnNaN,
)
from learnkit.errors import DataError, NonFiniteLossError, OutOfMemoryError, StopFit, UsageError
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState
from tests.doubles import Blobs, acting, linear_learner


def test_between_two_batches_the_model_is_the_users(learn: Learner) -> None:
    learn.model[3].eval()  # type: ignore[index, operator]
    state = torch.get_rng_state()
    for number, _ in enumerate(learn.predict_iter()):
        assert torch.is_grad_enabled()
        assert [module.training for module in learn.model] == [True, True, True, False, True]  # type: ignore[union-attr]
        assert torch.equal(state, torch.get_rng_state())
        if number == 1:
            break
    learn.fit(1)  # half read, then left


def test_an_error_does_not_change_gradients_and_modes(learn: Learner) -> None:
    with pytest.raises(UsageError, match="out") as caught:
        learn.get_preds(out=torch.empty(32, 3))
    assert torch.is_grad_enabled(), "while the traceback is still held"
    assert learn.model.training
    with pytest.raises(DataError, match="no labels"):
        next(learn.predict_iter(DatasetType.Test, with_loss=True))
    assert torch.is_grad_enabled()
    assert caught.value.__traceback__ is not None


class Noisy(Dataset[Tensor]):
    """Four items, drawn from the global generator; no labels."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return torch.randn(2)


def test_what_a_loader_draws_continues_from_batch_to_batch(learn: Learner) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    loader = DataLoader(Noisy(), 1)
    streamed = torch.cat([preds for preds, targets in learn.predict_iter(loader, activ=nn.Identity())])
    gathered, targets = learn.get_preds(loader, activ=nn.Identity())
    assert targets is None
    assert torch.equal(streamed, gathered)
    assert len(streamed.unique(dim=0)) == 4
    assert torch.equal(state, torch.get_rng_state())


class DrawnAnywhere(Dataset[Any]):
    """Eight items, drawn from Python's and NumPy's global generators."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([random.random(), np.random.random()]).float(), index % 2


def test_no_prediction_moves_a_global_generator(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    class Noisily(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.dropout = nn.Linear(2, 2), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            raw: Tensor = self.layer(self.dropout(x + torch.rand_like(x)))
            return raw

    learn.model = Noisily()
    loader = DataLoader(DrawnAnywhere(), 2)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()
    first, _ = learn.get_preds(loader)
    learn.validate(loader)
    learn.mc_dropout(loader, n=2)
    learn.predict(blobs[2][0])
    streamed = torch.cat([preds for preds, _ in learn.predict_iter(loader)])
    after = random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])
    assert torch.equal(first, streamed)
    assert len(first.unique(dim=0)) == 8, "what is drawn continues from batch to batch"


def test_validating_leaves_the_optimizer_alone_within_a_fit_too(learn: Learner) -> None:
    rates: set[float] = set()

    class Validates(Callback):
        def after_batch(self, state: TrainState) -> None:
            rates.add(state.optimizer.param_groups[0]["lr"])

        def after_epoch(self, state: TrainState) -> None:
            learn.validate()

    learn.fit(2, 0.125, callbacks=Validates())
    assert rates == {0.125}
    assert learn.opt is not None
    learn.validate()
    assert [group["lr"] for group in learn.opt.param_groups] == [0.125] * len(learn.opt.param_groups)


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [True, False])
def test_a_stream_whose_loader_has_workers_may_be_interrupted(
    learn: Learner, blobs: tuple[Tensor, ...], keeps: bool
) -> None:
    valid = TensorDataset(blobs[2], blobs[3])
    bunches = [DataBunch.from_datasets(valid, valid, bs=8, classes=["0", "1"], num_workers=1)]
    loaders = [DataLoader(valid, 8, num_workers=1, persistent_workers=keeps)]
    bunches += [DataBunch.from_loaders(loaders[0], loaders[0], classes=["0", "1"])]
    for dls in bunches:
        learn.dls = dls
        expected, targets = learn.get_preds()
        parts = []
        for number, part in enumerate(learn.predict_iter()):
            parts.append(part)
            if number == 1:
                learn.validate()  # goes through the same loader
        assert torch.equal(torch.cat([preds for preds, _ in parts]), expected)
        assert torch.equal(torch.cat([part for _, part in parts]), targets)
        next(learn.predict_iter())  # and left
        assert torch.equal(learn.get_preds()[0], expected)


@pytest.mark.parametrize(
    "act",
    [
        lambda learn: learn.fit(2, 1e-2),
        lambda learn: learn.lr_find(num_it=8),
        lambda learn: learn.fit(9, 5.0, callbacks=EarlyStopping()),
        lambda learn: learn.fit(2, 1e-2, callbacks=StopAfterNBatches(2)),
        lambda learn: learn.fit(2, 1e-2, callbacks=[EMA(0.5), SaveModel(), MixedPrecision("fp16")]),
        lambda learn: learn.fit(1, callbacks=TensorBoard()),
        lambda learn: learn.validate(),
    ],
    ids=["fit", "lr_find", "EarlyStopping", "StopAfterNBatches", "callbacks", "TensorBoard", "validate"],
)
def test_a_learner_that_is_deleted_frees_its_model_at_once(act: Any, blobs: Blobs) -> None:
    act(linear_learner(blobs))  # what is made once is made
    gc.collect()
    gc.disable()
    try:
        learn = linear_learner(blobs)
        act(learn)
        model = weakref.ref(learn.model)
        del learn
        assert model() is None
    finally:
        gc.enable()


def fails(error: Callable[[], BaseException]) -> Callable[[TrainState], None]:
    """A hook that raises a new error: one that a test holds would keep the frames alive that it went through."""

    def hook(state: TrainState) -> None:
        raise error()

    return hook


def makes_nan(state: TrainState) -> None:
    state.loss = state.loss * float("nan")


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [],
        lambda: [EarlyStopping(min_delta=1e9)],
        lambda: [acting(after_batch=fails(StopFit))],
        lambda: [acting(after_loss=makes_nan)],
        lambda: [acting(after_loss=makes_nan), TerminateOnNaN()],
        lambda: [acting(after_batch=fails(KeyboardInterrupt))],
        lambda: [acting(after_fit=fails(ZeroDivisionError))],
        lambda: [acting(after_backward=fails(lambda: torch.OutOfMemoryError("CUDA out of memory")))],
    ],
)
def test_the_outputs_of_a_fit_are_freed_without_the_garbage_collector(
    callbacks: Callable[[], list[Callback]], blobs: Blobs
) -> None:
    outputs: list[weakref.ref[Tensor]] = []
    watch = acting(after_pred=lambda state: outputs.append(weakref.ref(state.preds)), label="Watch")
    learn = linear_learner(blobs)
    gc.disable()
    try:
        with suppress(NonFiniteLossError, KeyboardInterrupt, ZeroDivisionError, OutOfMemoryError):
            learn.fit(3, 1e-3, callbacks=[watch, *callbacks()])
        learn.lr_find(num_it=4)
        assert outputs
        assert not any(output() is not None for output in outputs)
    finally:
        gc.enable()


def test_the_optimizer_of_lr_find_is_freed_without_the_garbage_collector(blobs: Blobs) -> None:
    optimizers: list[weakref.ref[Any]] = []
    learn = linear_learner(blobs)
    make = learn._made_by

    def noted(*args: Any) -> Any:
        optimizer, settings = make(*args)
        optimizers.append(weakref.ref(optimizer))
        return optimizer, settings

    learn._made_by = noted  # type: ignore[method-assign]
    gc.disable()
    try:
        learn.lr_find(num_it=4)
        assert [optimizer() for optimizer in optimizers] == [None]
    finally:
        gc.enable()


class Always(nn.Module):
    """A layer that draws in eval mode too, as a masked autoencoder does."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "dropout":
            return nn.functional.dropout(x, 0.5, training=True)
        return x + torch.randn_like(x) if self.kind == "noise" else x


class Jittered(Dataset[tuple[Tensor, Tensor]]):
    """Items (2,) with noise from the global generator."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return torch.full((2,), float(i)) + torch.randn(2), torch.tensor(i % 2)


@pytest.mark.parametrize("kind", ["dropout", "noise", "of the items"])
def test_what_a_validation_draws_is_the_same_each_time_and_shifts_no_training(kind: str) -> None:
    def fitted(**options: Any) -> Learner:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 8), Always(kind), nn.Linear(8, 2))
        data = DataBunch.from_loaders(DataLoader(Jittered(), 4), DataLoader(Jittered(), 4), classes=["a", "b"])
        learn = Learner(data, model, seed=1, opt_func="sgd")
        learn.fit(3, **options)
        return learn

    still = fitted(lr=1e-12)
    losses = still.history["valid_loss"].tolist()
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6), "of weights that stay"
    torch.manual_seed(7)
    assert still.validate() == pytest.approx(losses[:1], rel=1e-6), "as recorded"
    often, seldom = fitted(lr=0.1, validate_every=1), fitted(lr=0.1)
    assert all(map(torch.equal, often.model.parameters(), seldom.model.parameters()))


@pytest.mark.parametrize("act", ["show_batch", "one_batch", "lr_find", "another fit"])
def test_what_reads_the_training_images_meanwhile_leaves_the_fit_bit_equal(class_folder: Path, act: str) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def fitted(*callbacks: Callback) -> list[Tensor]:
        learn.fit(2, 0.1, callbacks=callbacks)
        return list(learn.model.parameters())

    def meanwhile(state: TrainState) -> None:
        if state.epoch == 0 and state.batch == 2:
            acts[act]()

    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4)
    other = Learner(dls, network(), seed=5)
    acts: dict[str, Callable[[], Any]] = {
        "show_batch": dls.show_batch, "one_batch": dls.one_batch, "lr_find": lambda: other.lr_find(num_it=20),
        "another fit": lambda: other.fit(1, 0.1),
    }  # fmt: skip
    learn = Learner(dls, network(), seed=0)
    quiet = fitted()
    learn = Learner(dls, network(), seed=0)
    assert all(map(torch.equal, quiet, fitted(acting(after_step=meanwhile))))
    plt.close("all")
