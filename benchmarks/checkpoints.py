"""What checkpoints cost: resnet18 with AdamW, one every 50 steps, against a fit without, in turn: A B A B."""

import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Case, Result, compare, options, report, result
from learnkit import DataBunch, Learner
from learnkit.persistence.checkpoints import CheckpointWriter

WITHOUT, WITH, CONTROL = "without", "with", "without (A/A control)"
GOAL = 2.0  # percent of the time


def fitting(every: int | None, folder: Path, args: Namespace) -> Case:
    """Work that fits for one epoch, and returns the megabytes of a checkpoint."""
    from torchvision.models import resnet18

    def make() -> Callable[[], float]:
        torch.manual_seed(0)
        n = args.steps * args.bs
        x, y = torch.randn(n, 3, args.size, args.size), torch.arange(n) % 10
        dls = DataBunch.from_tensors(x, y, x[: args.bs], y[: args.bs], bs=args.bs, device=args.device)
        learn = Learner(dls, resnet18(num_classes=10), seed=0, path=folder)
        learn.fit(1, 1e-3, callbacks=[])  # warm: the optimizer's state is there, and its memory

        def run() -> float:
            learn.fit(1, 1e-3, checkpoint_every=every)
            return sum(os.path.getsize(file) for file in folder.rglob("last.ckpt")) / 1e6

        return run

    return make


@contextmanager
def timed_pauses() -> Iterator[list[float]]:
    """The seconds of every call by which a fit hands a checkpoint over to be written."""
    pauses: list[float] = []
    submit = CheckpointWriter.submit

    def timed(*given: Any) -> None:
        begin = time.perf_counter()
        submit(*given)
        pauses.append(time.perf_counter() - begin)

    CheckpointWriter.submit = timed  # type: ignore[method-assign]
    try:
        yield pauses
    finally:
        CheckpointWriter.submit = submit  # type: ignore[method-assign]


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table and the pauses, and write the table to results/."""
    quick = {"rounds": 1, "warm_up": 0, "steps": 5, "every": 4, "size": 32, "bs": 2}
    args = options(
        __doc__, quick, arguments, rounds=3, warm_up=0, steps=150, every=50, size=64, bs=16, threads=1, device="cpu"
    )
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    with tempfile.TemporaryDirectory() as temporary, timed_pauses() as pauses:
        every = {WITHOUT: None, WITH: args.every, CONTROL: None}
        cases = {name: fitting(n, Path(temporary) / name, args) for name, n in every.items()}
        rows = compare(cases, rounds=args.rounds, warm_up=args.warm_up)
    title = f"resnet18 at {args.size} px, batches of {args.bs}, {args.steps} steps, a checkpoint every {args.every}"
    report(f"{title}; the result is its size in MB", rows, WITHOUT, name="checkpoints", unit="s")
    per_fit, n_due = len(pauses) // (args.rounds + args.warm_up), args.steps // args.every
    fits = [pauses[i : i + n_due] for i in range(0, len(pauses), per_fit)]  # not those at the end of the epoch, the fit
    seconds = next(row for row in rows if row.name == WITH).wall
    shares = [sum(due) / whole for due, whole in zip(fits[args.warm_up :], seconds, strict=True)]
    share, first = 100 * statistics.median(shares), 1000 * statistics.median(due[0] for due in fits)
    print(f"the fit paused for {share:.2f} % of its time: {first:.0f} ms for the first")
    if later := [pause for due in fits for pause in due[1:]]:
        print(f"and {1000 * statistics.median(later):.0f} ms for each of the others")
    task = f"ResNet-18, a checkpoint every {args.every} steps"
    return [
        result(f"{task}: the whole fit", rows, WITHOUT, WITH, CONTROL, unit="s"),
        Result(f"{task}: the pauses", share, "% of the fit", GOAL),
    ]


if __name__ == "__main__":
    results()
