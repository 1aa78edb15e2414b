"""One training script for one process and for many: nothing in it says how many there are.

    python examples/scale/train.py pets --out runs/pets
    torchrun --nproc-per-node 8 examples/scale/train.py pets --out runs/pets

The same command starts a run or, after any interruption, goes on with it: give --out a folder that all machines see.
`bs` is the batch of all processes together, so results do not depend on their number.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from learnkit import Callback, ImageDataBunch, Learner, cnn_learner


def make_learner(data: str, out: Path, *, arch: str = "resnet18", size: int = 224, bs: int = 64) -> Learner:
    """A learner for the images in a folder (train/<class>/..., valid/<class>/...), or of a stream at a URL."""
    is_stream = "://" in data or (Path(data) / "train" / "index.json").exists()
    options: dict[str, Any] = {"size": size, "bs": bs, "seed": 42}
    made = ImageDataBunch.from_stream if is_stream else ImageDataBunch.from_folder
    dls = made(data, **options)
    return cnn_learner(dls, arch, pretrained=False, metrics="accuracy", path=out, seed=42)


def train(learn: Learner, out: Path, epochs: int, callbacks: list[Callback] | None = None) -> None:
    """Train, or go on where an earlier process stopped; the result is out/model.lk."""
    learn.fit_one_cycle(epochs, 1e-3, callbacks=callbacks or [], checkpoint_every="5min", resume="auto")
    learn.export(out / "model.lk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder of images, or what learnkit.pack wrote, also at a URL")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and the model, on storage that is shared")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--bs", type=int, default=64, help="of all processes together")
    args = parser.parse_args()
    learn = make_learner(args.data, args.out, arch=args.arch, size=args.size, bs=args.bs)
    train(learn, args.out, args.epochs)
    loss, accuracy = learn.validate()
    if os.environ.get("RANK", "0") == "0":
        print(f"done: valid_loss {loss:.6f}, accuracy {accuracy:.6f}")


if __name__ == "__main__":
    main()
