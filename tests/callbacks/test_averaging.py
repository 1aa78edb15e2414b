"""EMA and SWA against torch's AveragedModel in loops by hand, to the last bit."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import GradientClipping, SaveModel, TerminateOnNaN
from learnkit.callbacks.accumulation import GradientAccumulation
from learnkit.callbacks.averaging import EMA, SWA
from learnkit.device import Compute
from learnkit.errors import NonFiniteLossError, StopFit, UsageError
from learnkit.seeds import Stream, derive
from tests.doubles import acting, linear_learner, raising, refused

SEED, LR = 3, 0.1


def network(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(6) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(2, 6), middle, nn.ReLU(), nn.Linear(6, 2))


def learner(blobs: tuple[Tensor, ...], *, norm: bool = False, valid: bool = True) -> Learner:
    dls = DataBunch.from_tensors(*blobs, bs=16)
    if not valid:
        dls = DataBunch(dls.train_dl, None)
    return Learner(dls, network(norm=norm), loss_func=F.cross_entropy, seed=SEED, opt_func="sgd", wd=0)


def train_by_hand(
    model: nn.Module,
    dls: DataBunch,
    n_epochs: int,
    *,
    after_step: Callable[[int], None] = lambda step: None,
    after_epoch: Callable[[int], None] = lambda epoch: None,
    rate: Callable[[int], float] = lambda epoch: LR,
    clip: float | None = None,
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), LR)
    step = 0
    for epoch in range(n_epochs):
        model.train()
        optimizer.param_groups[0]["lr"] = rate(epoch)
        dls.train_dl.seed_epoch(SEED, epoch)
        for number, (x, y) in enumerate(dls.train_dl):
            torch.manual_seed(derive(SEED, Stream.STEP, epoch) + number)
            F.cross_entropy(model(x), y).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            after_step(step)
        after_epoch(epoch)


def assert_same(model: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        if ours.is_floating_point():  # torch averages counts of batches too, and rounds them down
            assert torch.equal(ours, theirs), name


def valid_loss(model: nn.Module, blobs: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return F.cross_entropy(model.eval()(blobs[2]), blobs[3]).item()


def weights_after_steps() -> tuple[list[Tensor], Callback]:
    """The first layer's weight after each step, and the callback that collects it."""
    seen: list[Tensor] = []
    return seen, acting(after_step=lambda state: seen.append(state.model[0].weight.detach().clone()))


# EMA


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("every_steps", [1, 3])
def test_ema_equals_torchs_averaged_model(norm: bool, every_steps: int, blobs: tuple[Tensor, ...]) -> None:
    learn, model = learner(blobs, norm=norm), network(norm=norm)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    losses: list[float] = []
    train_by_hand(
        model,
        learn.dls,
        3,
        after_step=lambda step: None if step % every_steps else average.update_parameters(model),
        after_epoch=lambda epoch: losses.append(valid_loss(copy.deepcopy(average), blobs)),
    )
    learn.fit(3, LR, callbacks=EMA(0.7, every_steps))
    assert_same(learn.model, average.module)
    assert learn.history["valid_loss"].tolist() == pytest.approx(losses, abs=1e-7)


def test_ema_is_the_weighted_mean_of_the_weights_after_each_step(blobs: tuple[Tensor, ...]) -> None:
    learn, (seen, watch) = learner(blobs), weights_after_steps()
    learn.fit(2, LR, callbacks=[EMA(0.5), watch])
    assert len(seen) == 8
    shares = [0.5**7, *(0.5 ** (8 - n) for n in range(1, 8))]
    assert sum(shares) == 1
    expected = sum(share * weight.double() for share, weight in zip(shares, seen, strict=True))
    torch.testing.assert_close(learn.model[0].weight.detach().double(), expected, rtol=0, atol=1e-6)


def test_training_continues_from_the_trained_weights(blobs: tuple[Tensor, ...]) -> None:
    averaged, plain = learner(blobs, norm=True), learner(blobs, norm=True)
    averaged.fit(3, LR, callbacks=EMA(0.9))
    plain.fit(3, LR)
    assert averaged.recorder.losses == plain.recorder.losses
    assert not torch.equal(averaged.model[0].weight, plain.model[0].weight)


def test_saved_and_monitored_weights_are_the_averaged_ones(blobs: tuple[Tensor, ...]) -> None:
    learn, model = learner(blobs), network()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    kept: list[nn.Module] = []
    train_by_hand(
        model,
        learn.dls,
        2,
        after_step=lambda step: average.update_parameters(model),
        after_epoch=lambda epoch: kept.append(copy.deepcopy(average.module)),
    )
    learn.fit(2, LR, callbacks=[EMA(0.7), SaveModel(every="epoch", name="each")])
    for epoch in range(2):
        learn.load(f"each_{epoch}")
        assert_same(learn.model, kept[epoch])


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "hook", ["after_step", "before_validate", "after_validate_batch", "after_validate", "after_epoch"]
)
@pytest.mark.parametrize("average", [EMA, SWA])
def test_after_an_error_the_model_has_its_trained_weights(
    average: Any, hook: str, error: type[BaseException], blobs: tuple[Tensor, ...]
) -> None:
    averaged, plain = learner(blobs, norm=True), learner(blobs, norm=True)
    for learn, extra in ((averaged, [average(0.3)]), (plain, [])):
        boom = acting(order=99, **{hook: raising(error("boom"), epoch=1, batch=0 if hook == "after_step" else 3)})
        with pytest.raises(error, match="boom"):
            learn.fit(3, LR, callbacks=[*extra, boom])
    assert_same(averaged.model, plain.model)
    averaged.fit(1, LR)  # and nothing is left of the average
    plain.fit(1, LR)
    assert_same(averaged.model, plain.model)


def test_a_fit_that_is_stopped_ends_with_the_average(blobs: tuple[Tensor, ...]) -> None:
    learn, model = learner(blobs), network()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    train_by_hand(model, learn.dls, 1, after_step=lambda step: average.update_parameters(model))

    learn.fit(3, LR, callbacks=[EMA(0.7), acting(before_epoch=raising(StopFit(), epoch=1))])
    assert_same(learn.model, average.module)


@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize("make", [lambda: EMA(0.8), lambda: SWA(0.0)])
def test_a_resumed_fit_continues_the_average(make: Callable[[], Any], valid: bool, blobs: tuple[Tensor, ...]) -> None:
    whole, parts = learner(blobs, norm=True, valid=valid), learner(blobs, norm=True, valid=valid)
    whole.fit(3, LR, callbacks=make())
    saved: dict[str, Any] = {}

    class Keep(Callback):
        order = 99

        def after_epoch(self, state: Any) -> None:
            if state.epoch == 1:
                saved.update(model=copy.deepcopy(state.model.state_dict()), average=copy.deepcopy(first.state_dict()))

    class Resume(Callback):
        order = 99

        def before_fit(self, state: Any) -> None:
            state.model.load_state_dict(saved["model"])
            again.load_state_dict(saved["average"])

    first, again = make(), make()
    parts.fit(2, LR, callbacks=[first, Keep()])
    parts.fit(1, LR, callbacks=[again, Resume()])
    assert_same(whole.model, parts.model)


# SWA


@pytest.mark.parametrize(
    ("start", "n_epochs", "counted"), [(0.75, 4, [3]), (0.5, 4, [2, 3]), (0.75, 1, [0]), (0, 3, [0, 1, 2])]
)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("valid", [False, True])
def test_swa_equals_torchs_averaged_model(
    start: float, n_epochs: int, counted: list[int], norm: bool, valid: bool, blobs: tuple[Tensor, ...]
) -> None:
    learn, model = learner(blobs, norm=norm, valid=valid), network(norm=norm)
    average = AveragedModel(model)
    train_by_hand(
        model, learn.dls, n_epochs,
        after_epoch=lambda epoch: average.update_parameters(model) if epoch in counted else None,
        rate=lambda epoch: 0.05 if epoch in counted else LR,
    )  # fmt: skip
    learn.dls.train_dl.seed_epoch(SEED, n_epochs - 1)
    update_bn(learn.dls.train_dl, average)
    learn.fit(n_epochs, LR, callbacks=SWA(start, lr=0.05))
    assert_same(learn.model, average.module)
    assert learn.recorder.lrs == [0.05 if epoch in counted else LR for epoch in range(n_epochs) for _ in range(4)]
    if valid:
        assert learn.history["valid_loss"].iloc[-1] == pytest.approx(valid_loss(average, blobs), abs=1e-7)


def test_swa_is_the_plain_mean(blobs: tuple[Tensor, ...]) -> None:
    ends: list[Tensor] = []

    class Watch(Callback):
        def after_batch(self, state: Any) -> None:
            if state.batch == 3:
                ends.append(state.model[0].weight.detach().clone().double())

    learn = learner(blobs)
    learn.fit_one_cycle(4, LR, callbacks=[SWA(0.25), Watch()])
    expected = (ends[1] + ends[2] + ends[3]) / 3
    torch.testing.assert_close(learn.model[0].weight.detach().double(), expected, rtol=0, atol=1e-6)


def test_swa_does_not_change_modes_or_training(blobs: tuple[Tensor, ...]) -> None:
    averaged, plain = learner(blobs, norm=True), learner(blobs, norm=True)
    averaged.fit(3, LR, callbacks=SWA(0))
    plain.fit(3, LR)
    assert averaged.recorder.losses == plain.recorder.losses
    assert [m.training for m in averaged.model.modules()] == [m.training for m in plain.model.modules()]
    assert averaged.model[1].momentum == 0.1


def test_layers_held_in_eval_mode_keep_their_statistics(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, norm=True)
    learn.fit(2, LR, callbacks=[SWA(0), acting(before_epoch=lambda state: state.model[1].eval())])
    assert learn.model[1].running_mean.tolist() == [0.0] * 6


def test_a_resumed_fit_knows_the_layers_held_in_eval_mode(blobs: tuple[Tensor, ...]) -> None:
    """Interrupted in the first hook after the last batch: no batch of this process has shown them."""

    def script(learn: Learner, crash_in: int) -> None:
        hold = acting(label="Hold", before_epoch=lambda state: state.model[1].eval())
        crash = acting(before_validate=raising(ZeroDivisionError(), epoch=crash_in, batch=3), order=0)
        learn.fit(2, LR, callbacks=[SWA(0), hold, crash], checkpoint_every=1, resume="auto")

    with pytest.raises(ZeroDivisionError):
        script(learner(blobs, norm=True), crash_in=1)
    learn = learner(blobs, norm=True)
    script(learn, crash_in=9)
    assert learn.model[1].running_mean.tolist() == [0.0] * 6


def test_an_error_during_the_update_at_the_end_restores_the_trained_weights(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    averaged, plain = learner(blobs, norm=True, valid=False), learner(blobs, norm=True, valid=False)
    plain.fit(2, LR)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("learnkit.callbacks.averaging.update_batch_norm", broken)
    with pytest.raises(KeyboardInterrupt):
        averaged.fit(2, LR, callbacks=SWA(0))
    assert_same(averaged.model, plain.model)


# Both


@pytest.mark.parametrize("make", [lambda: EMA(0.9), lambda: SWA(0.5)])
def test_the_next_fit_starts_a_new_average(make: Callable[[], Any], blobs: tuple[Tensor, ...]) -> None:
    one, other = learner(blobs, norm=True), learner(blobs, norm=True)
    again = make()
    for _ in range(2):
        one.fit(2, LR, callbacks=again)
        other.fit(2, LR, callbacks=make())
    assert_same(one.model, other.model)


def test_the_first_step_of_a_fit_counts_whatever_the_fit_before_ended_with(blobs: tuple[Tensor, ...]) -> None:
    average = EMA(0.5)
    again, once = learner(blobs), learner(blobs)
    again.fit(1, LR, callbacks=average, max_steps=1)
    once.fit(1, LR, callbacks=EMA(0.5), max_steps=1)
    again.fit(1, LR, callbacks=average)
    once.fit(1, LR, callbacks=EMA(0.5))
    assert_same(again.model, once.model)


def test_ema_counts_steps_and_not_batches(blobs: tuple[Tensor, ...]) -> None:
    learn, (seen, watch) = learner(blobs), weights_after_steps()
    learn.fit(1, LR, callbacks=[GradientAccumulation(32), EMA(0.75), watch])
    assert len(seen) == 2  # of 4 batches
    torch.testing.assert_close(learn.model[0].weight.detach(), 0.75 * seen[0] + 0.25 * seen[1], rtol=0, atol=1e-6)


def test_a_skipped_step_is_not_counted(blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([True, False, True, False])  # as after an overflow of float16 gradients
    step = Compute.step
    monkeypatch.setattr(Compute, "step", lambda *args: step(*args) and next(taken))
    learn, (weights, watch) = learner(blobs), weights_after_steps()
    learn.fit(1, LR, callbacks=[EMA(0.5), watch])
    torch.testing.assert_close(learn.model[0].weight.detach(), (weights[0] + weights[2]) / 2, rtol=0, atol=1e-6)


def test_it_averages_clipped_steps_and_may_belong_to_the_learner(blobs: tuple[Tensor, ...]) -> None:
    learn, model = learner(blobs).add_cb(EMA(0.9), GradientClipping(0.1)), network()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    train_by_hand(model, learn.dls, 2, after_step=lambda step: average.update_parameters(model), clip=0.1)
    learn.fit(2, LR)
    assert_same(learn.model, average.module)
    learn.lr_find(num_it=8)
    assert_same(learn.model, average.module)


def test_only_one_average_per_fit(blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match="EMA and SWA both set the weights"):
        learner(blobs).fit(1, callbacks=[EMA(), SWA()])


@pytest.mark.parametrize(
    ("average", "name", "value"),
    [
        *((EMA, "decay", value) for value in (1, -0.1, True, "much")),
        *((EMA, "every_steps", value) for value in (0, 1.5, True)),
        *((SWA, "start", value) for value in (1, -1, True, None)), (SWA, "lr", -1),
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused(average: Any, name: str, value: Any) -> None:
    with refused(name, got=value):
        average(**{name: value})


# What models may hold, and what may happen to a fit


class Attends(nn.Module):
    """Keeps a computed tensor, which cannot be deep-copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.attention = self.layer(x).softmax(1)
        return self.attention


class TakesShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("seen", torch.tensor([]))
        self.register_buffer("shown", torch.ones(1, 2).expand(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.detach().mean(0)
        return self.layer(x)


def weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2)))


def spectral_norm() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(2, 2)))


def pruned() -> nn.Module:
    layer = nn.Linear(2, 2)
    prune.l1_unstructured(layer, "weight", 0.5)
    return nn.Sequential(layer)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("average", [lambda: EMA(0.5), lambda: SWA(0.5)])
@pytest.mark.parametrize("make", [Attends, TakesShape, weight_norm, spectral_norm, pruned])
def test_models_that_cannot_be_copied_are_averaged(make: Any, average: Any, blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs, make())
    learn.fit(2, LR, callbacks=average())
    learn.fit(1, LR, callbacks=average())
    assert all(torch.isfinite(tensor).all() for tensor in learn.model.state_dict().values())
    learn.validate()


@pytest.mark.parametrize(("average", "n_batches"), [(EMA(0.5), 8), (SWA(0.5), 8)])
def test_counts_are_copied_not_averaged(average: Any, n_batches: int, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, norm=True)
    seen: list[int] = []
    watch = acting(before_validate=lambda state: seen.append(int(state.model[1].num_batches_tracked)), order=99)
    learn.fit(2, LR, callbacks=[average, watch])
    assert seen[0] == 4
    if isinstance(average, EMA):  # SWA counts the batches that its statistics are from
        assert int(learn.model[1].num_batches_tracked) == n_batches


@pytest.mark.parametrize("read_at_once", [True, False])
@pytest.mark.parametrize("average", [lambda: EMA(0.5), lambda: SWA(0.0)])
@pytest.mark.parametrize("epoch", [0, 1])
def test_restored_weights_stay_after_a_nan(
    average: Any, epoch: int, read_at_once: bool, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not read_at_once:
        monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))
    starts: list[Tensor] = []

    def overflow(state: Any) -> None:
        if (state.epoch, state.batch) == (epoch, 1):
            state.model[0].weight.grad.fill_(float("inf"))

    watch = acting(
        before_epoch=lambda state: starts.append(state.model[0].weight.detach().clone()), after_backward=overflow
    )
    learn = learner(blobs)
    learn.fit(3, LR, callbacks=[watch, TerminateOnNaN(), average()])
    assert torch.isfinite(learn.model[0].weight).all()
    if epoch == 0:
        assert torch.equal(learn.model[0].weight, starts[0])


@pytest.mark.parametrize("read_at_once", [True, False])
@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("at", [1, 2])  # the batch whose gradients overflow; after both a validation follows
def test_no_average_with_a_nan_is_validated_or_kept(
    at: int, stops: bool, read_at_once: bool, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not read_at_once:
        monkeypatch.setattr(Compute, "sync_is_free", property(lambda self: False))
    starts: list[Tensor] = []
    losses: list[float] = []

    def overflow(state: Any) -> None:
        if (state.epoch, state.batch) == (1, at):
            state.model[0].weight.grad.fill_(float("inf"))

    watch = acting(
        after_epoch=lambda state: starts.append(state.model[0].weight.detach().clone()),
        after_backward=overflow,
        after_validate=lambda state: losses.append(state.valid["valid_loss"]),
        order=99,
    )
    learn = learner(blobs)
    average = EMA(0.5)
    context = nullcontext() if stops else pytest.raises(NonFiniteLossError)
    with context:
        learn.fit(2, LR, callbacks=[average, watch, *([TerminateOnNaN()] if stops else [])], validate_every=2)
    assert torch.equal(learn.model[0].weight, starts[0])
    assert torch.isfinite(torch.tensor(losses)).all()
    assert average.state_dict()["average"] == average.state_dict()["own"] == {}


def test_nothing_is_averaged_before_the_start_step(blobs: tuple[Tensor, ...]) -> None:
    learn, (seen, watch) = learner(blobs), weights_after_steps()
    learn.fit(2, LR, callbacks=[EMA(0.5, start_step=7), watch])
    torch.testing.assert_close(learn.model[0].weight.detach(), seen[6] / 2 + seen[7] / 2)


def test_the_decay_warms_up(blobs: tuple[Tensor, ...]) -> None:
    learn, (seen, watch) = learner(blobs), weights_after_steps()
    learn.fit(1, LR, callbacks=[EMA(0.3, warm_up=True), watch])
    expected = seen[0]
    for decay, weight in zip([2 / 11, 3 / 12, 0.3], seen[1:], strict=True):
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(learn.model[0].weight.detach(), expected)


@pytest.mark.parametrize("start_step", [0, -1, 1.5])
def test_an_invalid_start_step_is_refused(start_step: Any) -> None:
    with refused("start_step", got=start_step):
        EMA(start_step=start_step)
