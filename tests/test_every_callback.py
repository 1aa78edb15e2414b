"""Every callback of learnkit, in the same handful of situations."""

import inspect
from collections.abc import Callable as Maker
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner, callbacks

EVERY_CALLBACK: dict[str, Maker[[], Callback]] = {
    "EarlyStopping": lambda: callbacks.EarlyStopping(patience=9),
    "GradientClipping": lambda: callbacks.GradientClipping(1.0),
    "LRFinder": lambda: callbacks.LRFinder(num_it=1000),
    "MixedPrecision": lambda: callbacks.MixedPrecision("bf16"),
    "OneCycle": lambda: callbacks.OneCycle(1e-2),
    "Progress": lambda: callbacks.Progress("plain"),
    "Recorder": lambda: callbacks.Recorder(),
    "SaveModel": lambda: callbacks.SaveModel(),
}


def learner(blobs: tuple[Tensor, ...], **options: Any) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    return Learner(DataBunch.from_tensors(*blobs, bs=16), model, metrics="accuracy", seed=0, **options)


@pytest.fixture(params=EVERY_CALLBACK)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, learn: Learner) -> list[Callback]:
    """The callback for a fit of this learner; its own recorder is already in every fit."""
    return [] if name == "Recorder" else [EVERY_CALLBACK[name]()]


def test_the_table_holds_every_callback_there_is() -> None:
    there = {n for n in callbacks.__all__ if inspect.isclass(c := getattr(callbacks, n)) and issubclass(c, Callback)}
    assert there - {"Callback"} == set(EVERY_CALLBACK)


def test_a_fit_with_it_can_run_twice(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    one = make(name, learn)
    learn.fit(2, 1e-2, callbacks=one)
    learn.fit(1, 1e-2, callbacks=one)
    assert len(learn.history) == 3
    assert len(learn.recorder.losses) == 3 * 4


def test_it_can_belong_to_the_learner(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.add_cb(*make(name, learn))
    learn.fit(2, 1e-2)
    learn.fit(1, 1e-2)
    assert len(learn.history) == 3


def test_a_fit_works_again_after_an_error_with_it(name: str, blobs: tuple[Tensor, ...]) -> None:
    class Boom(Callback):
        def after_backward(self, state: Any) -> None:
            raise ZeroDivisionError("boom")

    learn = learner(blobs)
    one = make(name, learn)
    with pytest.raises(ZeroDivisionError, match="boom") as caught:
        learn.fit(1, 1e-2, callbacks=[*one, Boom()])
    assert "in Boom.after_backward, epoch 0, batch 0" in caught.value.__notes__
    learn.fit(1, 1e-2, callbacks=one)
    assert len(learn.history) == 1


def test_nothing_of_it_runs_outside_a_fit(
    name: str, blobs: tuple[Tensor, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    learn = learner(blobs)
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


def test_it_leaves_the_callers_generator_alone(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    before = torch.get_rng_state()
    learn.fit(1, 1e-2, callbacks=make(name, learn))
    assert torch.equal(before, torch.get_rng_state())


def test_its_settings_do_not_leak_into_the_next_fit(name: str, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(1, 1e-2, callbacks=make(name, learn))
    learn.fit(1, 1e-3)
    assert learn.recorder.lrs[-4:] == [1e-3] * 4
    assert learn.recorder.moms[-4:] == [0.9] * 4
