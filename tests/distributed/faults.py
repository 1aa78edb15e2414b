"""A fit for faults of several processes: `python tests/distributed/faults.py OUT WHAT`, by a launcher.

WHAT: "nothing", "error RANK STEP", "hang RANK STEP", "kill RANK STEP" (once, and it comes back late), "signal NUMBER
RANK STEP", "slow".
OUT is a folder: the first process writes weights.pt there when the fit is done, each its steps to steps-RANK.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner, TrainState
from learnkit.distributed import world
from learnkit.training.callback import Order


class Fault(Callback):
    """What goes wrong, in one process, after a step."""

    order = Order.REPORT

    def __init__(self, out: Path, what: str, numbers: list[int]) -> None:
        self.out, self.what, self.numbers = out, what, numbers

    def state_dict(self) -> dict[str, Any]:
        return {}

    def after_step(self, state: TrainState) -> None:
        (self.out / f"steps-{world.rank}").write_text(str(state.step))
        if self.what == "slow":
            time.sleep(0.05)
        if self.what == "nothing" or self.what == "slow" or [world.rank, state.step] != self.numbers[-2:]:
            return
        if self.what == "error":
            raise OSError("the disk of process 1 is gone")
        if self.what == "hang":
            time.sleep(60)
        if self.what == "signal":
            os.kill(os.getpid(), self.numbers[0])
        once = self.out / "killed"
        if self.what == "kill" and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def blobs() -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.randn(60, 3, generator=random, dtype=torch.float64) + y[:, None]
    return [x[:48], y[:48], x[48:], y[48:]]


def main() -> None:
    torch.set_num_threads(1)
    out, what = Path(sys.argv[1]), sys.argv[2].split()
    if what[0] == "kill" and (out / "killed").exists() and os.environ["RANK"] == what[1]:
        time.sleep(5)  # the others are there first, and may find what was left of it
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2)).double()
    learn = Learner(DataBunch.from_tensors(*blobs(), bs=8), model, seed=1, path=out, metrics="accuracy")
    epochs = 40 if what[0] == "slow" else 3
    learn.fit(epochs, 0.05, checkpoint_every=2, resume="auto", callbacks=Fault(out, what[0], [*map(int, what[1:])]))
    if world.is_first:
        torch.save({name: tensor.clone() for name, tensor in model.state_dict().items()}, out / "weights.pt")


if __name__ == "__main__":
    main()
