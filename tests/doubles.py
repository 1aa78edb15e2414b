"""Small stand-ins that many tests need: models, learners, callbacks, a pickle that runs code."""

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, Learner, LearnkitError, TrainState
from learnkit.errors import UsageError

Blobs = tuple[Tensor, ...]  # the fixture of this name


def linear_learner(blobs: Blobs, model: nn.Module | None = None, *, bs: int = 16, **options: Any) -> Learner:
    """A learner on the blobs, 4 batches per epoch; its model is one linear layer, always with the same weights."""
    if model is None:
        torch.manual_seed(0)
        model = nn.Linear(2, 2)
    return Learner(DataBunch.from_tensors(*blobs, bs=bs), model, **{"seed": 0, **options})


def noisy_net(width: int = 16, dropout: float = 0.5) -> nn.Sequential:
    """A classifier of the blobs with what makes training stateful and random: batch norm and dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 2)
    )


class AddsNoise(nn.Module):
    """Returns different outputs at every call: inputs plus uniform noise of torch's global generator."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def acting(*, order: int = 50, label: str = "Acting", **hooks: Callable[[TrainState], object]) -> Callback:
    """A callback that calls these functions at its hooks: `acting(after_step=lambda state: steps.append(state.step))`.

    Args:
        order: when it runs within a hook; 99 for after all others.
        label: the name of its class, so that a fit may have two.
        **hooks: hook name to function of the state.
    """

    def method(act: Callable[[TrainState], object]) -> Callable[[Callback, TrainState], None]:
        def hook(self: Callback, state: TrainState) -> None:
            act(state)

        return hook

    return type(label, (Callback,), {"order": order, **{name: method(act) for name, act in hooks.items()}})()


def raising(error: BaseException, *, epoch: int = 0, batch: int = 0) -> Callable[[TrainState], None]:
    """For a hook of `acting`: raises the error in this batch of this epoch."""

    def act(state: TrainState) -> None:
        if (state.epoch, state.batch) == (epoch, batch):
            raise error

    return act


@contextmanager
def refused(what: str, kind: type[LearnkitError] = UsageError, **parts: object) -> Iterator[None]:
    """The code inside raises this error about this argument; `parts` are the error's got, expected or fix."""
    with pytest.raises(kind) as caught:
        yield
    assert {"what": caught.value.what, **{name: getattr(caught.value, name) for name in parts}} == {
        "what": what,
        **parts,
    }


@contextmanager
def serving(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server runs in a thread, and is asked without a proxy."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def script_module(path: Path) -> ModuleType:
    """A script outside the package, run as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path | str = "ran") -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)
