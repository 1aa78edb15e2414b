"""Processes that read data: their errors arrive complete, and a dead one is named."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from learnkit import ImageDataBunch
from learnkit.data.loading.loaders import DatasetLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.loading.torch_internals import workers_of
from learnkit.data.loading.workers import worker_error
from learnkit.errors import DataError, ImageError, LearnkitError, UsageError, WorkerError

CPU = torch.device("cpu")


class Failing(Dataset[Any]):
    """Six items; the fourth raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 3:
            raise self.error
        return torch.tensor(index), index


def failing_loader(error: Exception, workers: int) -> DatasetLoader:
    return DatasetLoader(Failing(error), BatchOrder(6, 2, shuffle=False), CPU, workers)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", [DataError, UsageError, ImageError])
def test_an_error_of_learnkit_keeps_its_type_and_its_parts(kind: type[LearnkitError], workers: int) -> None:
    loader = failing_loader(kind("item 3", got="a\nb", expected="one line", fix="Join them."), workers)
    with pytest.raises(kind) as caught:
        list(loader)
    error = caught.value
    assert type(error) is kind
    assert (error.what, error.got, error.expected, error.fix) == ("item 3", "a\nb", "one line", "Join them.")
    assert str(error) == r"item 3: got 'a\nb', expected one line. Join them."
    assert not list(workers_of(loader._loader))  # ended; the next iteration starts new ones


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_custom_dataset_keeps_its_type(workers: int) -> None:
    with pytest.raises(KeyError, match="item 3"):
        list(failing_loader(KeyError("item 3"), workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_says_what_to_do(class_folder: Path, workers: int) -> None:
    file = class_folder / "train" / "green" / "3.png"
    file.write_bytes(b"")
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=8, num_workers=workers)
    with pytest.raises(ImageError) as caught:
        list(dls.fix_dl)
    assert str(file) in caught.value.what
    assert "verify_images" in caught.value.fix
    assert "Traceback" not in str(caught.value)


class Dying(Dataset[Any]):
    """Six items; reading the fourth ends the process, once the file is there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index == 3 and self.file.exists():
            os._exit(1)
        return index


def test_a_worker_that_died_is_reported_and_the_next_epoch_starts_new_ones(tmp_path: Path) -> None:
    loader = DatasetLoader(Dying(tmp_path / "die"), BatchOrder(6, 2, shuffle=False), CPU, 1)
    (tmp_path / "die").touch()
    with pytest.raises(WorkerError) as caught:
        list(loader)
    assert "worker 0 (pid " in caught.value.what
    assert "ended with exit code 1" in caught.value.what
    assert "num_workers=0" in caught.value.fix
    assert caught.value.__cause__ is not None
    assert not list(workers_of(loader._loader))
    (tmp_path / "die").unlink()
    assert torch.cat([x for (x,) in loader]).tolist() == list(range(6))


@pytest.mark.parametrize("error", [KeyError("x"), DataError("x"), RuntimeError("x"), OSError("x")])
def test_where_no_worker_died_there_is_no_worker_error(error: Exception) -> None:
    assert worker_error(error, failing_loader(error, 0), [1, 2]) is None


class Handlers(Dataset[Any]):
    """Whether the process that reads ignores Ctrl-C, and the end of its terminal."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        ignored = [signal.getsignal(number) == signal.SIG_IGN for number in (signal.SIGINT, signal.SIGHUP)]
        return torch.tensor(ignored), index


def test_what_a_terminal_sends_to_all_processes_is_left_to_the_main_one() -> None:
    ((ignored, _),) = DatasetLoader(Handlers(), BatchOrder(1, 1, shuffle=False), CPU, 1)
    assert ignored.tolist() == [[True, True]]
