"""Torch's schedulers in a fit, against loops written by hand."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import SWALR

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import OneCycle
from learnkit.callbacks.accumulation import GradientAccumulation
from learnkit.callbacks.torch_scheduler import TorchScheduler
from learnkit.errors import SkipBatch, UsageError
from learnkit.training.state import TrainState
from tests.doubles import acting, refused

Make = Callable[[Optimizer], Any]

N_BATCHES = 4  # 64 items, 16 per batch
RATES = (0.02, 0.1)


def chained(opt: Optimizer) -> LRScheduler:
    return lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(opt, 0.5, total_iters=2), lr_scheduler.ExponentialLR(opt, 0.9)], optimizer=opt
    )


def sequential(opt: Optimizer) -> LRScheduler:
    parts: list[LRScheduler] = [lr_scheduler.LinearLR(opt, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(opt, 9)]
    return lr_scheduler.SequentialLR(opt, parts, milestones=[2])


MAKERS: dict[str, Make] = {
    "LambdaLR": partial(lr_scheduler.LambdaLR, lr_lambda=lambda n: 0.9**n),
    "MultiplicativeLR": partial(lr_scheduler.MultiplicativeLR, lr_lambda=lambda n: 0.95),
    "StepLR": partial(lr_scheduler.StepLR, step_size=2),
    "MultiStepLR": lambda opt: lr_scheduler.MultiStepLR(opt, [1, 2, 7], gamma=0.5),
    "ConstantLR": partial(lr_scheduler.ConstantLR, factor=0.3, total_iters=2),
    "LinearLR": lr_scheduler.LinearLR,
    "ExponentialLR": partial(lr_scheduler.ExponentialLR, gamma=0.8),
    "SequentialLR": sequential,
    "CosineAnnealingLR": partial(lr_scheduler.CosineAnnealingLR, T_max=5),
    "ChainedScheduler": chained,
    "ReduceLROnPlateau": partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=0.9),
    "CyclicLR": partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3),
    "CosineAnnealingWarmRestarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=2, T_mult=2),
    "OneCycleLR": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=3 * N_BATCHES),
    "PolynomialLR": partial(lr_scheduler.PolynomialLR, total_iters=7, power=2.0),
    "SWALR": partial(SWALR, swa_lr=0.05, anneal_epochs=2),
}
PER_BATCH = [name for name in MAKERS if name != "ReduceLROnPlateau"]


def test_every_scheduler_of_torch_is_tested() -> None:
    public = {name for name in lr_scheduler.__all__ if inspect.isclass(getattr(lr_scheduler, name))}
    assert public - {"LRScheduler"} == set(MAKERS) - {"SWALR"}


class Spy(Callback):
    """The rates and momenta each batch is trained with."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.moms: list[float] = []

    def before_fit(self, state: TrainState) -> None:
        self.rates, self.moms = [], []

    def after_backward(self, state: TrainState) -> None:
        self.rates.append([group["lr"] for group in state.optimizer.param_groups])
        self.moms.append(state.optimizer.param_groups[0]["betas"][0])


def data(blobs: tuple[Tensor, ...]) -> DataBunch:
    x, y, x_valid, y_valid = blobs
    train = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]  # in order, for a loop to do the same
    return DataBunch(train, [(x_valid, y_valid)])


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def learner(blobs: tuple[Tensor, ...], **options: Any) -> Learner:
    net = model()
    groups = [net[0], net[2]]
    return Learner(data(blobs), net, loss_func=nn.CrossEntropyLoss(), groups=groups, wd=0.0, seed=0, **options)


def by_hand(
    blobs: tuple[Tensor, ...], make: Make, every: str, n_epochs: int = 3
) -> tuple[nn.Module, list[list[float]], list[float]]:
    """The loop of torch's documentation; groups in learnkit's order: per layer weights, then biases."""
    net, loss_func = model(), nn.CrossEntropyLoss()
    parameters = [(net[0].weight, 0), (net[0].bias, 0), (net[2].weight, 1), (net[2].bias, 1)]
    opt = torch.optim.AdamW(
        [{"params": [p], "lr": RATES[layer]} for p, layer in parameters],
        betas=(0.9, 0.99),
        eps=1e-5,
        weight_decay=0.0,
        fused=True,
    )
    scheduler = make(opt)
    rates, moms = [], []
    loaders = data(blobs)
    for _ in range(n_epochs):
        for x, y in loaders.train_dl:
            loss_func(net(x), y).backward()
            rates.append([group["lr"] for group in opt.param_groups])
            moms.append(opt.param_groups[0]["betas"][0])
            opt.step()
            opt.zero_grad()
            if every == "batch":
                scheduler.step()
        if every == "epoch" and isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            with torch.no_grad():
                ((x, y),) = loaders.valid_dl
                scheduler.step(loss_func(net(x), y).item())
        elif every == "epoch":
            scheduler.step()
    return net, rates, moms


@pytest.mark.parametrize(
    ("name", "every"), [*((name, "epoch") for name in MAKERS), *((name, "batch") for name in PER_BATCH)]
)
def test_a_fit_is_the_loop_written_by_hand(name: str, every: Any, blobs: tuple[Tensor, ...]) -> None:
    net, rates, moms = by_hand(blobs, MAKERS[name], every)
    learn, spy = learner(blobs), Spy()
    learn.fit(3, list(RATES), callbacks=[TorchScheduler(MAKERS[name], every), spy])
    assert spy.rates == rates
    assert spy.moms == moms
    assert learn.recorder.lrs == [at_batch[-1] for at_batch in rates]
    for ours, theirs in zip(learn.model.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "factor", [lambda epoch: 0.1 ** (epoch // 2), lambda epoch: 1 if epoch < 2 else 0.1, [1.0, 1.0, 0.1].__getitem__]
)
def test_a_function_of_the_epoch_multiplies_the_rate_of_each_group(
    factor: Callable[[int], float], blobs: tuple[Tensor, ...]
) -> None:
    learn, spy = learner(blobs), Spy()
    learn.fit(3, list(RATES), callbacks=[TorchScheduler(factor), spy])
    assert spy.rates == [
        [rate * factor(epoch) for rate in (0.02, 0.02, 0.1, 0.1)] for epoch in (0, 1, 2) for _ in "4444"
    ]


def test_with_every_batch_the_function_counts_steps(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(2, 0.1, callbacks=TorchScheduler(lambda step: 1 / (1 + step), every="batch"))
    assert learn.recorder.lrs == [0.1 * (1 / (1 + step)) for step in range(8)]


def test_every_fit_starts_from_its_own_rates_and_leaves_no_settings(blobs: tuple[Tensor, ...]) -> None:
    learn, spy = learner(blobs), Spy()
    halves = TorchScheduler(lambda opt: lr_scheduler.ExponentialLR(opt, 0.5))
    for rate in (0.1, 0.02):
        learn.fit(2, rate, callbacks=[halves, spy])
        assert learn.recorder.lrs[-8:] == [rate] * 4 + [rate / 2] * 4
    cycle = TorchScheduler(MAKERS["OneCycleLR"], every="batch")
    learn.fit(1, 0.1, callbacks=cycle)
    assert learn.opt is not None
    fresh = learner(blobs)._ready_optimizer().param_groups[0]
    assert set(learn.opt.param_groups[0]) == set(fresh)


def test_initial_rates_from_a_file_are_ignored(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    for group in learn._ready_optimizer().param_groups:
        group["initial_lr"] = 7.0
    learn.fit(1, 0.1, callbacks=TorchScheduler(lambda epoch: 0.5))
    assert learn.recorder.lrs == [0.05] * 4


class SkipsSteps(Callback):
    """Skips the steps of these batches, as after an overflow in float16."""

    def __init__(self, *batches: int) -> None:
        self.batches = batches

    def after_backward(self, state: TrainState) -> None:
        if state.epoch * N_BATCHES + state.batch in self.batches:
            raise SkipBatch


def test_only_steps_of_the_optimizer_count(blobs: tuple[Tensor, ...]) -> None:
    learn, spy = learner(blobs), Spy()
    per_step = TorchScheduler(lambda step: 10.0**-step, every="batch")
    learn.fit(1, 1.0, callbacks=[per_step, spy, SkipsSteps(0, 2)])
    assert [rates[0] for rates in spy.rates] == pytest.approx([1, 1, 0.1, 0.1])
    per_epoch = TorchScheduler(lambda epoch: 10.0**-epoch)
    learn.fit(3, 1.0, callbacks=[per_epoch, spy, SkipsSteps(0, 1, 2, 3)])
    assert [rates[0] for rates in spy.rates[::4]] == pytest.approx([1, 1, 0.1])


def test_a_step_whose_batch_is_then_skipped_counts(blobs: tuple[Tensor, ...]) -> None:
    def skip(state: TrainState) -> None:
        raise SkipBatch

    learn, spy = learner(blobs), Spy()
    learn.fit(1, 1.0, callbacks=[TorchScheduler(lambda step: 10.0**-step, every="batch"), spy, acting(after_step=skip)])
    assert [rates[0] for rates in spy.rates] == pytest.approx([1, 0.1, 0.01, 0.001])


def test_an_overflow_in_float16_does_not_count(blobs: tuple[Tensor, ...]) -> None:
    class Overflows(Callback):
        def __init__(self) -> None:
            self.steps: list[int] = []  # taken before each batch

        def after_backward(self, state: TrainState) -> None:
            self.steps.append(state.step)
            if state.batch == 1:
                next(state.model.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]

    learn, overflows = learner(blobs).to_fp16(), Overflows()
    learn.fit(2, 0.1, callbacks=[TorchScheduler(lambda step: 1 / (1 + step), every="batch"), overflows])
    assert learn.recorder.lrs == [0.1 * (1 / (1 + step)) for step in overflows.steps]
    assert 0 < overflows.steps[-1] <= 5


def test_under_accumulation_steps_count(blobs: tuple[Tensor, ...]) -> None:
    learn, spy = learner(blobs), Spy()  # a step of 3 batches and, at the end of the epoch, one of the fourth
    per_step = TorchScheduler(lambda step: 10.0**-step, every="batch")
    learn.fit(2, 1.0, callbacks=[per_step, spy, GradientAccumulation(48)])
    assert [rates[0] for rates in spy.rates] == pytest.approx([1, 1, 1, 0.1, 0.01, 0.01, 0.01, 0.001])


class Saves(Callback):
    """Writes the schedule's state and the weights at the end of epoch 0."""

    order = 80

    def __init__(self, schedule: TorchScheduler, path: Path, weights: Path) -> None:
        self.schedule, self.path, self.weights = schedule, path, weights

    def after_epoch(self, state: TrainState) -> None:
        if state.epoch == 0:
            torch.save(self.schedule.state_dict(), self.path)
            torch.save({"model": state.model.state_dict(), "opt": state.optimizer.state_dict()}, self.weights)


@pytest.mark.parametrize(
    ("name", "every"), [*((name, "epoch") for name in MAKERS), *((name, "batch") for name in PER_BATCH)]
)
def test_a_resumed_schedule_continues(name: str, every: Any, blobs: tuple[Tensor, ...], tmp_path: Path) -> None:
    file, whole = tmp_path / "schedule.pt", Spy()
    first = TorchScheduler(MAKERS[name], every)
    learn = learner(blobs)
    learn.fit(3, list(RATES), callbacks=[first, whole, Saves(first, file, tmp_path / "weights.pt")])
    rest, again = Spy(), TorchScheduler(MAKERS[name], every)
    saved = torch.load(file, weights_only=True)
    kept = copy.deepcopy(saved)

    resume = acting(before_fit=lambda state: again.load_state_dict(saved), order=99)
    resumed, weights = learner(blobs), torch.load(tmp_path / "weights.pt", weights_only=True)
    resumed.model.load_state_dict(weights["model"])
    resumed._ready_optimizer().load_state_dict(weights["opt"])
    resumed.fit(2, list(RATES), callbacks=[again, rest, resume])
    for ours, theirs in zip(resumed.model.parameters(), learn.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert rest.rates == whole.rates[N_BATCHES:]
    assert rest.moms == whole.moms[N_BATCHES:]
    assert saved == kept


def test_there_is_no_state_outside_a_fit(blobs: tuple[Tensor, ...]) -> None:
    schedule = TorchScheduler(lambda epoch: 0.5)
    learner(blobs).fit(1, 0.1, callbacks=schedule)
    assert schedule.state_dict() == {}


@pytest.mark.parametrize(
    ("make", "options", "match"),
    [
        (MAKERS["ReduceLROnPlateau"], {"monitor": "acuracy"}, "monitor: got 'acuracy', expected one of accuracy"),
        (MAKERS["ReduceLROnPlateau"], {"monitor": "accuracy"}, "mode: got 'min', expected 'max' for accuracy"),
        (MAKERS["ReduceLROnPlateau"], {"every": "batch"}, "every: got 'batch', expected 'epoch' for Reduce"),
        (lambda opt: None, {}, "make: got None, expected a torch scheduler"),
        (lambda epoch: -1.0, {}, "the scheduler's learning rate: got .-0.1"),
        (lambda epoch: float("nan"), {}, "the scheduler's learning rate: got .nan"),
    ],
)
def test_invalid_schedulers_are_refused_before_anything_is_trained(
    make: Make, options: dict[str, Any], match: str, blobs: tuple[Tensor, ...]
) -> None:
    learn = learner(blobs, metrics="accuracy")
    with pytest.raises(UsageError, match=match):
        learn.fit(1, 0.1, callbacks=TorchScheduler(make, **options))
    assert learn.recorder.losses == []


def test_a_scheduler_of_another_optimizer_is_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    made = lr_scheduler.StepLR(torch.optim.SGD(learn.model.parameters(), 0.1), 3)
    with pytest.raises(UsageError, match=r"make: got .*StepLR"):
        learn.fit(1, 0.1, callbacks=TorchScheduler(lambda opt: made))
    with pytest.raises(UsageError, match="Write lambda opt: StepLR"):
        TorchScheduler(made)  # type: ignore[arg-type]
    with refused("every", got="step", expected="'epoch' or 'batch'"):
        TorchScheduler(MAKERS["StepLR"], every="step")  # type: ignore[arg-type]


def test_two_schedules_in_one_fit_are_refused(blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="OneCycle and TorchScheduler both set lr"):
        learner(blobs).fit(1, 0.1, callbacks=[TorchScheduler(MAKERS["StepLR"]), OneCycle(0.1)])


def test_an_error_in_a_custom_function_is_raised(blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(ZeroDivisionError):
        TorchScheduler(lambda epoch: 1 / epoch)
    with pytest.raises(TypeError, match="step_size"):
        learner(blobs).fit(1, 0.1, callbacks=TorchScheduler(lr_scheduler.StepLR))  # type: ignore[arg-type]
