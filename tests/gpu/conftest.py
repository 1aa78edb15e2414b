"""Fixtures of the tests for a GPU. With GPU_TESTS_DEVICE=cpu they run on the CPU, to find mistakes in the tests."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import DataBunch, ImageDataBunch, Learner
from learnkit.device import resolve_device
from tests.doubles import Blobs
from tests.gpu.networks import OnDevice, small_cnn, small_net


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """Without TensorFloat-32, which rounds to ten bits, and with the same algorithm in every run."""
    libraries: list[Any] = [torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul]
    before = [library.fp32_precision for library in libraries]
    is_deterministic, torch.backends.cudnn.deterministic = torch.backends.cudnn.deterministic, True
    for library in libraries:
        library.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.deterministic = is_deterministic
    for library, precision in zip(libraries, before, strict=True):
        library.fp32_precision = precision


@pytest.fixture
def device() -> torch.device:
    """The GPU, with its index; the CPU in a trial of the tests."""
    return resolve_device(os.environ.get("GPU_TESTS_DEVICE", "cuda"))


@pytest.fixture
def no_waits(device: torch.device) -> Iterator[Callable[[bool], None]]:
    """Called with True: from now on whatever waits for the GPU is an error; with False it is not again."""

    def forbid(on: bool) -> None:
        if device.type == "cuda":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it does not find everything
                torch.cuda.set_sync_debug_mode("error" if on else "default")

    yield forbid
    forbid(False)


@pytest.fixture
def tensors(blobs: Blobs) -> OnDevice:
    """Makes a learner on the blobs, 4 batches per epoch: `tensors(device, model=, **options of Learner)`."""

    def make(where: torch.device | str, model: nn.Module | None = None, **options: Any) -> Learner:
        dls = DataBunch.from_tensors(*blobs, bs=16, device=where)
        return Learner(dls, small_net() if model is None else model, **{"seed": 0, "metrics": "accuracy", **options})

    return make


@pytest.fixture
def images(class_folder: Path) -> OnDevice:
    """Makes a learner on 24 + 12 images of three colors, 4 batches per epoch: `images(device, augment=, cache=)`."""

    def make(where: torch.device | str, *, callbacks: Any = (), **options: Any) -> Learner:
        dls = ImageDataBunch.from_folder(class_folder, **{"size": 16, "bs": 6, "device": where, **options})
        return Learner(dls, small_cnn(), metrics="accuracy", seed=0, callbacks=callbacks)

    return make
