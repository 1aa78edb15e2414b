"""Every callback of learnkit, in the same situations."""

import inspect
from collections.abc import Callable as Maker
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import Callback, DataBunch, Learner, callbacks
from tests.doubles import acting, raising

EVERY_CALLBACK: dict[str, Maker[[], Callback]] = {
    "ActivationStats": lambda: callbacks.ActivationStats(),
    "BnFreeze": lambda: callbacks.BnFreeze(),
    "CSVLogger": lambda: callbacks.CSVLogger(),
    "CutMix": lambda: callbacks.CutMix(),
    "EarlyStopping": lambda: callbacks.EarlyStopping(patience=9),
    "EMA": lambda: callbacks.EMA(0.9),
    "GeneralScheduler": lambda: callbacks.GeneralScheduler({"lr": 1e-2, "mom": 0.8}),
    "GradientAccumulation": lambda: callbacks.GradientAccumulation(32),
    "MicroBatches": lambda: callbacks.MicroBatches(4),
    "GradientClipping": lambda: callbacks.GradientClipping(1.0),
    "Hooks": lambda: callbacks.Hooks(),
    "LRFinder": lambda: callbacks.LRFinder(num_it=1000),
    "MixedPrecision": lambda: callbacks.MixedPrecision("bf16"),
    "MixUp": lambda: callbacks.MixUp(),
    "OneCycle": lambda: callbacks.OneCycle(1e-2),
    "PeakMemory": lambda: callbacks.PeakMemory(),
    "Progress": lambda: callbacks.Progress("plain"),
    "Recorder": lambda: callbacks.Recorder(),
    "ReduceLROnPlateau": lambda: callbacks.ReduceLROnPlateau(),
    "RNNRegularizer": lambda: callbacks.RNNRegularizer(),
    "SaveModel": lambda: callbacks.SaveModel(),
    "ShowGraph": lambda: callbacks.ShowGraph(),
    "StopAfterNBatches": lambda: callbacks.StopAfterNBatches(1000),
    "SWA": lambda: callbacks.SWA(),
    "TensorBoard": lambda: callbacks.TensorBoard(),
    "TerminateOnNaN": lambda: callbacks.TerminateOnNaN(),
    "TrainMetrics": lambda: callbacks.TrainMetrics(),
    "TorchScheduler": lambda: callbacks.TorchScheduler(lambda epoch: 0.1**epoch),
}


class WithStates(nn.Sequential):
    """Returns hidden states too in training, as RNNRegularizer needs them."""

    def forward(self, x: Tensor) -> Any:
        flatten, first, relu, last = self
        hidden = relu(first(flatten(x)))
        output = last(hidden)
        return (output, hidden[:, None], hidden[:, None]) if self.training else output


@pytest.fixture
def blobs(blobs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """As images of one pixel, since CutMix needs images."""
    x_train, y_train, x_valid, y_valid = blobs
    return x_train[:, :, None, None], y_train, x_valid[:, :, None, None], y_valid


def loss_of_output(preds: Any, targets: Tensor, reduction: str = "mean") -> Tensor:
    """The loss of a model that may return more than its output: one fit of these tests runs without the callback."""
    return F.cross_entropy(preds[0] if isinstance(preds, tuple) else preds, targets, reduction=reduction)


def learner(blobs: tuple[Tensor, ...], name: str, **options: Any) -> Learner:
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)
    model = WithStates(*layers) if name == "RNNRegularizer" else nn.Sequential(*layers)
    if name == "RNNRegularizer":
        options["loss_func"] = loss_of_output
    return Learner(DataBunch.from_tensors(*blobs, bs=16), model, metrics="accuracy", seed=0, **options)


@pytest.fixture(params=EVERY_CALLBACK)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, learn: Learner) -> list[Callback]:
    """The callback for a fit of this learner, whose own recorder is already in every fit."""
    return [] if name == "Recorder" else [EVERY_CALLBACK[name]()]


def test_the_table_has_every_callback() -> None:
    there = {n for n in callbacks.__all__ if inspect.isclass(c := getattr(callbacks, n)) and issubclass(c, Callback)}
    of_other_packages = {"MLflow", "OptunaPruning", "Trackio", "WandB"}  # heavy: their own tests
    new = there - {"Callback"} - of_other_packages - set(EVERY_CALLBACK)
    assert not new, f"add {', '.join(sorted(new))} to EVERY_CALLBACK"
    assert set(EVERY_CALLBACK) <= there


def test_a_fit_with_it_can_run_twice(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, name)
    one = make(name, learn)
    learn.fit(2, 1e-2, callbacks=one)
    learn.fit(1, 1e-2, callbacks=one)
    assert len(learn.history) == 3
    assert len(learn.recorder.losses) == 3 * 4


def test_it_can_belong_to_the_learner(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, name)
    learn.add_cb(*make(name, learn))
    learn.fit(2, 1e-2)
    learn.fit(1, 1e-2)
    assert len(learn.history) == 3


def test_a_fit_works_again_after_an_error_with_it(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, name)
    one = make(name, learn)
    boom = acting(after_backward=raising(ZeroDivisionError("boom")))
    with pytest.raises(ZeroDivisionError, match="boom") as caught:
        learn.fit(1, 1e-2, callbacks=[*one, boom])
    assert "in Acting.after_backward, epoch 0, batch 0" in caught.value.__notes__
    learn.fit(1, 1e-2, callbacks=one)
    assert len(learn.history) == 1


def test_nothing_of_it_runs_outside_a_fit(
    name: str, blobs: tuple[Tensor, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    learn = learner(blobs, name)
    learn.add_cb(*make(name, learn))
    learn.fit(1, 1e-2)
    history = learn.history
    losses = list(learn.recorder.losses)
    files = sorted(learn.path.rglob("*"))
    capsys.readouterr()
    learn.validate()
    learn.get_preds(with_loss=True)
    learn.predict(blobs[0][0])
    learn.pred_batch()
    learn.lr_find(num_it=10)
    assert learn.history.equals(history)
    assert learn.recorder.losses == losses
    assert sorted(learn.path.rglob("*")) == files
    assert capsys.readouterr().out == ""


def test_it_does_not_change_the_callers_generator(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, name)
    before = torch.get_rng_state()
    learn.fit(1, 1e-2, callbacks=make(name, learn))
    assert torch.equal(before, torch.get_rng_state())


def test_its_settings_do_not_leak_into_the_next_fit(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, name)
    learn.fit(1, 1e-2, callbacks=make(name, learn))
    learn.fit(1, 1e-3)
    assert learn.recorder.lrs[-4:] == [1e-3] * 4
    assert learn.recorder.moms[-4:] == [0.9] * 4


def comparable(value: Any) -> Any:
    """Tensors as lists, without what differs between equal fits."""
    if isinstance(value, Tensor):
        return repr(value.tolist())
    if isinstance(value, dict):
        return {key: comparable(part) for key, part in value.items() if key not in UNLIKE}
    return [comparable(part) for part in value] if isinstance(value, list | tuple) else repr(value)


UNLIKE = ("time", "seconds", "cpu_peak", "name")  # from run to run, and the name of the run


@pytest.mark.parametrize("place", [("before_batch", 1, 2), ("before_validate", 1, 3), ("before_epoch", 2, 0)])
def test_an_interrupted_fit_with_it_resumes_to_the_same_result(
    name: str, place: tuple[str, int, int], blobs: tuple[Tensor, ...]
) -> None:
    hook, epoch, batch = place
    stop = acting(order=99, **{hook: raising(ZeroDivisionError(), epoch=epoch, batch=batch)})
    whole, first, again = (learner(blobs, name) for _ in range(3))
    ones, others = make(name, whole), make(name, again)
    whole.fit(3, 1e-2, callbacks=ones)
    with pytest.raises(ZeroDivisionError):
        first.fit(3, 1e-2, callbacks=[*make(name, first), stop], checkpoint_every=1)
    with torch.no_grad():
        for parameter in again.model.parameters():
            parameter.zero_()
    again.fit(3, 1e-2, callbacks=others, resume="auto")
    assert comparable(again.model.state_dict()) == comparable(whole.model.state_dict())
    assert comparable(again.recorder.state_dict()) == comparable(whole.recorder.state_dict())
    assert [comparable(one.state_dict()) for one in others] == [comparable(one.state_dict()) for one in ones]
