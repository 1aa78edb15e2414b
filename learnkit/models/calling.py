"""Calling a model: inputs that it does not take, by their number, shape or type, are one sentence, not torch's."""

import inspect
from collections.abc import Sequence
from typing import Any, NoReturn

from torch import nn

from learnkit.errors import LearnkitError, UsageError
from learnkit.models.misfit import kinds_of, misfit
from learnkit.text import counted

__all__ = ["SEVERAL_INPUTS", "call_model", "raise_explained"]

SEVERAL_INPUTS = (
    "A model of several inputs predicts batches of a loader: learn.get_preds(loader). The last part of a batch is its "
    "targets, (inputs..., targets), or None without labels."
)
PARTS_OF_A_BATCH = (
    "Make a batch (inputs..., targets), each input a part of its own: a tuple or a list within it is one input."
)


def call_model(model: nn.Module, inputs: Sequence[Any], batch: tuple[int, str] | None = None) -> Any:
    """model(*inputs).

    Args:
        model: the network.
        inputs: of a batch.
        batch: as of `raise_explained`.

    Raises:
        UsageError: as `raise_explained`.
    """
    try:
        return model(*inputs)
    except Exception as error:
        raise_explained(error, model, inputs, batch)


def raise_explained(
    error: Exception, model: nn.Module, inputs: Sequence[Any], batch: tuple[int, str] | None = None
) -> NoReturn:
    """Raise what a model failed with, while that is handled: what it does not take is said in one sentence.

    Args:
        error: what the model raised.
        model: the network.
        inputs: what it was called with.
        batch: the number of the batch, and the loader that it is of, for errors; "" for one that has no name.

    Raises:
        UsageError: its forward takes another number of inputs, or a layer inputs of another shape or type. Other errors
            are the model's, with a note of what it was called with.
    """
    which = "" if batch is None else f"batch {batch[0]}{batch[1] and f' of the {batch[1]} loader'}"
    fix = SEVERAL_INPUTS if batch is None else PARTS_OF_A_BATCH
    found = None if isinstance(error, LearnkitError) else _refused(error, model, inputs, fix)
    try:
        if found is not None:
            raise (found.prefixed(which) if which else found) from error
        if not isinstance(error, LearnkitError):
            error.add_note(f"The model's input{which and f', {which}'}: {kinds_of(inputs)}.")
        raise error
    finally:
        del found, error  # their tracebacks hold this frame: a cycle would keep the model alive


def _refused(error: Exception, model: nn.Module, inputs: Sequence[Any], fix: str) -> UsageError | None:
    """The error for inputs that the model does not take; None for one of the model itself."""
    taken = _parameters(model) if isinstance(error, TypeError) else None
    if taken is None or _fits(taken, inputs):
        return misfit(error, _plain(model), inputs)
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
