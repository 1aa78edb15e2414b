"""Fits on a stream that kill themselves: `python stream_to_kill.py STREAM images whole=0:0 broken=2:5,0:0`.

Each folder holds one fit, which is run by one process after the other: WORKERS:BATCHES, killed with SIGKILL after so
many batches, or not for 0. Of each fit, a hash of the weights, the optimizer's moments and the losses at its end is
printed. The processes are forked from one that has imported everything.
"""

import hashlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

os.environ["LITDATA_DISABLE_VERSION_CHECK"] = "1"

import litdata
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, ImageDataBunch, Learner

torch.set_num_threads(1)


class Kill(Callback):
    """SIGKILL after a number of batches of this process."""

    order = 99

    def __init__(self, at: int) -> None:
        self.left = at

    def after_batch(self, state: Any) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def state_dict(self) -> dict[str, Any]:
        return {}


def as_tensors(item: Any) -> tuple[Tensor, int]:
    """For a loader of litdata alone: one number per item."""
    return torch.frombuffer(bytearray(item[0]), dtype=torch.uint8)[-64:].float() / 255, len(item[2]) % 3


def fit(stream: str, loader: str, workers: int, kill_at: int) -> str:
    """Run or continue the fit of the working directory: the hash of its end."""
    torch.manual_seed(0)
    if loader == "images":
        dls: Any = ImageDataBunch.from_stream(stream, size=16, bs=4, num_workers=workers)
        body: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(392, 3)]
    else:
        dataset = litdata.StreamingDataset(f"{stream}/train", shuffle=True, transform=as_tensors)
        batches = litdata.StreamingDataLoader(dataset, batch_size=4, num_workers=workers)
        dls = DataBunch.from_loaders(batches, classes=["a", "b", "c"])
        body = [nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)]
    learn = Learner(dls, nn.Sequential(*body), seed=1, path=".")
    learn.fit(3, 1e-2, callbacks=[Kill(kill_at)], checkpoint_every=2, resume="auto")
    assert learn.opt is not None
    moments = [value for state in learn.opt.state_dict()["state"].values() for value in state.values()]
    parts = [*learn.model.state_dict().values(), *moments, torch.as_tensor(learn.recorder.losses)]
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()


def forked(folder: Path, stream: str, loader: str, workers: int, kill_at: int) -> int:
    """The exit code of a process that runs the fit in a folder."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status = 1
    try:
        os.chdir(folder)
        with open("log.txt", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        Path("outcome.txt").write_text(fit(stream, loader, workers, kill_at))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    stream, loader, *fits = sys.argv[1:]
    for name, runs in (one.split("=") for one in fits):
        folder = Path(name)
        folder.mkdir(exist_ok=True)
        for workers, kill_at in (map(int, run.split(":")) for run in runs.split(",")):
            status = forked(folder, stream, loader, workers, kill_at)
            expected = -signal.SIGKILL if kill_at else 0
            assert status == expected, f"{name}: exit status {status}\n{(folder / 'log.txt').read_text()}"
        print(name, (folder / "outcome.txt").read_text())


if __name__ == "__main__":
    main()
