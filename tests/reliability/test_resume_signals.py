"""Signals: on SIGTERM or Ctrl-C a fit finishes its step and leaves a checkpoint to resume from."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import active_children, current_process
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from learnkit import Callback, DataBunch, Learner

Make = Callable[..., Learner]
Network = Callable[..., nn.Module]
ActAt = Callable[..., Callback]
CrashAt = Callable[..., Callback]
CheckpointFolder = Callable[..., Path]
Everything = Callable[[Learner], list[Any]]


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("place", [(6, "after_batch"), (1, "before_validate")])
def test_sigterm_writes_a_checkpoint_and_exits_with_143(
    place: tuple[int, str], make: Make, crash_at: CrashAt, act_at: ActAt, everything: Everything
) -> None:
    number, hook = place
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        make().fit(3, 1e-2, callbacks=act_at(number, send(signal.SIGTERM), hook), checkpoint_every=1000)
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    again = make(init=1)
    again.fit(3, 1e-2, callbacks=crash_at(5), resume="auto")  # batch 5 is done
    assert everything(again) == everything(whole)


def test_a_signal_that_also_ends_the_workers_loses_no_step(
    blobs: Any, tmp_path: Path, crash_at: CrashAt, act_at: ActAt, everything: Everything, network: Network
) -> None:
    def learner(folder: str) -> Learner:
        train, valid = TensorDataset(*blobs[:2]), TensorDataset(*blobs[2:])
        dls = DataBunch.from_datasets(train, valid, bs=16, num_workers=1, classes=["a", "b"], device="cpu")
        torch.manual_seed(0)
        return Learner(dls, network(), seed=0, path=tmp_path / folder)

    def stop_all() -> None:
        for process in (*active_children(), current_process()):
            os.kill(process.pid or 0, signal.SIGTERM)

    whole = learner("whole")
    whole.fit(3, 1e-2)
    with pytest.raises(SystemExit) as left:
        learner("run").fit(3, 1e-2, callbacks=act_at(5, stop_all), checkpoint_every=1000)
    assert left.value.code == 143
    again = learner("run")
    again.fit(3, 1e-2, callbacks=crash_at(5), resume="auto")  # batch 5 is done
    assert everything(again) == everything(whole)


def test_the_exit_status_is_143(tmp_path: Path) -> None:
    script = """
import os, signal, torch
from learnkit import Callback, DataBunch, Learner
class Goes(Callback):
    def after_loss(self, state):
        if state.batch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
x = torch.randn(64, 2)
y = (x.sum(1) > 0).long()
Learner(DataBunch.from_tensors(x, y, x, y, bs=16), torch.nn.Linear(2, 2)).fit(2, callbacks=Goes(), checkpoint_every=50)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert (tmp_path / "models/checkpoints/fit-0/last.ckpt").is_file()


def test_ctrl_c_finishes_the_step_and_writes_a_checkpoint(
    make: Make, act_at: ActAt, checkpoint_folder: CheckpointFolder
) -> None:
    learn = make()
    with pytest.raises(KeyboardInterrupt) as left:
        learn.fit(3, 1e-2, callbacks=act_at(6, send(signal.SIGINT)), checkpoint_every=1000)
    assert "epoch 1, batch 2, after 7 optimizer steps" in left.value.__notes__[0]
    assert len(learn.recorder.losses) == 7
    assert len(learn.history) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (checkpoint_folder(learn) / "last.ckpt").is_file()
    learn.fit(1, 1e-2)
    learn.get_preds()


def test_the_same_learner_resumes_after_an_interruption(make: Make, act_at: ActAt, everything: Everything) -> None:
    whole = make(folder="whole")
    whole.fit(3, 1e-2)
    learn = make()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3, 1e-2, callbacks=act_at(6, send(signal.SIGINT)), checkpoint_every=100)
    learn.fit(3, 1e-2, checkpoint_every=100, resume="auto")
    assert everything(learn) == everything(whole)


def test_ctrl_c_twice_stops_immediately(make: Make) -> None:
    class Twice(Callback):
        def after_loss(self, state: Any) -> None:
            if state.batch == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("the second one was deferred too")

    learn = make()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3, 1e-2, callbacks=Twice(), checkpoint_every=1000)
    assert len(learn.recorder.losses) == 2


def test_without_checkpoints_ctrl_c_is_unchanged(make: Make, act_at: ActAt) -> None:
    handlers: list[Any] = []
    learn = make()
    learn.fit(1, 1e-2, callbacks=act_at(0, lambda: handlers.append(signal.getsignal(signal.SIGINT))))
    assert handlers == [signal.default_int_handler]


def test_a_custom_handler_is_not_changed(make: Make, act_at: ActAt) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        make().fit(1, 1e-2, callbacks=act_at(1, send(signal.SIGTERM)), checkpoint_every=1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_a_fit_in_another_thread_writes_checkpoints_too(make: Make, checkpoint_folder: CheckpointFolder) -> None:
    learn = make()
    thread = threading.Thread(target=lambda: learn.fit(1, 1e-2, checkpoint_every=1))
    thread.start()
    thread.join()
    assert (checkpoint_folder(learn) / "last.ckpt").is_file()
