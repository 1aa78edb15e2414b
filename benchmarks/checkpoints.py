"""What checkpoints cost: resnet18 with AdamW, one every 50 steps, against a fit without, in turn: A B A B."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.harness import Result, options
from learnkit import DataBunch, Learner
from learnkit.persistence.checkpoints import CheckpointWriter

GOAL = 2.0  # percent of the time


def timed_fit(every: int | None, args: argparse.Namespace) -> tuple[float, list[float], float]:
    """Seconds of a fit; those it paused for each checkpoint; and megabytes per checkpoint."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    n = args.steps * args.bs
    x, y = torch.randn(n, 3, args.size, args.size), torch.arange(n) % 10
    dls = DataBunch.from_tensors(x, y, x[: args.bs], y[: args.bs], bs=args.bs, device=args.device)
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        learn = Learner(dls, resnet18(num_classes=10), seed=0, path=folder)
        learn.fit(1, 1e-3, callbacks=[])  # warm: the optimizer's state is there, and its memory
        kept = CheckpointWriter.submit, CheckpointWriter.finish
        CheckpointWriter.submit = _timed(kept[0], waits)  # type: ignore[method-assign]
        begin = time.perf_counter()
        learn.fit(1, 1e-3, checkpoint_every=every)
        seconds = time.perf_counter() - begin
        CheckpointWriter.submit, CheckpointWriter.finish = kept  # type: ignore[method-assign]
        files = [os.path.getsize(file) for file in learn.path.rglob("last.ckpt")]
    return seconds, waits, sum(files) / 1e6


def _timed(submit: Callable[..., None], waits: list[float]) -> Callable[..., None]:
    def timed(*given: Any) -> None:
        begin = time.perf_counter()
        submit(*given)
        waits.append(time.perf_counter() - begin)

    return timed


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print what was found."""
    quick = {"rounds": 1, "steps": 5, "every": 4, "size": 32, "bs": 2}
    args = options(__doc__, quick, arguments, rounds=3, steps=150, every=50, size=64, bs=16, threads=1, device="cpu")
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    plain, kept, ratios, controls, shares, first, later = [], [], [], [], [], [], []
    for _ in range(args.rounds):
        seconds, _, _ = timed_fit(None, args)
        plain.append(seconds)
        seconds, waits, size = timed_fit(args.every, args)
        kept.append(seconds)
        ratios.append(kept[-1] / plain[-1])
        seconds, _, _ = timed_fit(None, args)
        controls.append(seconds / plain[-1])
        due = waits[: args.steps // args.every]  # not those at the end of the epoch and of the fit
        shares.append(sum(due) / kept[-1])
        first.append(due[0])
        later += due[1:]
    median = statistics.median
    print(
        f"resnet18 at {args.size} px, batches of {args.bs}, {args.threads} threads, {args.device}, {args.steps} steps"
    )
    print(f"a checkpoint of {size:.0f} MB every {args.every} steps: {len(due)} per fit")
    print(f"without {median(plain):.2f} s, with {median(kept):.2f} s, ratio round by round {median(ratios):.3f}")
    print(f"the fit paused for {100 * median(shares):.2f} % of its time: {1000 * median(first):.0f} ms for the first")
    if later:
        print(f"and {1000 * median(later):.0f} ms for each of the others")
    task = f"ResNet-18, a checkpoint every {args.every} steps"
    base, control = median(plain), median(controls)
    return [
        Result(f"{task}: the whole fit", median(kept), "s", None, "without", base, median(ratios), None, control),
        Result(f"{task}: the pauses", 100 * median(shares), "% of the fit", GOAL),
    ]


if __name__ == "__main__":
    results()
