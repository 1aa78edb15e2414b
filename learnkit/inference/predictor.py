"""A predictor for serving: one item or a few in, answers out, from any number of threads."""

import copy
import os
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learnkit.checks import check_int
from learnkit.data.tasks import Task
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.inference.predictions import activated, raw_outputs
from learnkit.types import Activation

__all__ = ["Prediction", "Predictor", "predict_batch", "read_answers", "scaled"]


class Prediction(NamedTuple):
    """The prediction for one item.

    Attributes:
        label: as the task decodes it: a class, a list of classes, a number or numbers, a mask.
        index: the label as a tensor: the class number, what is above the threshold, the mask.
        probs: the activated outputs: one probability per class for a classification.
    """

    label: Any
    index: Tensor  # type: ignore[assignment]  # tuple.index, which nobody calls here
    probs: Tensor


def scaled(activation: Activation, temperature: float) -> Activation:
    """The activation of raw outputs divided by `temperature`."""
    return activation if temperature == 1 else partial(_at, temperature, activation)


def _at(temperature: float, activation: Activation, raw: Tensor) -> Tensor:
    return activation(raw / temperature)


def predict_batch(
    model: nn.Module, x: Tensor, compute: Compute, activation: Activation, task: Task
) -> list[Prediction]:
    """The predictions for a batch (N, ...), on the CPU; modes and gradients are the caller's."""
    return read_answers(activated(activation, raw_outputs(model, (x,), compute)).cpu(), task)


def read_answers(activated: Tensor, task: Task) -> list[Prediction]:
    """(label, index, activated outputs) of each row (N, ...), as `task` reads it."""
    return [Prediction(*task.decode(row), row) for row in activated.unbind()]


class Predictor:
    """Answers for single items, safe to share between threads.

    It owns a copy of the model, in eval mode and without gradients: what is trained later does not change it, and no
    call changes anything. Nothing but the call's own thread works on it.

    Args:
        model: copied, with its device.
        prepare: makes of an item a batch of one, (1, ...), as the model sees it, on its device.
        activate: of raw outputs (N, ...).
        task: what the outputs mean.
        bs: the most items of one forward pass.
    """

    def __init__(
        self, model: nn.Module, prepare: Callable[[Any], Tensor], activate: Activation, task: Task, *, bs: int = 64
    ) -> None:
        check_int("bs", bs, 1, expected="a whole number of items, 1 or more")
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.prepare = prepare
        self.activate = activate
        self.task = task
        self.bs = bs

    def predict(self, item: Any) -> Prediction:
        """(label, index, activated outputs) of one item: whatever `prepare` takes.

        Raises:
            ImageError: an image that cannot be read.
        """
        return self._answers(self.prepare(item))[0]

    def predict_batch(self, items: Iterable[Any]) -> list[Prediction]:
        """The same for several items, `bs` of them in one forward pass.

        Raises:
            ImageError: an image that cannot be read.
            UsageError: a single item, or items that are not of one shape.
        """
        if isinstance(items, str | bytes | os.PathLike) or not isinstance(items, Iterable):
            raise UsageError("items", got=type(items).__name__, expected="several, such as a list", fix="Use predict.")
        answers: list[Prediction] = []
        remaining = iter(items)
        while prepared := [self.prepare(item) for item in islice(remaining, self.bs)]:
            shapes = {tuple(x.shape[1:]) for x in prepared}
            if len(shapes) > 1:
                raise UsageError("items: of several shapes", got=sorted(shapes), expected="one", fix="Use predict.")
            answers += self._answers(torch.cat(prepared))
        return answers

    def _answers(self, x: Tensor) -> list[Prediction]:
        with torch.no_grad():  # inference mode would ask for a copy, so that the answers may be written to
            return read_answers(activated(self.activate, self.model(x)).cpu(), self.task)
