"""The outline of a fit against what the loop does."""

import re

import pytest
import torch
from torch import nn

from learnkit import Callback, DataBunch, Learner
from learnkit.callbacks import EarlyStopping, GradientClipping, MixUp, OneCycle, Progress, Recorder
from learnkit.errors import UsageError
from learnkit.training.callback import HOOKS
from tests.doubles import acting


def learner(valid: bool = True) -> Learner:
    x, y = torch.randn(12, 3), torch.arange(12) % 2
    dls = DataBunch.from_tensors(x, y, x, y, bs=4, classes=["a", "b"])
    if not valid:
        dls.valid_dl = None
    return Learner(dls, nn.Linear(3, 2), metrics="accuracy", seed=1)


class Watcher(Callback):
    """Records every hook it is called in."""

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


def test_hooks_are_listed_in_the_order_a_fit_calls_them() -> None:
    learn, watcher = learner(), Watcher()
    shown = hooks_of(learn.show_training(1, callbacks=watcher))
    learn.fit(1, 0.1, callbacks=watcher)
    first_calls = list(dict.fromkeys(watcher.seen))
    assert shown == first_calls
    assert set(shown) == set(HOOKS)


def test_callbacks_are_listed_in_the_order_they_run_in() -> None:
    text = learner().show_training(3, callbacks=[EarlyStopping(), OneCycle(), MixUp(), GradientClipping(1.0)])
    line = next(line for line in text.splitlines() if line.strip().startswith("before_batch"))
    assert line.split()[1:] == ["MixUp,", "OneCycle"]
    last = next(line for line in text.splitlines() if line.strip().startswith("after_epoch"))
    assert last.index("Recorder") < last.index("EarlyStopping") < last.index("Progress")
    assert "for epoch in range(3):" in text
    assert "# 3 batches" in text
    assert "AdamW.step()" in text


def test_hooks_without_a_callback_are_omitted() -> None:
    class Once(Callback):
        def after_step(self, state: object) -> None: ...

    own = {name for name in HOOKS for kind in (Recorder, Progress) if getattr(kind, name) is not HOOKS[name]}
    assert set(hooks_of(learner().show_training())) == own
    assert set(hooks_of(learner().show_training(callbacks=Once()))) == own | {"after_step"}


def test_without_validation_none_is_listed() -> None:
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


def test_the_order_is_that_of_the_loop() -> None:
    """The mode is set before `before_epoch`, so that a callback may set that of some layers there."""
    learn, seen = learner(), []
    learn.model.eval()
    learn.fit(1, callbacks=acting(before_epoch=lambda state: seen.append(state.model.training)))
    steps = [line.split()[0] for line in learn.show_training(1, callbacks=Watcher()).splitlines()]
    assert seen == [steps.index("model.train()") < steps.index("before_epoch")] == [True]


def test_the_indentation_is_that_of_the_loops() -> None:
    text = learner().show_training(2, callbacks=Watcher())
    of_step = {line.strip().split()[0]: (len(line) - len(line.lstrip())) // 4 for line in text.splitlines()}
    per_fit = {"before_fit": 0, "after_fit": 0}
    per_epoch = dict.fromkeys(["before_epoch", "before_validate", "after_validate", "after_epoch"], 1)
    per_batch = ["before_batch", "after_pred", "after_loss", "after_backward", "after_step", "after_batch"]
    expected = {**per_fit, **per_epoch, **dict.fromkeys([*per_batch, "after_validate_batch"], 2)}
    assert {name: of_step[name] for name in HOOKS} == expected
    assert of_step["model.train()"] == of_step["model.eval()"] == 1
    assert of_step["loss.backward()"] == of_step["AdamW.step(),"] == 2
    loops = [line for line in text.splitlines() if line.strip().startswith("for ")]
    assert [len(line) - len(line.lstrip()) for line in loops] == [0, 4, 4]
    assert [line.split(" in ")[1].split(":")[0] for line in loops] == ["range(2)", "train_dl", "valid_dl"]
