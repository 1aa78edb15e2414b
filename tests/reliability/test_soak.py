"""Hundreds of fits in one process: memory, open files, threads and processes do not grow."""

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from learnkit import Callback, DataBunch, ImageDataBunch, Learner
from learnkit.callbacks import CSVLogger, EarlyStopping, GradientAccumulation, OneCycle, SaveModel
from learnkit.training.state import TrainState

Tree = Callable[..., Path]
MEGABYTE = 1 << 20


class Use(NamedTuple):
    """The resources of a process."""

    memory: int  # resident bytes
    files: int
    threads: int
    children: int
    tensors: int


def use() -> Use:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Use(
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(os.listdir("/proc/self/fd")),
        max(threading.active_count(), len(os.listdir("/proc/self/task"))),
        len(multiprocessing.active_children()),
        sum(type(thing) in (torch.Tensor, nn.Parameter) for thing in gc.get_objects()),
    )


def check_flat(work: Callable[[int], object], warm_up: int, times: int, megabytes: float = 4) -> None:
    """Repeat some work after a warm-up that fills caches, and check that nothing is left over."""
    for i in range(warm_up):
        work(i)
    before = use()
    for i in range(times):
        work(warm_up + i)
    after = use()
    assert after.files <= before.files
    assert after.threads <= before.threads
    assert after.children <= before.children
    assert after.tensors <= before.tensors + 20  # the last learner may still be alive
    assert after.memory - before.memory < megabytes * MEGABYTE, f"{(after.memory - before.memory) / MEGABYTE:.1f} MB"


class Fails(Callback):
    def after_batch(self, state: TrainState) -> None:
        raise RuntimeError("mine")


def data(n: int = 8) -> DataBunch:
    x, y = torch.zeros(n, 200), torch.arange(n) % 2
    return DataBunch.from_tensors(x, y, x, y, bs=4)


@pytest.mark.slow
def test_one_learner_and_many_fits(tmp_path: Path) -> None:
    learn = Learner(data(), nn.Linear(200, 2), metrics="accuracy", path=tmp_path, seed=0)

    def work(i: int) -> None:
        learn.fit(1, callbacks=[OneCycle(), EarlyStopping(), SaveModel(), CSVLogger()][: i % 5])
        if i % 5 == 0:
            with suppress(RuntimeError):
                learn.fit(1, callbacks=Fails())
            learn.recorder.rows.clear()
        if i % 10 == 0:
            learn.lr_find(num_it=4)
        learn.get_preds()
        learn.predict(torch.zeros(200))

    check_flat(work, 25, 100)


@pytest.mark.slow
def test_many_learners(tmp_path: Path) -> None:
    def work(i: int) -> None:
        model = nn.Sequential(nn.Linear(200, 500), nn.ReLU(), nn.Linear(500, 2))  # 0.4 MB of weights, 0.8 of AdamW
        learn = Learner(data(), model, metrics="accuracy", path=tmp_path, callbacks=GradientAccumulation(8))
        learn.fit(1, callbacks=SaveModel())
        learn.lr_find(num_it=3)
        learn.load(learn.save("a"))
        learn.validate()
        if i % 3 == 0:
            with suppress(RuntimeError):
                learn.fit(1, callbacks=Fails())

    check_flat(work, 10, 30, megabytes=8)


@pytest.mark.slow
def test_many_image_bunches(tree: Tree, flat: Callable[..., nn.Module]) -> None:
    root = tree()

    def work(i: int) -> None:
        dls = ImageDataBunch.from_folder(root, size=16, bs=2, cache="memory" if i % 2 else "disk" if i % 3 else None)
        learn = Learner(dls, flat(dls))
        learn.fit(1)
        learn.interpret().confusion_matrix()

    check_flat(work, 6, 18)


@pytest.mark.slow
def test_three_hundred_fits(tmp_path: Path) -> None:
    def work(i: int) -> None:
        model = nn.Sequential(nn.Linear(200, 500), nn.BatchNorm1d(500), nn.Linear(500, 2))
        Learner(data(32), model, metrics="accuracy", path=tmp_path).fit_one_cycle(
            3, callbacks=[SaveModel(), CSVLogger()]
        )

    check_flat(work, 50, 300, megabytes=8)


class Items(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> Any:
        return torch.zeros(200), i % 2


@pytest.mark.slow
def test_twenty_bunches_with_workers() -> None:
    def work(i: int) -> None:
        dls = DataBunch.from_datasets(Items(), Items(), bs=4, num_workers=2, classes=["a", "b"])
        learn = Learner(dls, nn.Linear(200, 2))
        learn.fit(1)
        if i % 4 == 0:
            with suppress(RuntimeError):
                learn.fit(1, callbacks=Fails())
        learn.get_preds()

    check_flat(work, 3, 20, megabytes=8)
    until = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.1)
    assert multiprocessing.active_children() == []
