"""The outline of a fit tells what the loop really does."""

import re

import pytest
import torch
from torch import nn

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import EarlyStopping, GradientClipping, MixUp, OneCycle
from learnkit.errors import UsageError
from learnkit.training.callback import HOOKS


def learner(valid: bool = True) -> Learner:
    x, y = torch.randn(12, 3), torch.arange(12) % 2
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, classes=["a", "b"])
    if not valid:
        dls.valid_dl = None
    return Learner(dls, nn.Linear(3, 2), metrics="accuracy", seed=1)


class Watcher(Callback):
    """Writes down every hook it is called in."""

    def __init__(self) -> None:
        self.seen: list[str] = []


def _noting(name: str) -> object:
    def hook(self: Watcher, state: object) -> None:
        self.seen.append(name)

    return hook


for _name in HOOKS:
    setattr(Watcher, _name, _noting(_name))


def hooks_of(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if re.match(r"\s*(before|after)_", line)]


def test_the_hooks_stand_in_the_order_in_which_a_fit_calls_them() -> None:
    learn, watcher = learner(), Watcher()
    told = hooks_of(learn.show_training(1, callbacks=watcher))
    learn.fit(1, 0.1, callbacks=watcher)
    first_calls = list(dict.fromkeys(watcher.seen))
    assert told == first_calls
    assert set(told) == set(HOOKS)


def test_callbacks_stand_in_the_order_they_run_in() -> None:
    text = learner().show_training(3, callbacks=[EarlyStopping(), OneCycle(), MixUp(), GradientClipping(1.0)])
    line = next(line for line in text.splitlines() if line.strip().startswith("before_batch"))
    assert line.split()[1:] == ["MixUp,", "OneCycle"]
    last = next(line for line in text.splitlines() if line.strip().startswith("after_epoch"))
    assert last.index("Recorder") < last.index("EarlyStopping") < last.index("Progress")
    assert "for epoch in range(3):" in text
    assert "# 3 batches" in text
    assert "AdamW.step()" in text


def test_without_validation_there_is_none_in_it() -> None:
    assert "valid" not in learner(valid=False).show_training()


@pytest.mark.parametrize("epochs", [-1, "5", 1.5])
def test_epochs_that_a_fit_refuses_are_refused(epochs: object) -> None:
    with pytest.raises(UsageError, match="epochs: got"):
        learner().show_training(epochs)  # type: ignore[arg-type]


def test_it_shows_as_text_in_a_console() -> None:
    text = learner().show_training()
    assert repr(text) == str(text)
    assert "\n" in repr(text)


def test_showing_changes_nothing() -> None:
    learn = learner()
    before = torch.get_rng_state()
    learn.show_training(2, callbacks=OneCycle())
    assert torch.equal(before, torch.get_rng_state())
    assert not learn.recorder.rows
    assert learn.epoch == 0
