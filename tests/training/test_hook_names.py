"""Hooks by name: those of other libraries are refused with ours, and so is a hook that cannot be called."""

from abc import ABC
from functools import partialmethod
from typing import Any

import pytest
from torch import nn

from learnkit import Callback, LearnkitError
from learnkit.training.callback import HOOKS
from learnkit.training.hook_names import ELSEWHERE, OURS, hook_for
from tests.doubles import Blobs, linear_learner


def define(name: str, value: Any) -> type[Callback]:
    return type("Mine", (Callback,), {name: value})


FASTAI = {
    "on_train_begin": "before_fit", "on_train_end": "after_fit", "on_epoch_begin": "before_epoch",
    "on_epoch_end": "after_epoch", "on_batch_begin": "before_batch", "on_batch_end": "after_batch",
    "on_loss_begin": "after_pred", "on_backward_begin": "after_loss", "on_backward_end": "after_backward",
    "on_step_end": "after_step", "begin_fit": "before_fit", "begin_epoch": "before_epoch",
    "begin_batch": "before_batch",
    "begin_validate": "before_validate", "after_cancel_fit": "after_fit", "after_cancel_batch": "after_batch",
    "after_cancel_epoch": "after_epoch", "before_train": "before_fit", "after_train": "after_fit",
    "before_backward": "after_loss", "before_step": "after_backward",
}  # fmt: skip
KERAS = {
    "on_train_batch_begin": "before_batch", "on_train_batch_end": "after_batch", "on_test_begin": "before_validate",
    "on_test_end": "after_validate", "on_test_batch_end": "after_validate_batch",
    "on_predict_batch_begin": "before_batch",
}  # fmt: skip
LIGHTNING = {
    "on_fit_start": "before_fit", "on_train_start": "before_fit", "on_fit_end": "after_fit",
    "on_train_epoch_start": "before_epoch", "on_train_epoch_end": "after_epoch",
    "on_train_batch_start": "before_batch", "on_before_backward": "after_loss", "on_after_backward": "after_backward",
    "on_before_optimizer_step": "after_backward", "on_validation_start": "before_validate",
    "on_validation_batch_end": "after_validate_batch", "on_validation_epoch_end": "after_validate",
    "on_validation_end": "after_validate", "on_exception": "after_fit", "training_step": "after_pred",
    "validation_step": "after_validate_batch", "optimizer_step": "after_step",
    "on_save_checkpoint": "state_dict", "on_load_checkpoint": "load_state_dict",
}  # fmt: skip


@pytest.mark.parametrize(("name", "ours"), {**FASTAI, **KERAS, **LIGHTNING}.items())
def test_a_hook_of_another_library_is_a_type_error_that_names_ours(name: str, ours: str) -> None:
    for function in (lambda self, *args, **more: None, staticmethod(lambda **more: None)):
        with pytest.raises(TypeError, match=rf"Mine\.{name} .*\b{ours}\b") as caught:
            define(name, function)
        assert isinstance(caught.value, LearnkitError)


def test_what_is_named_instead_is_a_hook_that_can_be_defined() -> None:
    for ours in {*OURS.values(), *map(hook_for, OURS)}:
        assert ours in HOOKS or hasattr(Callback, ours)
        define(ours, lambda self, state=None: None)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_a_learner_does_is_no_hook(name: str) -> None:
    with pytest.raises(TypeError, match=r"is not a hook of the training loop\. Pass "):
        define(name, lambda self: None)


FINE = [
    "setup", "teardown", "reset", "update", "plot", "step", "begin", "end", "on_click", "on_start", "log", "epoch_end",
    "forward", "beginning_of_text", "onset", "begin_value", "train", "fit_line", "batch_size_of", "monitor", "on_epoch",
]  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_ordinary_methods_are_allowed(name: str) -> None:
    assert getattr(define(name, lambda self: 3)(), name)() == 3


@pytest.mark.parametrize("name", ["begin_epoch", "on_epoch_end", "training_step", "epochs"])
def test_ordinary_settings_are_allowed(name: str) -> None:
    assert getattr(define(name, 5)(), name) == 5


def test_a_hook_from_a_base_class_that_is_no_callback_is_checked_too() -> None:
    class Mixin:
        def on_epoch_end(self) -> None: ...

    class NoState:
        def after_epoch(self) -> None: ...

    for base, words in ((Mixin, "on_epoch_end .* after_epoch"), (NoState, "after_epoch cannot be called")):
        with pytest.raises(TypeError, match=words):
            type("Mine", (Callback, base), {})


def test_other_base_classes_are_allowed() -> None:
    class Module(Callback, nn.Module): ...

    class Abstract(Callback, ABC): ...

    class Further(Abstract): ...

    assert [cls.__name__ for cls in (Module, Abstract, Further)] == ["Module", "Abstract", "Further"]


async def never_runs(self: Any, state: Any) -> None: ...


def yields(self: Any, state: Any) -> Any:
    yield


CANNOT_BE_CALLED: dict[str, Any] = {
    "no state": lambda self: None,
    "only keywords": lambda self, **more: None,
    "a keyword": lambda self, *, state: None,
    "too many": lambda self, state, epoch: None,
    "static, none": staticmethod(lambda: None),
    "static, two": staticmethod(lambda self, state: None),
    "None": None,
    "a number": 3,
    "a coroutine": never_runs,
    "a generator": yields,
}


@pytest.mark.parametrize("hook", ["before_fit", "after_epoch", "after_validate_batch"])
@pytest.mark.parametrize("kind", CANNOT_BE_CALLED)
def test_a_hook_that_cannot_run_is_refused_when_the_class_is_made(kind: str, hook: str) -> None:
    with pytest.raises(TypeError, match=rf"Mine\.{hook}.*Define {hook}\(self, state\)\.") as caught:
        define(hook, CANNOT_BE_CALLED[kind])
    assert isinstance(caught.value, LearnkitError)


CAN_BE_CALLED: dict[str, Any] = {  # each made of what it calls
    "state": lambda see: lambda self, state: see(state),
    "another name": lambda see: lambda me, s: see(s),
    "a default": lambda see: lambda self, state, verbose=False: see(state),
    "any": lambda see: lambda *args: see(args[-1]),
    "static": lambda see: staticmethod(lambda state: see(state)),
    "of the class": lambda see: classmethod(lambda cls, state: see(state)),
    "partial": lambda see: partialmethod(lambda self, n, state: see(state), 3),
}


@pytest.mark.parametrize("kind", CAN_BE_CALLED)
def test_a_hook_that_can_run_is_called(kind: str, blobs: Blobs) -> None:
    epochs: list[int] = []
    hook = CAN_BE_CALLED[kind](lambda state: epochs.append(state.epoch))
    linear_learner(blobs).fit(2, callbacks=define("after_epoch", hook)())
    assert epochs == [0, 1]


def test_a_hook_that_is_set_on_the_object_is_called(blobs: Blobs) -> None:
    seen: list[int] = []
    callback = Callback()
    callback.after_epoch = lambda state: seen.append(state.epoch)  # type: ignore[method-assign]
    linear_learner(blobs).fit(2, callbacks=callback)
    assert seen == [0, 1]
