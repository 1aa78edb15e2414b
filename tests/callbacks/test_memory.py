"""Peak memory as columns of the record."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from learnkit import Learner
from learnkit.callbacks import EarlyStopping, Progress
from learnkit.callbacks.memory import PeakMemory, process_peak
from learnkit.device_memory import peak_memory, reset_peak_memory
from tests.doubles import acting, linear_learner


def learner(blobs: tuple[Tensor, ...]) -> Learner:
    return linear_learner(blobs, metrics="accuracy")


def test_the_record_has_a_column_before_time(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    before = process_peak()
    learn.fit(2, callbacks=PeakMemory())
    after = process_peak()
    assert list(learn.history.columns) == ["epoch", "train_loss", "valid_loss", "accuracy", "cpu_peak", "time"]
    first, second = learn.history["cpu_peak"]
    assert before is not None
    assert after is not None
    assert before / 2**20 <= first <= second <= after / 2**20


def test_the_column_is_known_before_the_first_epoch(blobs: tuple[Tensor, ...], capsys: Any) -> None:
    names: list[str] = []

    watch = acting(before_fit=lambda state: names.extend(state.record_names), order=99)
    learner(blobs).fit(1, callbacks=[PeakMemory(), EarlyStopping("cpu_peak", mode="min"), Progress("plain"), watch])
    assert names == ["train_loss", "valid_loss", "accuracy", "cpu_peak"]
    assert "cpu_peak" in capsys.readouterr().out


def test_a_fit_without_it_has_no_such_column(blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs)
    learn.fit(1, callbacks=PeakMemory())
    learn.fit(1)
    assert "cpu_peak" not in learn.recorder.rows[1]
    assert math.isnan(learn.history["cpu_peak"].iloc[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_that_of_the_process() -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = process_peak()
    assert peak is not None
    assert peak > 0.9 * int(status["VmHWM"].split()[0]) * 1024  # measured at slightly different times


def test_the_column_is_missing_if_the_system_does_not_report_it(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert process_peak() is None
    learn = learner(blobs)
    learn.fit(1, callbacks=PeakMemory())
    assert "cpu_peak" not in learn.history


def test_the_cpu_does_not_track_tensors() -> None:
    reset_peak_memory(torch.device("cpu"))
    assert peak_memory(torch.device("cpu")) is None


def test_the_peak_of_an_accelerator_is_that_of_the_epoch(
    blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter([9.0, 3.0, 5.0])  # asked for in before_fit, and after each epoch
    resets: list[torch.device] = []
    monkeypatch.setattr("learnkit.callbacks.memory.peak_memory", lambda device: int(next(peaks) * 2**20))
    monkeypatch.setattr("learnkit.callbacks.memory.reset_peak_memory", resets.append)
    learn = learner(blobs)
    learn.fit(2, callbacks=PeakMemory())
    assert learn.history["gpu_peak"].tolist() == [3.0, 5.0]
    assert len(resets) == 2


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_a_real_accelerator_tracks_its_peak() -> None:
    device = torch.accelerator.current_accelerator()
    assert device is not None
    reset_peak_memory(device)
    before = peak_memory(device)
    if before is None:
        pytest.skip("this accelerator does not track memory")
    held = torch.zeros(2**20, dtype=torch.uint8, device=device)
    assert peak_memory(device) == before + held.numel()
    del held
    reset_peak_memory(device)
    assert peak_memory(device) == before
