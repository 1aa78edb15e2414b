"""Descriptions of a learner: its parts, and the outline of a fit."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer

from learnkit.callbacks.recorder import Recorder
from learnkit.data.bunch import DataBunch
from learnkit.learner.checks import check_epochs
from learnkit.metrics.metric import Metric
from learnkit.text import name_of
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.outline import Outline, outline
from learnkit.training.state import loader_length
from learnkit.types import Loss

__all__ = ["fit_outline", "learner_facts"]


class Described(Protocol):
    """The parts of a learner that a description reads."""

    dls: DataBunch
    model: nn.Module
    loss_func: Loss
    metrics: list[Metric]
    callbacks: list[Callback]
    groups: list[nn.Module]
    wd: float | None
    recorder: Recorder

    @property
    def seed(self) -> int: ...


def fit_outline(learn: Described, epochs: int, running: CallbackList, optimizer: Optimizer) -> Outline:
    """The outline of a fit with these epochs and callbacks.

    Raises:
        UsageError: epochs that the fit would refuse.
    """
    check_epochs(epochs)
    names = {
        "epochs": str(epochs),
        "batches": _counted(learn.dls.train_dl),
        "valid_batches": _counted(learn.dls.valid_dl),
        "model": name_of(learn.model),
        "loss": name_of(learn.loss_func),
        "optimizer": name_of(optimizer),
        "metrics": "".join(f", {metric.name}" for metric in learn.metrics),
    }
    return outline(running, names, validates=learn.dls.valid_dl is not None)


def learner_facts(learn: Described) -> dict[str, object]:
    """The parts of a learner, as text by name."""
    trained = sum(p.numel() for p in learn.model.parameters() if p.requires_grad)
    every = sum(p.numel() for p in learn.model.parameters())
    facts: dict[str, object] = {
        "model": f"{name_of(learn.model)}, {every:,} parameters, {trained:,} trained",
        "data": repr(learn.dls),
        "device": learn.dls.device,
        "loss": name_of(learn.loss_func),
        "metrics": ", ".join(metric.name for metric in learn.metrics) or "none",
        "callbacks": ", ".join(callback.label for callback in learn.callbacks) or "none",
        "layer groups": f"{len(learn.groups)}, trained: {_trained_groups(learn.groups)}",
        "weight decay": "that of opt_func" if learn.wd is None else learn.wd,
        "seed": learn.seed,
        "epochs trained": len(learn.recorder.rows),
    }
    if learn.recorder.rows:
        last = learn.recorder.rows[-1]
        units = {"time": " s"}
        shown = [f"{name} {value:.4g}{units.get(name, '')}" for name, value in last.items() if name != "epoch"]
        facts["last epoch"] = ", ".join(shown)
    return facts


def _trained_groups(groups: Sequence[nn.Module]) -> str:
    trained = [number for number, group in enumerate(groups) if any(p.requires_grad for p in group.parameters())]
    return "all" if len(trained) == len(groups) else ", ".join(f"number {number}" for number in trained) or "none"


def _counted(loader: Any) -> str:
    n = loader_length(loader)
    return "" if n is None else f"  # {n:,} batches"
