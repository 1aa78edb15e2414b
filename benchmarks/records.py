"""What a long run costs: a checkpoint, and the memory of a step, after ten thousand steps and after a million.

The record of the earlier steps is made through the hooks of the recorder, without their training.
"""

import gc
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.harness import Case, Result, compare, options, report, result
from benchmarks.inference import anonymous_bytes
from learnkit import DataBunch, Learner
from learnkit.callbacks import Callback
from learnkit.training.state import TrainState

FEW, MANY, CONTROL = "after few steps", "after many steps", "A/A control"
GOAL = 1.5  # of a checkpoint after a hundred times as many steps: linear in all, with room for noise
BYTES = 20.0  # a step


class Earlier(Callback):
    """Lets the recorder of a fit record `n` more batches when the fit begins."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.learn: Learner | None = None
        self.n_bytes = 0

    def before_fit(self, state: TrainState) -> None:
        assert self.learn is not None
        record, state.loss, state.loss_value = self.learn.recorder.after_batch, torch.ones(()), 1.0
        gc.collect()
        before = anonymous_bytes()
        for _ in range(self.n):
            record(state)
        self.n_bytes = anonymous_bytes() - before


def after(n_earlier: int, n_steps: int, every: int, folder: Path) -> Case:
    """Work that takes `n_steps` steps, with a checkpoint after every `every` of them."""

    def make() -> Callable[[], int]:
        learn = recorded(n_earlier, n_steps, folder)[0]

        def run() -> int:
            learn.fit(1, 1e-3, checkpoint_every=every)
            return len(learn.recorder.losses)

        return run

    return make


def recorded(n_earlier: int, n_steps: int, folder: Path) -> tuple[Learner, int]:
    """A learner that has recorded so many batches, and the bytes that the record takes."""
    x, y = torch.randn(n_steps, 2), torch.arange(n_steps) % 2
    dls = DataBunch.from_tensors(x, y, x[:2], y[:2], bs=1, device="cpu")
    learn = Learner(dls, nn.Linear(2, 2), opt_func="sgd", seed=0, path=folder)
    earlier = Earlier(n_earlier)
    earlier.learn = learn
    learn.fit(1, 1e-3, callbacks=earlier)
    return learn, earlier.n_bytes


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table and write it to results/."""
    quick = {"rounds": 1, "warm_up": 0, "few": 100, "many": 1000, "steps": 4, "every": 2}
    args = options(
        __doc__, quick, arguments, rounds=3, warm_up=1, few=10_000, many=1_000_000, steps=100, every=10, threads=1
    )
    torch.set_num_threads(args.threads)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        counts = {FEW: args.few, MANY: args.many, CONTROL: args.few}
        cases = {name: after(n, args.steps, args.every, folder / name) for name, n in counts.items()}
        rows = compare(cases, rounds=args.rounds, warm_up=args.warm_up)
        _, n_bytes = recorded(args.many, args.steps, folder / "memory")
    unit, scale = "ms", 1e3 * args.every / args.steps
    title = f"A checkpoint and the {args.every} steps before it, after {args.few:,} and {args.many:,} steps"
    report(f"{title}; the result is the number of losses", rows, FEW, name="records", unit=unit, scale=scale)
    return [
        result(f"a checkpoint after {args.many:,} steps", rows, FEW, MANY, CONTROL, unit=unit, scale=scale, goal=GOAL),
        Result(f"recording a step, memory ({args.many:,} steps)", n_bytes / args.many, "bytes", goal=BYTES),
    ]


if __name__ == "__main__":
    results()
