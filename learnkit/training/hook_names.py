"""Hooks by name: what a callback's methods must be called and take, and what other libraries call them."""

import difflib
import inspect
from collections.abc import Collection, Mapping
from functools import partialmethod
from typing import Any

from learnkit.errors import WrongTypeError

__all__ = ["check_hooks", "check_mixed_in", "hook_for"]

# The hook of learnkit for what fastai (1 and 2), Keras, Lightning and Transformers call theirs.
OTHERS: dict[str, tuple[str, ...]] = {
    "before_fit": ("on_train_begin", "on_train_start", "on_fit_begin", "on_fit_start", "begin_fit", "on_init_end"),
    "after_fit": (
        "on_train_end", "on_fit_end", "after_cancel_fit", "cleanup_fit", "on_exception", "on_keyboard_interrupt",
    ),
    "before_epoch": ("on_epoch_begin", "on_epoch_start", "on_train_epoch_start", "begin_epoch", "begin_train"),
    "after_epoch": (
        "on_epoch_end", "on_train_epoch_end", "training_epoch_end", "validation_epoch_end", "on_log", "on_evaluate",
    ),
    "before_batch": (
        "on_batch_begin", "on_batch_start", "on_train_batch_begin", "on_train_batch_start", "begin_batch",
        "on_step_begin",
    ),
    "after_pred": ("on_loss_begin", "training_step", "train_step"),
    "after_loss": ("on_backward_begin", "on_before_backward"),
    "after_backward": (
        "on_backward_end", "on_after_backward", "on_before_optimizer_step", "on_pre_optimizer_step",
        "on_before_zero_grad",
    ),
    "after_step": ("on_step_end", "on_optimizer_step", "optimizer_step", "training_step_end"),
    "after_batch": ("on_batch_end", "on_train_batch_end", "on_substep_end"),
    "before_validate": (
        "on_validation_start", "on_validation_begin", "on_validation_epoch_start", "on_test_begin", "on_test_start",
        "begin_validate",
    ),
    "after_validate_batch": (
        "on_validation_batch_end", "on_test_batch_end", "on_prediction_step", "validation_step", "test_step",
    ),
    "after_validate": ("on_validation_end", "on_validation_epoch_end", "on_test_end"),
    "state_dict": ("on_save_checkpoint", "on_save"),
    "load_state_dict": ("on_load_checkpoint", "on_load"),
}  # fmt: skip
OURS: dict[str, str] = {theirs: ours for ours, names in OTHERS.items() for theirs in names}
ELSEWHERE = {  # what a learner does, not a callback
    "configure_optimizers": "Pass opt_func= to the Learner.",
    "configure_callbacks": "Pass callbacks= to the Learner.",
    "train_dataloader": "Pass a DataBunch to the Learner.",
    "val_dataloader": "Pass a DataBunch to the Learner.",
}
MOMENTS = {"fit": "fit", "train": "fit", "epoch": "epoch", "batch": "batch", "step": "step", "backward": "backward"}
MOMENTS |= {"loss": "loss", "pred": "pred", "predict": "pred", "validate": "validate", "validation": "validate"}
BEFORE, AFTER = {"begin", "start", "before"}, {"end", "after", "cancel"}
# Moments that learnkit's loop has no hook for, and the nearest it has.
MISSING = {
    "before_step": "after_backward",
    "before_backward": "after_loss",
    "before_loss": "after_pred",
    "before_pred": "before_batch",
}


def hook_for(name: str) -> str:
    """The hook of learnkit for a hook of another library; "" for any other name.

    >>> hook_for("on_epoch_end"), hook_for("on_predict_batch_start"), hook_for("on_click")
    ('after_epoch', 'before_batch', '')
    """
    if name in OURS:
        return OURS[name]
    start, *words = name.split("_")
    is_before, is_after = start == "begin" or BEFORE & set(words), bool(AFTER & set(words))
    moments = [MOMENTS[word] for word in words if word in MOMENTS]
    if start not in ("on", "begin") or not moments or not (is_before or is_after):
        return ""
    hook = f"{'before' if is_before else 'after'}_{moments[-1]}"
    return MISSING.get(hook, hook)


def check_hooks(cls: type, hooks: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse a method whose name is nearly a hook's or another library's, and a hook that cannot take the state.

    Args:
        cls: the class of callbacks that is being defined; only its own names are looked at.
        hooks: the hooks by name.
        known: other names that a callback may define.

    Raises:
        WrongTypeError: naming the class, the method, and the hook that is meant.
    """
    for name, value in vars(cls).items():
        if name in hooks:
            _check_call(cls, name, value)
        elif not name.startswith("_") and name not in known:
            _check_foreign(cls, name, value)
            _check_misspelled(cls, name, hooks)


def check_mixed_in(cls: type, base: type, hooks: Mapping[str, Any]) -> None:
    """The same for what a class of callbacks gets from a base that is not a callback; a near miss is fine there."""
    for name, value in vars(base).items():
        if name in hooks:
            _check_call(cls, name, value)
        elif base.__module__ not in ("builtins", "typing", "abc"):
            _check_foreign(cls, name, value)


def _check_foreign(cls: type, name: str, value: Any) -> None:
    if not _is_method(value):
        return
    if name in ELSEWHERE:
        raise WrongTypeError(f"{cls.__name__}.{name} is not a hook of the training loop", fix=ELSEWHERE[name])
    if hook := hook_for(name):
        method = f"{hook}(self)" if hook == "state_dict" else f"{hook}(self, {_taken(hook)})"
        raise WrongTypeError(
            f"{cls.__name__}.{name} is a hook of another library, which this training loop never calls",
            fix=f"Define {method} instead.",
        )


def _check_misspelled(cls: type, name: str, hooks: Mapping[str, Any]) -> None:
    near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.85)
    if near or name.startswith(("before_", "after_")):
        same_moment = [hook for hook in hooks if hook.partition("_")[2] == name.partition("_")[2]]
        closest = [MISSING[name]] if name in MISSING else same_moment
        meant = [*closest, *near, *difflib.get_close_matches(name, hooks, n=1, cutoff=0.0)][0]
        raise WrongTypeError(f"{cls.__name__}.{name} is not a hook of the training loop; did you mean {meant!r}?")


def _check_call(cls: type, name: str, value: Any) -> None:
    """Refuse a hook that is not a method, does not run when it is called, or cannot be called with the state."""
    where, fix = f"{cls.__name__}.{name}", f"Define {name}(self, state)."
    if not _is_method(value):
        raise WrongTypeError(where, got=value, expected="a method", fix=fix)
    bound = value.__get__(object(), cls) if hasattr(value, "__get__") else value
    if inspect.iscoroutinefunction(bound) or inspect.isgeneratorfunction(bound):
        raise WrongTypeError(f"{where} never runs: it is a coroutine or a generator", fix=fix)
    try:
        signature = inspect.signature(bound)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise WrongTypeError(f"{where} cannot be called with the state ({error})", fix=fix) from None


def _is_method(value: Any) -> bool:
    return callable(value) or isinstance(value, staticmethod | classmethod | partialmethod)


def _taken(hook: str) -> str:
    return "saved" if hook == "load_state_dict" else "state"
