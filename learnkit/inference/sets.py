"""Answers as sets: every label that fits an item, with a stated coverage, and whether the item is a familiar one."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from learnkit.certainty.conformal import Intervals
from learnkit.certainty.fitted import FittedCertainty
from learnkit.certainty.outputs import RawAndFeatures, in_rows
from learnkit.device import Compute
from learnkit.errors import UsageError
from learnkit.inference.predictions import activated, raw_outputs
from learnkit.tree import map_tensors
from learnkit.types import Activation

__all__ = ["PredictionSet", "SetAnswers", "not_fitted"]


class PredictionSet(NamedTuple):
    """The answer for one item, with how sure it is.

    Attributes:
        labels: names of classes, the most probable first; for numbers an interval (low, high) of each, as tuples.
            Together these hold the truth with the coverage that was fitted. Empty where no class fits well enough.
        is_familiar: whether the item is like those of the data; False for "none of these", None if nothing tells.
        score: how familiar it is: 0 or more for a familiar item, in standard deviations of the validation set; nan if
            nothing tells.
        probs: the activated outputs, such as one probability per class, as of `predict`.
    """

    labels: list[Any]
    is_familiar: bool | None
    score: float
    probs: Tensor


class SetAnswers:
    """Answers for batches of inputs, from raw outputs and features of one pass, in any number of threads.

    Args:
        model: the network; modes and gradients are the caller's. It has a hook until `close`.
        compute: the device and precision.
        activation: of the raw outputs of the prediction.
        output: picks that one of the model's outputs; None for a model of one.
        fitted: what was fitted.
        names: of the classes; empty for numbers.
    """

    def __init__(
        self,
        model: nn.Module,
        compute: Compute,
        activation: Activation,
        output: Callable[[Any], Any] | None,
        fitted: FittedCertainty,
        names: Sequence[str],
    ) -> None:
        self._both = RawAndFeatures(model, fitted.layer, output)
        self._compute, self._activation = compute, activation
        self._fitted, self._names = fitted, names

    def __call__(self, x: Tensor) -> list[PredictionSet]:
        """The answer for each item of a batch (N, ...)."""
        raw, features = raw_outputs(self._both, (x,), self._compute)
        preds = in_rows(activated(self._activation, raw)).detach().cpu()
        familiar, scores = self._fitted.familiarity, [float("nan")] * len(preds)
        if familiar is not None:
            scores = familiar.scores(*map_tensors(Tensor.cpu, (raw, features))).tolist()
        return [
            PredictionSet(labels, None if math.isnan(score) else score >= 0, score, probs)
            for labels, score, probs in zip(self._labels(preds), scores, preds.unbind(), strict=True)
        ]

    def close(self) -> None:
        """Leave the model as it was."""
        self._both.close()

    def _labels(self, activated: Tensor) -> list[list[Any]]:
        sets = self._fitted.conformal
        if isinstance(sets, Intervals):
            return [[(low, high) for low, high in row] for row in sets.bounds(activated).tolist()]
        orders = activated.argsort(dim=1, descending=True, stable=True).tolist()
        rows = zip(sets.members(activated).tolist(), orders, strict=True)
        return [[self._names[c] for c in order if is_in[c]] for is_in, order in rows]


def not_fitted(what: str) -> UsageError:
    """The error for answers with a coverage that nothing was fitted for."""
    return UsageError(
        f"{what}: nothing says yet how sure this learner is",
        fix="Call learn.fit_conformal() first: it takes items with labels that the model was not trained on.",
    )
