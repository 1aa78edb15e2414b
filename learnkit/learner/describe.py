"""A learner in words: what a fit of it will do, and what it is."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from learnkit.learner.checks import check_epochs
from learnkit.learner.trainer import Trainer
from learnkit.training.callback import CallbackList
from learnkit.training.outline import Outline, outline
from learnkit.training.state import loader_length

__all__ = ["called", "fit_outline", "learner_facts"]


def called(thing: Any) -> str:
    """What a module, a function or an object is called."""
    return str(getattr(thing, "__name__", type(thing).__name__))


def fit_outline(learn: Trainer, epochs: int, running: CallbackList, optimizer: Optimizer) -> Outline:
    """The loop that a fit of these epochs and callbacks runs.

    Raises:
        UsageError: a number of epochs that the fit would refuse.
    """
    check_epochs(epochs)
    names = {
        "epochs": str(epochs),
        "batches": _counted(learn.dls.train_dl),
        "valid_batches": _counted(learn.dls.valid_dl),
        "model": called(learn.model),
        "loss": called(learn.loss_func),
        "optimizer": called(optimizer),
        "metrics": "".join(f", {metric.name}" for metric in learn.metrics),
    }
    return outline(running, names, validates=learn.dls.valid_dl is not None)


def learner_facts(learn: Trainer) -> dict[str, object]:
    """What a learner is made of, as names and texts."""
    trained = sum(p.numel() for p in learn.model.parameters() if p.requires_grad)
    every = sum(p.numel() for p in learn.model.parameters())
    facts: dict[str, object] = {
        "model": f"{called(learn.model)}, {every:,} parameters, {trained:,} trained",
        "data": repr(learn.dls),
        "device": learn.dls.device,
        "loss": called(learn.loss_func),
        "metrics": ", ".join(metric.name for metric in learn.metrics) or "none",
        "callbacks": ", ".join(callback.label for callback in learn.callbacks) or "none",
        "layer groups": f"{len(learn.groups)}, trained: {_trained_groups(learn.groups)}",
        "weight decay": learn.wd,
        "seed": learn.seed,
        "epochs trained": len(learn.recorder.rows),
    }
    if learn.recorder.rows:
        last = learn.recorder.rows[-1]
        units = {"time": " s"}
        told = [f"{name} {value:.4g}{units.get(name, '')}" for name, value in last.items() if name != "epoch"]
        facts["last epoch"] = ", ".join(told)
    return facts


def _trained_groups(groups: Sequence[nn.Module]) -> str:
    trained = [number for number, group in enumerate(groups) if any(p.requires_grad for p in group.parameters())]
    return "all" if len(trained) == len(groups) else ", ".join(f"number {number}" for number in trained) or "none"


def _counted(loader: Any) -> str:
    n = loader_length(loader)
    return "" if n is None else f"  # {n:,} batches"
