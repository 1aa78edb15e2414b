"""The cost of predictions: get_preds against a raw loop over the same loader, predict against a line by hand."""

import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.harness import Case, Result, compare, options, report, result
from learnkit import DataBunch, Learner

SEED = 0
SHAPES = {"resnet18": (3, 64, 64), "mlp": (784,), "mlp_100": (100,)}  # of one input
GOALS = {"get_preds": 1.03, "Predictor.predict": 1.10, "learn.predict": 1.3}


def mlp(n_in: int, n_out: int) -> nn.Module:
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Linear(n_in, 64), nn.ReLU(), nn.Linear(64, n_out))


def network(name: str) -> nn.Module:
    torch.manual_seed(SEED)
    return resnet18(num_classes=10) if name == "resnet18" else mlp(*SHAPES[name], 10)


def learner(name: str, n_items: int) -> Learner:
    x = torch.rand(n_items, *SHAPES[name], generator=torch.Generator().manual_seed(SEED))
    y = torch.arange(n_items) % 10
    dls = DataBunch.from_tensors(x, y, x, y, bs=64, device="cpu")
    return Learner(dls, network(name), seed=SEED)


def gathered_by_hand(learn: Learner) -> Case:
    """Outputs and targets in lists, put together at the end."""

    def run() -> float:
        learn.model.eval()
        preds, targets = [], []
        with torch.no_grad():
            for x, y in learn.dls.valid_dl:
                preds.append(learn.model(x).softmax(1))
                targets.append(y)
        return float(torch.cat(preds).sum() + torch.cat(targets).sum())

    return lambda: run


def gathered(learn: Learner) -> Case:
    def run() -> float:
        preds, targets = learn.get_preds()
        return float(preds.sum() + targets.sum())

    return lambda: run


def streamed(learn: Learner) -> Case:
    return lambda: lambda: float(sum(preds.sum() + targets.sum() for preds, targets in learn.predict_iter()))


def one_by_one(predict: Callable[[Tensor], tuple[str, Tensor, Tensor]], items: list[Tensor]) -> Case:
    def run() -> float:
        return float(sum(predict(item)[2].max() for item in items))

    return lambda: run


def predict_by_hand(learn: Learner) -> Callable[[Tensor], tuple[str, Tensor, Tensor]]:
    """Class name, number and probabilities: what `predict` returns."""
    model, classes = learn.model.eval(), learn.dls.classes

    def predict(item: Tensor) -> tuple[str, Tensor, Tensor]:
        with torch.inference_mode():
            probs = model(item[None]).softmax(1)[0]
            index = probs.argmax()
            return classes[int(index)], index, probs

    return predict


def line_by_hand(learn: Learner) -> Callable[[Tensor], tuple[str, Tensor, Tensor]]:
    """Probabilities alone: the minimum of a prediction."""
    model = learn.model.eval()
    nothing = torch.zeros(())

    def predict(item: Tensor) -> tuple[str, Tensor, Tensor]:
        with torch.inference_mode():
            return "", nothing, model(item[None]).softmax(1)[0]

    return predict


def memory_beyond_the_result(n_items: int) -> dict[str, float]:
    """MB of anonymous memory that get_preds needs beyond what it returns, gathered and into a file."""
    import tempfile

    import numpy as np

    x = torch.rand(n_items, 4)
    dls = DataBunch.from_tensors(x, torch.zeros(n_items, dtype=torch.int64), x, torch.arange(n_items) % 100, bs=512)
    learn = Learner(dls, mlp(4, 100), seed=SEED)
    learn.get_preds(n_batch=2)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "preds.npy"
        out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n_items, 100))
        for name, options, result in (("into a file", {"out": out}, 8 * n_items), ("gathered", {}, 408 * n_items)):
            gc.collect()
            before = anonymous_bytes()
            kept = learn.get_preds(**options)
            found[name] = (anonymous_bytes() - before - result) / 1e6
            del kept
    return found


def anonymous_bytes() -> int:
    """Memory of this process that is not backed by a file (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print four tables and the peaks of memory, and write the tables to results/."""
    quick = {"rounds": 1, "warm_up": 0, "images": 10, "rows": 128, "single": 2, "memory": 2000}
    args = options(
        __doc__, quick, arguments,
        rounds=11, warm_up=1, threads=1, images=256, rows=20_000, single=3000, memory=500_000,
    )  # fmt: skip
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    found = []
    for name, n_items, n_single in (
        ("resnet18", args.images, max(1, args.single // 50)),
        ("mlp", args.rows, args.single),
        ("mlp_100", args.rows, args.single),
    ):
        learn = learner(name, n_items)
        found += predicted_in_batches(learn, name, n_items, args.rounds, args.warm_up)
        found += predicted_one_by_one(learn, name, n_single, args.rounds, args.warm_up)
    for where, megabytes in memory_beyond_the_result(args.memory).items():
        print(f"memory beyond the result, {args.memory:,} x 100 float32, {where}: {megabytes:.1f} MB")
    return found


def predicted_in_batches(learn: Learner, name: str, n_items: int, rounds: int, warm_up: int) -> list[Result]:
    base, control = "raw loop", "raw loop (A/A control)"
    cases = {
        base: gathered_by_hand(learn),
        "get_preds": gathered(learn),
        "predict_iter": streamed(learn),
        control: gathered_by_hand(learn),
    }
    title = f"{name}: predicting {n_items:,} items in batches of 64"
    rows = compare(cases, rounds=rounds, warm_up=warm_up)
    report(title, rows, base, name=f"inference_{name}", unit="ms", scale=1e3)
    if name.startswith("mlp"):  # its batch takes no time: what is measured is the overhead, without a goal
        return []
    goal = GOALS["get_preds"]
    return [result(f"get_preds, {name} at 64 px", rows, base, "get_preds", control, unit="ms", scale=1e3, goal=goal)]


def predicted_one_by_one(learn: Learner, name: str, n: int, rounds: int, warm_up: int) -> list[Result]:
    items = [learn.dls.valid_ds[i % len(learn.dls.valid_ds)][0] for i in range(n)]
    base, control = "by hand", "by hand (A/A control)"
    ours = {"Predictor.predict": learn.predictor().predict, "learn.predict": learn.predict}
    cases = {
        base: one_by_one(predict_by_hand(learn), items),
        **{case: one_by_one(predict, items) for case, predict in ours.items()},
        "by hand, probabilities alone": one_by_one(line_by_hand(learn), items),
        control: one_by_one(predict_by_hand(learn), items),
    }
    rows = compare(cases, rounds=rounds, warm_up=warm_up)
    unit, scale = "µs", 1e6 / n
    report(f"{name}: one item at a time", rows, base, name=f"predict_{name}", unit=unit, scale=scale)
    if name != "mlp_100":
        return []
    return [
        result(
            f"{case}, one item of an MLP of 30 µs", rows, base, case, control, unit=unit, scale=scale, goal=GOALS[case]
        )
        for case in ours
    ]


if __name__ == "__main__":
    results()
