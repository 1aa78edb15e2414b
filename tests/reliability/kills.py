"""Fits that are killed at random and resumed: `python tests/reliability/kills.py --trials 4`.

Each run is a separate process, forked from one that has imported torch. It kills itself with SIGKILL, at a random hook
or a random step of writing a file, or is killed from outside at a random time; the next one resumes with resume="auto".
Weights, the optimizer's moments, history, rates, the best weights on disk and the CSV file must be bit-identical to
those of an uninterrupted fit.
"""

import argparse
import csv
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable as Run
from pathlib import Path
from typing import Any

import torch
from fits_to_kill import CONFIGURATIONS, EPOCHS, Options, write_images  # next to this file, which runs as a script
from torch import Tensor

from learnkit import Callback, Learner

HOOKS = (
    "before_epoch", "before_batch", "after_loss", "after_step", "after_batch", "before_validate",
    "after_validate_batch", "after_epoch", "after_fit",
)  # fmt: skip
WRITING = ("fsync", "replace")  # functions of os


class Kills(Callback):
    """Kills the process with SIGKILL at a given call of a hook, or of a function that writes files."""

    order = 99

    def __init__(self, where: str, call: int) -> None:
        self.where, self.call, self.seen = where, call, 0
        if where in WRITING:
            real = getattr(os, where)
            setattr(os, where, lambda *given: (self.count(), real(*given))[1])

    def count(self) -> None:
        self.seen += 1
        if self.seen == self.call:
            os.kill(os.getpid(), signal.SIGKILL)

    def state_dict(self) -> dict[str, Any]:
        return {}


def _hook(name: str) -> Run[..., None]:
    def hook(self: Kills, state: Any) -> None:
        if self.where == name:
            self.count()

    return hook


for _name in HOOKS:
    setattr(Kills, _name, _hook(_name))


# What must be equal


def digest(values: Any) -> str:
    """A hash of nested tensors and numbers."""
    if isinstance(values, Tensor):
        return hashlib.sha256(values.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(values, dict):
        values = [(str(name), digest(value)) for name, value in values.items()]
    elif isinstance(values, list | tuple):
        values = [digest(value) for value in values]
    return hashlib.sha256(repr(values).encode()).hexdigest()


def outcome(learn: Learner) -> dict[str, Any]:
    assert learn.opt is not None
    found: dict[str, Any] = {
        "weights": digest(dict(learn.model.state_dict())),
        "moments": digest(learn.opt.state_dict()["state"]),
        "history": [[value for name, value in row.items() if name != "time"] for row in learn.recorder.rows],
        "losses": digest([list(learn.recorder.losses), learn.recorder.smooth_losses, learn.recorder.epoch_ends]),
        "rates": digest([list(learn.recorder.lrs), list(learn.recorder.moms)]),
        "learner": [learn.seed, learn.epoch, learn.counter.n_fits],
    }
    if (file := Path("models/history.csv")).exists():
        with file.open(newline="") as text:
            found["csv"] = [line[:-1] for line in csv.reader(text)]
    if (file := Path("models/bestmodel.pth")).exists():
        found["best"] = digest(torch.load(file, weights_only=True))
    return found


# Processes


def start(name: str, folder: Path, options: Options, kill: tuple[str, int] | None, seed: int) -> int:
    """A process that runs one fit from weights drawn with this seed, and writes its outcome."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.chdir(folder)
        with open("log.txt", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        torch.manual_seed(seed)
        learn = CONFIGURATIONS[name]({**options, "kills": [] if kill is None else [Kills(*kill)]})
        Path("outcome.json").write_text(json.dumps(outcome(learn)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def random_kill(random: random.Random, seconds: float) -> tuple[tuple[str, int] | None, float]:
    """A hook or function with the number of its call, or a time."""
    kind = random.random()
    if kind < 0.25:
        return None, random.uniform(0.05, 1.0) * seconds
    if kind < 0.45:
        return (random.choice(WRITING), random.randint(1, 12)), 0.0
    where = random.choice(HOOKS)
    often = where in ("before_batch", "after_loss", "after_step", "after_batch")
    return (where, random.randint(1, 7 * EPOCHS if often else 2)), 0.0


def empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def trial(name: str, root: Path, random: random.Random, max_kills: int) -> dict[str, Any]:
    """One uninterrupted fit, and one that is killed one to `max_kills` times."""
    whole, broken = root / "whole", root / "broken"
    empty(whole)
    empty(broken)
    begin = time.monotonic()
    seed = random.randrange(2**31)
    status = wait(start(name, whole, {}, None, seed))
    assert status == 0, (whole / "log.txt").read_text()
    seconds = time.monotonic() - begin
    every = random.choice([1, 2, 3, 5, "0.02s"])
    options = {"checkpoint_every": every, "resume": "auto"}
    kills = 0
    while True:
        kill, after = random_kill(random, seconds) if kills < max_kills else (None, 0.0)
        # The first process starts with the weights of the uninterrupted fit, the others with any.
        fresh = not list(broken.rglob("last*.ckpt"))
        process = start(name, broken, dict(options), kill, seed if fresh else random.randrange(2**31))
        if after:
            time.sleep(after)
            os.kill(process, signal.SIGKILL)
        status = wait(process)
        if status == 0 and kills:
            break
        if status == 0:  # done before it could be killed: try again
            empty(broken)
            continue
        log = (broken / "log.txt").read_text()
        assert status == -signal.SIGKILL, f"{name}: exit status {status}\n{log}"
        kills += 1
    expected, found = (json.loads((folder / "outcome.json").read_text()) for folder in (whole, broken))
    resumed = (broken / "resumed.txt").read_text().splitlines() if (broken / "resumed.txt").exists() else []
    return {
        "kills": kills,
        "resumed": len(resumed),
        "in an epoch": sum(not line.endswith(" 0") for line in resumed),
        "differing": [key for key in expected if expected[key] != found.get(key)],
        "every": every,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1, help="per configuration")
    parser.add_argument("--kills", type=int, default=2, help="at most, per trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="configurations whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["LEARNKIT_PROGRESS"] = "off"
    for module in ("pandas", "torch._dynamo", "torch.distributions"):
        importlib.import_module(module)  # once, not in every process
    numbers = random.Random(args.seed)
    total, failed = 0, []
    print(f"{'configuration':46} {'trials':>6} {'kills':>6} {'resumed':>8} {'mid-epoch':>10}  identical")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_images(root / "digits")
        for configuration in CONFIGURATIONS:
            if args.only not in configuration:
                continue
            results = [trial(configuration, root, numbers, args.kills) for _ in range(args.trials)]
            kills, resumed, within = (sum(r[key] for r in results) for key in ("kills", "resumed", "in an epoch"))
            differing = [result for result in results if result["differing"]]
            total += kills
            failed += differing
            same = f"{len(results) - len(differing)} of {len(results)}"
            print(f"{configuration:46} {len(results):>6} {kills:>6} {resumed:>8} {within:>10}  {same}", flush=True)
            for result in differing:
                print(f"  differing: {result}")
    print(f"{total} kills")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
