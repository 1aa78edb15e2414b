"""Metrics of the training set, as columns of the record."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch

from learnkit.errors import UsageError, warn
from learnkit.metrics.metric import Metric, columns
from learnkit.metrics.shared import observe, results_of_all
from learnkit.training.callback import Callback
from learnkit.training.state import TrainState
from learnkit.tree import map_tensors

__all__ = ["TrainMetrics"]


class TrainMetrics(Callback):
    """Record the fit's metrics over the training batches of each epoch too, as columns train_NAME.

    They are of the outputs that the loss is computed from: with augmentation and dropout, while the weights change, so
    they differ from those of a validation on the training set. With MixUp or CutMix they compare the outputs of mixed
    images with the targets of the images they are mixed into.

    An object of another library has no state to save: in a fit that is resumed within an epoch, that epoch's number is
    nan.

    Raises:
        UsageError: at the start of a fit, a column of that name in the record.
    """

    def __init__(self) -> None:
        self._metrics: Sequence[Metric] = ()
        self._device: torch.device | None = None
        self._unknown: set[str] = set()  # names whose batches before a resume are lost

    def before_fit(self, state: TrainState) -> None:
        self._metrics = [copy.deepcopy(metric) for metric in state.metrics]
        self._device = state.compute.device
        names = [f"train_{name}" for metric in self._metrics for name in columns(metric)]
        for name in names:
            if name in state.record_names:
                raise UsageError("train_metrics", got=name, expected="a name that is not a column of the record")
        state.columns.update(dict.fromkeys(names, math.nan))

    def before_epoch(self, state: TrainState) -> None:
        self._unknown = set()
        for metric in self._metrics:
            metric.reset()

    def after_loss(self, state: TrainState) -> None:
        preds = state.prediction
        for metric in self._metrics:
            observe(metric, preds, state.targets, 1 if state.share is None else state.share.n)

    def after_epoch(self, state: TrainState) -> None:
        for metric in self._metrics:
            found = results_of_all(metric)
            if metric.name in self._unknown:
                found = dict.fromkeys(found, math.nan)
            state.columns.update({f"train_{name}": value for name, value in found.items()})

    def after_fit(self, state: TrainState) -> None:
        self._metrics = ()

    def state_dict(self) -> dict[str, Any]:
        """What each metric has kept of the batches of this epoch."""
        kept = {metric.name: metric.state_dict() for metric in self._metrics if hasattr(metric, "state_dict")}
        return {"kept": kept}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        kept = map_tensors(lambda tensor: tensor.to(self._device), saved["kept"])
        for metric in self._metrics:
            if metric.name in kept and hasattr(metric, "load_state_dict"):
                metric.load_state_dict(kept[metric.name])
            else:
                self._unknown.add(metric.name)
                warn(f"train_{metric.name} of the resumed epoch is nan: the metric has no state_dict to save")
