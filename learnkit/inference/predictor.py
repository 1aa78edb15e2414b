"""A predictor for serving: predictions for single items or small batches, from any number of threads."""

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

__all__ = ["Prediction", "Predictor", "decode_outputs", "predict_batch", "scaled"]


class Prediction(NamedTuple):
    """The prediction for one item.

    Attributes:
        label: what the task decodes it to: a class name, a list of names, numbers, a mask.
        index: the same as a tensor, in the form of targets.
        probs: the activated outputs, such as one probability per class.
    """

    label: Any
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    probs: Tensor


def scaled(activation: Activation, temperature: float) -> Activation:
    """The activation of raw outputs divided by `temperature`."""
    return activation if temperature == 1 else partial(_at, temperature, activation)


def _at(temperature: float, activation: Activation, raw: Tensor) -> Tensor:
    return activation(raw / temperature)


def decode_outputs(activated: Tensor, task: Task) -> list[Prediction]:
    """The prediction of each row of activated outputs (N, ...)."""
    return [Prediction(*task.decode(row), row) for row in activated.unbind()]


def predict_batch(
    model: nn.Module, x: Tensor, compute: Compute, activation: Activation, task: Task
) -> list[Prediction]:
    """The prediction of each item of a batch (N, ...), on the CPU; modes and gradients are the caller's."""
    return decode_outputs(activated(activation, raw_outputs(model, (x,), compute)).cpu(), task)


class Predictor:
    """Predictions for single items, safe to share between threads.

    It owns a copy of the model, in eval mode and without gradients: later training does not change it, and neither do
    calls. Each call runs in the thread of the caller.

    Args:
        model: copied, with its device.
        prepare: turns an item into a model input (1, ...) on the model's device.
        activate: the activation of raw outputs (N, ...).
        task: decodes the outputs.
        bs: maximum number of items per forward pass.
    """

    def __init__(
        self, model: nn.Module, prepare: Callable[[Any], Tensor], activate: Activation, task: Task, *, bs: int = 64
    ) -> None:
        check_int("bs", bs, 1)
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():
            if parameter.is_leaf:  # those of a copied ScriptModule are not
                parameter.requires_grad_(False)
        self.prepare = prepare
        self.activate = activate
        self.task = task
        self.bs = bs

    def predict(self, item: Any) -> Prediction:
        """(label, index, activated outputs) of one item, in any form `prepare` accepts.

        Raises:
            ImageError: an image that cannot be read.
        """
        return self._predict(self.prepare(item))[0]

    def predict_batch(self, items: Iterable[Any]) -> list[Prediction]:
        """The same for several items, `bs` of them in one forward pass.

        Raises:
            ImageError: an image that cannot be read.
            UsageError: a single item, or items of different shapes.
        """
        if isinstance(items, str | bytes | os.PathLike) or not isinstance(items, Iterable):
            raise UsageError(
                "items", got=type(items).__name__, expected="several items, such as a list", fix="Use predict."
            )
        predictions: list[Prediction] = []
        remaining = iter(items)
        while prepared := [self.prepare(item) for item in islice(remaining, self.bs)]:
            shapes = {tuple(x.shape[1:]) for x in prepared}
            if len(shapes) > 1:
                raise UsageError("items: shapes", got=sorted(shapes), expected="one shape", fix="Use predict.")
            predictions += self._predict(torch.cat(prepared))
        return predictions

    def _predict(self, x: Tensor) -> list[Prediction]:
        with torch.no_grad():  # inference mode would return tensors that cannot be modified in place
            return decode_outputs(activated(self.activate, self.model(x)).cpu(), self.task)
