"""The recorder: losses, rates, results and their plots."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import Callback, Learner
from learnkit.callbacks.numbers import BLOCK
from learnkit.callbacks.recorder import LRCurve, Recorder, Smoothed, Suggestions
from learnkit.errors import UsageError
from learnkit.seeds import Stream, derive
from learnkit.training.snapshot import Copies
from learnkit.training.state import TrainState
from tests.doubles import acting, linear_learner, raising


def test_losses_are_those_of_the_loop_by_hand(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs, opt_func="sgd", wd=0.0)
    model = nn.Linear(2, 2)
    model.load_state_dict(learn.model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    expected = []
    for epoch in range(2):
        learn.dls.train_dl.seed_epoch(0, epoch)
        for number, (x, y) in enumerate(learn.dls.train_dl):
            torch.manual_seed(derive(0, Stream.STEP, epoch) + number)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            expected.append(loss.item())
    learn.fit(2, 0.1)
    assert learn.recorder.losses == expected
    assert learn.recorder.epoch_ends == [4, 8]


def test_the_training_loss_of_a_row_is_the_smoothed_one(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs)
    learn.fit(2, 0.1)
    learn.fit(1, 0.1)

    def smoothed(losses: list[float]) -> float:
        weights = [0.98 ** (len(losses) - 1 - i) for i in range(len(losses))]
        return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)

    losses = learn.recorder.losses
    expected = [smoothed(losses[:4]), smoothed(losses[:8]), smoothed(losses[8:])]
    assert learn.history["train_loss"].tolist() == pytest.approx(expected, rel=1e-6)
    each = [smoothed(losses[start:end]) for start, stop in ((0, 8), (8, 12)) for end in range(start + 1, stop + 1)]
    assert learn.recorder.smooth_losses == pytest.approx(each, rel=1e-6)


def test_momentum_is_nan_for_an_optimizer_without_it(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs, opt_func=torch.optim.Adagrad)
    learn.fit(1)
    assert all(mom != mom for mom in learn.recorder.moms)
    assert len(learn.recorder.plot_lr().axes) == 1


def test_the_curves_are_those_of_the_record(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs, metrics="accuracy")
    learn.fit_one_cycle(2)
    losses = learn.recorder.plot_losses().axes[0].lines
    assert list(losses[0].get_ydata()) == learn.recorder.losses
    assert list(losses[2].get_xdata()) == [4, 8]
    assert list(losses[2].get_ydata()) == learn.history["valid_loss"].tolist()
    rates = learn.recorder.plot_lr().axes
    assert list(rates[0].lines[0].get_ydata()) == learn.recorder.lrs
    assert list(rates[1].lines[0].get_ydata()) == learn.recorder.moms
    metric = learn.recorder.plot_metrics().axes[0]
    assert (metric.get_ylabel(), list(metric.lines[0].get_ydata())) == ("accuracy", learn.history["accuracy"].tolist())


def test_the_curve_of_lr_find_is_drawn_with_its_suggestions(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs)
    found = learn.lr_find()
    axes = learn.recorder.plot().axes[0]
    curve = learn.recorder.lr_curve
    assert curve is not None
    assert list(axes.lines[0].get_xdata()) == list(curve.lrs[10:-5])
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == list(found)
    assert len(learn.recorder.plot(suggestion=False).axes[0].lines) == 1


@pytest.mark.parametrize("plot", ["plot", "plot_losses", "plot_lr", "plot_metrics"])
def test_a_plot_without_a_record_names_what_to_run(plot: str, blobs: tuple[Tensor, ...]) -> None:
    with pytest.raises(UsageError, match=r"(Run learn\.lr_find|Fit first|metrics=)"):
        getattr(linear_learner(blobs).recorder, plot)()


def test_the_first_batches_of_a_smoothed_loss_are_unbiased() -> None:
    smoothed = Smoothed(0.5)
    assert [smoothed.add(loss) for loss in (4.0, 1.0, 1.0)] == pytest.approx(
        [4, (4 + 2 * 1) / 3, (4 + 2 * 1 + 4 * 1) / 7]
    )
    again = Smoothed(0.5)
    again.load_state_dict(smoothed.state_dict())
    assert (again.value, again.add(3.0)) == (smoothed.value, smoothed.add(3.0))


def test_where_reading_a_loss_would_wait_the_losses_are_read_at_the_end_of_the_epoch(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, late, seen = linear_learner(blobs), linear_learner(blobs), list[int]()
    plain.fit(2, 0.1)
    monkeypatch.setattr("learnkit.device.Compute.sync_is_free", property(lambda compute: False))
    watch = acting(after_batch=lambda state: seen.append(len(late.recorder.losses)), order=99)
    late.fit(2, 0.1, callbacks=watch)
    assert late.recorder.losses == plain.recorder.losses
    assert late.recorder.smooth_losses == plain.recorder.smooth_losses
    assert seen[:4] == [0] * 4


def test_an_interrupted_epoch_keeps_its_losses(blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnkit.device.Compute.sync_is_free", property(lambda compute: False))
    learn = linear_learner(blobs)
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, callbacks=acting(after_batch=raising(KeyboardInterrupt(), batch=2), order=99))
    assert len(learn.recorder.losses) == 3
    assert learn.recorder.rows == []
    assert list(learn.history.columns) == ["epoch", "train_loss", "valid_loss", "time"]


def test_a_checkpoint_within_an_epoch_has_the_losses_that_wait_on_the_device(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.device.Compute.sync_is_free", property(lambda compute: False))
    learn, kept = linear_learner(blobs), list[list[float]]()
    keep = acting(after_batch=lambda s: kept.append(learn.recorder.state_dict()["losses"]["rest"].tolist()), order=99)
    learn.fit(1, 0.1, callbacks=keep)
    assert kept == [learn.recorder.losses[:n] for n in range(1, 5)]


def test_a_suggestion_is_marked_at_the_nearest_recorded_rate() -> None:
    recorder = Recorder()
    rates = tuple(10.0 ** (k / 10 - 4) for k in range(30))
    between = rates[14] * 1.01
    recorder.lr_curve = LRCurve(rates, tuple(float(k) for k in range(30)), Suggestions(between, *rates[20:23]))
    mark = recorder.plot().axes[0].lines[1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (between, 14.0)


@pytest.mark.parametrize("most", [1, 2, 3, 4])  # four batches in an epoch
def test_losses_that_wait_on_the_device_are_joined(
    most: int, blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.callbacks.recorder.MAX_UNREAD", most)
    plain, late, waiting = linear_learner(blobs), linear_learner(blobs), list[int]()
    plain.fit(2, 0.1)
    drop = acting(label="Drop", after_loss=lambda state: setattr(state, "loss_value", None), order=99)
    watch = acting(after_batch=lambda state: waiting.append(len(late.recorder._unread)), order=99)
    forget = acting(label="Forget", after_batch=lambda state: setattr(state, "loss_value", None), order=1)
    late.fit(2, 0.1, callbacks=[drop, forget, watch])
    assert late.recorder.losses == plain.recorder.losses
    assert max(waiting) < most
    assert waiting[:most] == [*range(1, most), 0]


def test_a_long_record_goes_on_after_an_interruption(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.callbacks.numbers.BLOCK", 3)
    whole, killed, again = (linear_learner(blobs) for _ in range(3))
    for epochs in (1, 1, 3):
        whole.fit(epochs, 0.1)

    def script(learn: Learner, *callbacks: Callback) -> None:
        for epochs in (1, 1, 3):
            learn.fit(epochs, 0.1, callbacks=callbacks, checkpoint_every=1, resume="auto")

    with pytest.raises(ZeroDivisionError):
        script(killed, acting(after_batch=raising(ZeroDivisionError(), epoch=1, batch=2), order=99))
    script(again)
    for name in ("losses", "smooth_losses", "lrs", "moms", "epoch_ends"):
        assert getattr(again.recorder, name) == getattr(whole.recorder, name)
    assert len(again.recorder.losses) == 20


def test_the_time_of_a_resumed_epoch_counts_from_its_beginning(blobs: tuple[Tensor, ...]) -> None:
    learn = linear_learner(blobs)

    def resume(state: TrainState) -> None:
        if state.epoch == state.batch == 1:
            learn.recorder.load_state_dict(learn.recorder.state_dict() | {"seconds": 3600.0})

    learn.fit(2, callbacks=acting(before_batch=resume))
    before, resumed = learn.history["time"]
    assert before < 3600 <= resumed < 7200


def test_a_checkpoint_takes_no_more_from_a_longer_record() -> None:
    def copied(n: int) -> int:
        """Bytes that a checkpoint copies of a record of n batches."""
        recorder, copies = Recorder(), Copies()
        for k in range(n):
            recorder._keep(float(k))
            recorder.lrs.append(1.0 / (k + 1))
            recorder.moms.append(0.9)
        copies.take(recorder.state_dict())
        return sum(tensor.nbytes for tensor in copies._memory.values())

    assert copied(2 * BLOCK + 5) == copied(5)
