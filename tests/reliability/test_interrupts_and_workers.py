"""Unwritable paths, Ctrl-C and dead workers, three of the inputs in docs/reliability.md."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, ImageDataBunch, Learner
from learnkit.errors import ImageError
from learnkit.training.state import TrainState

Make = Callable[..., Learner]
Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]
FullDisk = Callable[[int], AbstractContextManager[None]]

# torch reports a dead worker by raising from a signal handler, wherever the main thread happens to be: within a weak
# reference's callback Python can only report that it ignores the error. The loader detects the death independently.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# Unwritable paths, without permission bits, which do not bind root.


def test_unwritable_path_file_in_place_of_the_folder(learner: Make, tmp_path: Path, refused: Refusal) -> None:
    (tmp_path / "models").write_text("mine")
    with refused(OSError, f"{tmp_path}/models/a.pth could not be written", "0 bytes", "bytes are free"):
        learner().save("a")
    assert (tmp_path / "models").read_text() == "mine"


def test_unwritable_path_folder_in_place_of_the_file(learner: Make, tmp_path: Path, refused: Refusal) -> None:
    (tmp_path / "models" / "a.pth").mkdir(parents=True)
    with refused(OSError, f"{tmp_path}/models/a.pth could not be written"):
        learner().save("a")
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["a.pth"]


def test_unwritable_path_read_only_folder(learner: Make, refused: Refusal) -> None:
    learn = learner()
    learn.path = Path("/proc/self/net")  # closed to root too
    with refused(OSError, "/proc/self/net/models/a.pth could not be written"):
        learn.save("a")


def test_unwritable_path_full_disk(learner: Make, refused: Refusal, full_disk: FullDisk) -> None:
    learn = learner(nn.Sequential(nn.Linear(2, 5000), nn.Linear(5000, 2)))
    path = learn.save("a")
    before = path.read_bytes()
    with full_disk(20_000), refused(OSError, f"{path} could not be written", "bytes are free"):
        learn.save("a")
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["a.pth"]
    learn.save("a")


# Ctrl-C, as a real signal.


class Interrupts(Callback):
    """Sends this process one SIGINT in the given hook."""

    in_lr_find = True

    def __init__(self, hook: str, batch: int = 2) -> None:
        self.hook, self.at, self.is_done = hook, batch, False

    def after_batch(self, state: TrainState) -> None:
        self._interrupt("after_batch", state)

    def after_validate_batch(self, state: TrainState) -> None:
        self._interrupt("after_validate_batch", state)

    def after_epoch(self, state: TrainState) -> None:
        self._interrupt("after_epoch", state)

    def _interrupt(self, hook: str, state: TrainState) -> None:
        if hook == self.hook and not self.is_done and state.batch >= self.at:
            self.is_done = True
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("hook", ["after_batch", "after_validate_batch", "after_epoch"])
def test_ctrl_c_in_a_fit(hook: str, learner: Make) -> None:
    learn = learner()
    learn.fit(1)
    with pytest.raises(KeyboardInterrupt) as caught:
        learn.fit(2, callbacks=Interrupts(hook))
    kept = [note for note in caught.value.__notes__ if "interrupted" in note]
    assert kept
    assert "weights, optimizer and history" in kept[0]
    assert all(bool(tensor.isfinite().all()) for tensor in learn.model.state_dict().values())
    learn.fit(1)
    assert learn.history["epoch"].is_unique
    assert len(learn.get_preds()[0]) == 36


def test_ctrl_c_in_lr_find_has_no_side_effects(learner: Make) -> None:
    learn = learner()
    learn.fit(1)
    model, optimizer, random = weights(learn.model), learn.opt, torch.get_rng_state()
    learn.add_cb(Interrupts("after_batch", 5))
    with pytest.raises(KeyboardInterrupt):
        learn.lr_find()
    assert equal(model, weights(learn.model))
    assert learn.opt is optimizer
    assert torch.equal(random, torch.get_rng_state())
    learn.fit(1)
    assert len(learn.history) == 2


def test_ctrl_c_in_a_prediction_preserves_the_mode(learner: Make) -> None:
    class Model(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if x.device.type != "meta" and not self.training:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x)

    learn = learner(Model(2, 2))
    learn.model.train()
    with pytest.raises(KeyboardInterrupt):
        learn.get_preds()
    assert learn.model.training


class Sleepy(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Forty items, one of which acts on the process that reads it."""

    def __init__(self, do: Callable[[], object] | None = None) -> None:
        self.do = do

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        if i == 17 and self.do is not None and torch.utils.data.get_worker_info() is not None:
            self.do()
        return torch.zeros(2), i % 2


def with_workers(do: Callable[[], object] | None = None) -> Learner:
    dls = DataBunch.from_datasets(Sleepy(do), Sleepy(), bs=4, num_workers=2, classes=["a", "b"])
    return Learner(dls, nn.Linear(2, 2))


TERMINAL = """
import os, signal, sys
import torch
from torch import nn
from learnkit import Callback, DataBunch, Learner

class Interrupts(Callback):
    def after_batch(self, state):
        if state.batch == 3:
            os.killpg(0, signal.SIGINT)  # as a terminal does: the workers get it too

data = torch.utils.data.TensorDataset(torch.zeros(400, 2), torch.arange(400) % 2)
learn = Learner(DataBunch.from_datasets(data, data, bs=4, num_workers=2, classes=["a", "b"]), nn.Linear(2, 2))
try:
    learn.fit(1, callbacks=Interrupts())
except KeyboardInterrupt:
    print("stopped")
learn.fit(1)
print(len(learn.history), "rows")
"""


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_the_workers_and_the_next_fit_starts_new_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert done.stdout.split("\n")[:2] == ["stopped", "1 rows"], done.stderr


# Workers.


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)


def fail() -> None:
    raise KeyError("item 17")


def children() -> set[int | None]:
    return {child.pid for child in multiprocessing.active_children()}


@pytest.mark.parametrize(("do", "parts"), [(kill, "died by signal 9 (SIGKILL)"), (leave, "ended with exit code 3")])
def test_dead_worker(do: Callable[[], None], parts: str, refused: Refusal) -> None:
    before, start = children(), time.monotonic()
    learn = with_workers(do)
    with refused(RuntimeError, "worker ", "(pid ", parts, "num_workers") as caught:
        learn.fit(1)
    assert type(caught.value).__name__ == "WorkerError"
    assert time.monotonic() - start < 10
    assert children() <= before  # no orphan


def test_dead_worker_while_the_model_computes(refused: Refusal) -> None:
    class Slow(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if x.device.type != "meta":
                time.sleep(0.1)
            return super().forward(x)

    learn = with_workers(kill)
    learn.model = Slow(2, 2)
    with refused(RuntimeError, "died by signal 9"):
        learn.split([learn.model]).fit(1)


def test_dead_worker_is_not_confused_with_one_that_raises() -> None:
    before = children()
    learn = with_workers(fail)
    with pytest.raises(KeyError, match="item 17"):
        learn.fit(1)
    assert children() <= before


def test_not_an_image_is_reported_by_workers_as_without_them(tree: Tree, refused: Refusal) -> None:
    root = tree()
    file = root / "train" / "bee" / "1.png"
    file.write_bytes(file.read_bytes()[:60])
    messages = []
    for workers in (0, 2):
        dls = ImageDataBunch.from_folder(root, size=16, bs=2, augment=False, num_workers=workers)
        with refused(OSError, str(file), "class bee, row 4") as caught:
            list(dls.fix_dl)
        assert type(caught.value) is ImageError
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "Traceback" not in messages[1]


def test_dead_worker_then_another_fit() -> None:
    learn = with_workers(kill)
    with pytest.raises(RuntimeError, match="worker"):
        learn.fit(1)
    learn.dls.train_dl.dataset.do = None
    learn.fit(1)
    assert len(learn.history) == 1
