"""The cost of predictions: get_preds against a raw loop over the same loader, predict against a line by hand."""

import argparse
import gc
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks.harness import Case, compare, report
from learnkit import DataBunch, Learner

SEED = 0
SHAPES = {"resnet18": (3, 64, 64), "mlp": (784,), "mlp_100": (100,)}  # of one input


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    for name, n_items, n_single in (("resnet18", 256, 60), ("mlp", 20_000, 3000), ("mlp_100", 20_000, 3000)):
        learn = learner(name, n_items)
        base = "raw loop"
        cases = {
            base: gathered_by_hand(learn),
            "get_preds": gathered(learn),
            "predict_iter": streamed(learn),
            f"{base} (A/A control)": gathered_by_hand(learn),
        }
        title = f"{name}: predicting {n_items:,} items in batches of 64, {args.threads} threads"
        report(title, compare(cases, rounds=args.rounds), base, name=f"inference_{name}", unit="ms", scale=1e3)
        items = [learn.dls.valid_ds[i % n_items][0] for i in range(n_single)]
        base = "by hand"
        cases = {
            base: one_by_one(predict_by_hand(learn), items),
            "Predictor.predict": one_by_one(learn.predictor().predict, items),
            "learn.predict": one_by_one(learn.predict, items),
            "by hand, probabilities alone": one_by_one(line_by_hand(learn), items),
            f"{base} (A/A control)": one_by_one(predict_by_hand(learn), items),
        }
        title = f"{name}: one item at a time, {args.threads} threads"
        rows = compare(cases, rounds=args.rounds)
        report(title, rows, base, name=f"predict_{name}", unit="µs", scale=1e6 / n_single)
    for where, megabytes in memory_beyond_the_result(500_000).items():
        print(f"memory beyond the result, 500,000 x 100 float32 (200 MB), {where}: {megabytes:.1f} MB")


if __name__ == "__main__":
    main()
