"""Unusual surroundings: file names, homes, clocks, nested and concurrent uses."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import Callback, DataBunch, ImageDataBunch, Learner, cnn_learner, verify_images
from learnkit.callbacks import CSVLogger, Progress, SaveModel
from learnkit.errors import DownloadError
from learnkit.training.state import TrainState
from tests.doubles import acting

Make = Callable[..., Learner]
Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]
SMALL: dict[str, Any] = {"size": 16, "bs": 2, "augment": False}


def test_a_nested_fit_completes_and_both_are_recorded(learner: Make) -> None:
    def nest(state: TrainState) -> None:
        if state.epoch == 0:
            learn.fit(1)

    learn, steps = learner(), []
    learn.fit(2, callbacks=acting(after_epoch=nest, after_step=lambda state: steps.append(state.step)))
    assert steps == list(range(1, 19))  # those of the outer fit: two epochs of 9 batches
    assert len(learn.recorder.losses) == 27
    assert len(learn.history) == 3
    assert learn.history["epoch"].is_unique
    assert learn.epoch == 3
    learn.fit(1)
    assert len(learn.history) == 4


def test_predicting_within_a_fit_does_not_change_it(learner: Make) -> None:
    class Predicts(Callback):
        def after_batch(self, state: TrainState) -> None:
            learn.get_preds()
            learn.validate()
            assert state.model.training

    learn, alone = learner(nn.Sequential(nn.Linear(2, 2), nn.Dropout())), learner()
    alone.model.load_state_dict({name[2:]: tensor for name, tensor in learn.model.state_dict().items()})
    learn.fit(1, callbacks=Predicts())
    alone = learner(nn.Sequential(alone.model, nn.Dropout()))
    alone.fit(1)
    assert all(map(torch.equal, learn.model.state_dict().values(), alone.model.state_dict().values()))


def test_two_fits_in_two_threads_do_not_interfere() -> None:
    x, y = torch.randn(32, 2), torch.arange(32) % 2
    learners = [Learner(DataBunch.from_tensors(x, y, x, y, bs=8), nn.Linear(2, 2), seed=0) for _ in range(2)]
    threads = [threading.Thread(target=learn.fit, args=(3,)) for learn in learners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [len(learn.history) for learn in learners] == [3, 3]


def test_freezing_before_and_after_fits(learner: Make, refused: Refusal) -> None:
    learn = learner()
    learn.unfreeze()
    with refused(ValueError, "1 layer group", "nothing would be left to train"):
        learn.freeze()
    with refused(ValueError, "layer group"):
        learn.freeze_to(5)
    learn.fit(1)
    learn.unfreeze()
    learn.fit(1)
    assert len(learn.history) == 2


def test_two_learners_can_share_a_bunch(numbers: DataBunch, tmp_path: Path) -> None:
    def train(learn: Learner, epochs: int) -> None:
        for _ in range(epochs):
            learn.fit(1)

    def make() -> Learner:
        torch.manual_seed(0)
        return Learner(numbers, nn.Linear(2, 2), path=tmp_path, seed=1)

    alone = make()
    train(alone, 2)
    first, second = make(), make()
    for _ in range(2):  # in turn, over the same loaders
        train(first, 1)
        train(second, 1)
    for learn in (first, second):
        assert all(map(torch.equal, alone.model.state_dict().values(), learn.model.state_dict().values()))


HOME = """
import sys
import torch
from torch import nn
from learnkit import DataBunch, Learner
x, y = torch.zeros(8, 2), torch.arange(8) % 2
learn = Learner(DataBunch.from_tensors(x, y, x, y, bs=4), nn.Linear(2, 2), metrics="accuracy")
learn.fit_one_cycle(2)
learn.lr_find(num_it=5)
print(len(learn.history))
"""


@pytest.mark.slow
def test_an_unwritable_home(tmp_path: Path) -> None:
    wrong = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TORCH_HOME", "MPLCONFIGDIR"), "/dev/null")
    done = subprocess.run(
        [sys.executable, "-c", HOME], env={**os.environ, **wrong}, cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2\n")


@pytest.mark.parametrize("cache", ["/dev/null", "/proc/self/nowhere"])
def test_pretrained_weights_without_network_or_cache(cache: str, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", cache)
    monkeypatch.setattr("socket.socket.connect", unreachable)
    dls = ImageDataBunch.from_folder(tree(), **{**SMALL, "size": 64})
    with pytest.raises(DownloadError) as caught:
        cnn_learner(dls, "resnet18")
    assert "pretrained=False" in str(caught.value) or "weights=" in str(caught.value)


def unreachable(*args: Any) -> None:
    raise OSError("Network is unreachable")


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"caf\xe9", b"x" * 251, "中文".encode(), b"a b", b"-rf", b"$(ls)", b"%s{0}"]
)
def test_file_names_of_arbitrary_bytes(name: bytes, tree: Tree, flat: Callable[..., nn.Module]) -> None:
    root = tree()
    for split in ("train", "valid"):
        folder = os.fsencode(root / split / "ant")
        os.rename(os.path.join(folder, b"0.png"), os.path.join(folder, name + b".png"))
        os.rename(folder, os.path.join(os.path.dirname(folder), name))
    dls = ImageDataBunch.from_folder(root, **SMALL)
    learn = Learner(dls, flat(dls))
    learn.fit(1)
    assert len(learn.get_preds()[0]) == 6
    assert os.fsdecode(name) in dls.classes
    files = dls.samples["input"].tolist()
    assert sum(os.fsencode(file).endswith(name + b".png") for file in files) == 2
    assert learn.predict(files[0])[0] in dls.classes
    assert len(verify_images(root, min_side=1)) == 0
    str(dls.summary())
    again = ImageDataBunch.from_lists(root, files, ["a", "b"] * 6, valid_pct=0.5, **SMALL)
    assert len(again.samples) == 12


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_images_of_one_pixel(size: tuple[int, int], tree: Tree, flat: Callable[..., nn.Module]) -> None:
    root = tree(size=size)
    for resize in ("crop", "squish", "pad"):
        dls = ImageDataBunch.from_folder(root, **{**SMALL, "augment": True, "resize": resize})
        learn = Learner(dls, flat(dls))
        learn.fit(1)
        assert learn.get_preds()[0].isfinite().all()
    found = verify_images(root)
    assert set(found["problem"]) <= {"tiny", "extreme aspect", "duplicate", "conflict", "leak"}
    assert (found["problem"] == "tiny").sum() == 12


def test_symlink_loops(tree: Tree) -> None:
    root = tree()
    (root / "train" / "ant" / "up").symlink_to(root / "train")
    (root / "train" / "ant" / "self").symlink_to(root / "train" / "ant" / "self")
    (root / "valid" / "bee" / "root").symlink_to("/proc/self/cwd")
    (root / "train" / "bee" / "gone.png").symlink_to("nowhere.png")
    (root / "train" / "bee" / "gone.png").unlink()
    (root / "valid" / "bee" / "root").unlink()
    start = time.monotonic()
    assert len(ImageDataBunch.from_folder(root, **SMALL).samples) == 12
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("display", ["plain", "bar", "off"])
def test_a_clock_that_jumps(display: Any, learner: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]

    def jump() -> float:
        now[0] = -now[0] * 1.5 if abs(now[0]) < 1e15 else 1e9
        return now[0]

    monkeypatch.setattr(time, "time", jump)  # the wall clock jumps at every reading
    learn = learner()
    learn.fit(3, callbacks=[Progress(display), CSVLogger(), SaveModel()])
    assert (learn.history["time"] >= 0).all()
    assert (learn.history["time"] < 60).all()


class Changed(torch.utils.data.Dataset[Any]):
    """Items changed by a function that only this process knows."""

    def __init__(self) -> None:
        self.change = lambda x: x + 1

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        return self.change(torch.zeros(2)), i % 2


def test_unpicklable_data_is_refused_immediately(monkeypatch: pytest.MonkeyPatch, refused: Refusal) -> None:
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "spawn")
    with refused(ValueError, "num_workers=1: the data cannot be sent to a process", "lambda", "num_workers=0"):
        DataBunch.from_datasets(Changed(), Changed(), bs=4, num_workers=1, classes=["a", "b"])
    DataBunch.from_datasets(Changed(), Changed(), bs=4, classes=["a", "b"])


@pytest.mark.parametrize("item", [None, 3, "nothing.png", b"", b"none", object(), torch.zeros(7), []])
def test_items_that_cannot_be_predicted(item: Any, tree: Tree, flat: Callable[..., nn.Module]) -> None:
    dls = ImageDataBunch.from_folder(tree(), **SMALL)
    learn = Learner(dls, flat(dls))
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        learn.predict(item)
    assert type(caught.value).__module__ == "learnkit.errors"


def test_an_image_may_change_its_size(tree: Tree, flat: Callable[..., nn.Module]) -> None:
    root = tree()
    dls = ImageDataBunch.from_folder(root, **SMALL)
    Image.new("L", (3, 900)).save(root / "train" / "bee" / "2.png")
    learn = Learner(dls, flat(dls))
    learn.fit(1)
    assert len(learn.history) == 1
