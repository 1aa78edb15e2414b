"""Calling a model: another number of inputs than its forward takes is one sentence, not Python's."""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from learnkit.errors import UsageError
from learnkit.text import counted

__all__ = ["SEVERAL_INPUTS", "call_model", "input_error"]

SEVERAL_INPUTS = (
    "A model of several inputs predicts batches of a loader: learn.get_preds(loader). The last part of a batch is its "
    "targets, (inputs..., targets), or None without labels."
)


def call_model(model: nn.Module, inputs: Sequence[Any]) -> Any:
    """model(*inputs).

    Raises:
        UsageError: its forward takes another number of inputs.
    """
    try:
        return model(*inputs)
    except TypeError as error:
        named = input_error(model, inputs, SEVERAL_INPUTS)
        if named is None:
            raise  # of something inside
        raise named from error


def input_error(model: nn.Module, inputs: Sequence[Any], fix: str) -> UsageError | None:
    """The error of another number of inputs than the forward of a model takes; None if it takes as many."""
    taken = _parameters(model)
    if taken is None or _fits(taken, inputs):
        return None
    takes = f"{type(_plain(model)).__name__} takes the inputs {', '.join(taken.parameters)}"
    got, first = counted(len(inputs), "input"), inputs[0] if inputs else None
    if len(inputs) == 1 and isinstance(first, tuple | list):
        got += f", a {type(first).__name__} of {len(first)}"
    return UsageError(f"{takes}, and got {got}", fix=fix)


def _parameters(model: nn.Module) -> inspect.Signature | None:
    """What the forward of a model takes; None if Python cannot tell."""
    try:
        return inspect.signature(_plain(model).forward)
    except (TypeError, ValueError):
        return None


def _plain(model: nn.Module) -> nn.Module:
    inner = getattr(model, "_orig_mod", None) or (model.module if isinstance(model, nn.DataParallel) else None)
    return inner if isinstance(inner, nn.Module) else model


def _fits(taken: inspect.Signature, inputs: Sequence[Any]) -> bool:
    try:
        taken.bind(*inputs)
    except TypeError:
        return False
    return True
