"""A metric with given values, and a fit whose weights are the number of the epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from learnkit.callbacks import Callback, Recorder
from learnkit.training.callback import CallbackList
from learnkit.training.loop import fit
from learnkit.training.state import TrainState
from tests.doubles import acting


class Scripted:
    """A metric that returns these values, one per epoch, over and over."""

    def __init__(self, values: Sequence[float], higher_is_better: bool | None = False, name: str = "scripted") -> None:
        self.values, self.higher_is_better, self.name = list(values), higher_is_better, name
        self.n = -1

    def reset(self) -> None:
        self.n += 1

    def update(self, preds: Any, targets: Any) -> None: ...

    def compute(self) -> float:
        return self.values[self.n % len(self.values)]


def run(metric: Scripted, *callbacks: Callback, folder: Path | None = None) -> TrainState:
    """A fit of one epoch per value of the metric; the weights of each epoch are its number."""
    model = nn.Linear(2, 2)
    data = [(torch.ones(2, 2), torch.tensor([0, 1]))]
    state = TrainState(
        model=model,
        optimizer=torch.optim.SGD([{"params": list(model.parameters()), "layer_group": 0}], 1e-30),
        loss_func=nn.CrossEntropyLoss(),
        train_dl=data,
        valid_dl=data,
        metrics=[metric],
        n_epochs=len(metric.values),
        folder=folder or Path(),
    )
    number = acting(label="Number", before_epoch=lambda state: nn.init.constant_(model.weight, state.epoch))
    fit(state, CallbackList([Recorder(), number, *callbacks]))
    return state


def epoch_of(weights: Any) -> list[float]:
    """The epochs that weights of `run` are of."""
    return weights.round().unique().tolist()  # type: ignore[no-any-return]
