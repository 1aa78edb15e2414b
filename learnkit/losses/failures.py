"""What a loss refuses, said with what it was given."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from learnkit.device_memory import is_out_of_memory
from learnkit.errors import DataError, LearnkitError, UsageError
from learnkit.losses.outputs import names_of, takes_one_output
from learnkit.text import name_of
from learnkit.types import Loss

__all__ = ["check_rows", "loss_explained"]


def check_rows(targets: Any) -> None:
    """Refuse the target of one item, a tensor of shape (), where those of a batch are expected.

    Raises:
        DataError: such a target.
    """
    if isinstance(targets, Tensor) and not targets.ndim:
        raise DataError(
            "targets, the last element of a batch", got="a single number", expected="one per item",
            fix="Items of a dataset are made batches by DataLoader(dataset, 64).",
        )  # fmt: skip


@contextmanager
def loss_explained(loss_func: Loss, preds: Any, targets: Any) -> Iterator[None]:
    """Compute a loss inside; an error names the outputs and targets that it got.

    Raises:
        UsageError: what a loss of torch or learnkit refuses. An error of a user's own loss is raised as it is, with a
            note.
    """
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
        if isinstance(error, LearnkitError) or is_out_of_memory(error):
            raise
        name, got = name_of(loss_func), f"outputs {_kind(preds)}, targets {_kind(targets)}"
        if not takes_one_output(loss_func):  # a user's own loss fails at its own line
            error.add_note(f"{name} got {got}")
            raise
        fix = f"Make the targets as {name} takes them, in shape, type and range."
        weight = getattr(loss_func, "weight", None)
        if isinstance(weight, Tensor) and isinstance(preds, Tensor) and weight.dtype != preds.dtype:
            fix = f"Its weights are of another type than the outputs: pass weight=weight.to({preds.dtype})."
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise UsageError(f"{name}: {reason}", got=got, fix=fix) from error


def _kind(tree: Any) -> str:
    """The shape and type of a tensor, the kind of anything else."""
    return f"{tuple(tree.shape)} {tree.dtype}" if isinstance(tree, Tensor) else names_of(tree)
