"""Small stand-ins that many tests need: models, learners, callbacks, a pickle that runs code."""

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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


def slow(*values: object) -> Any:
    """For `pytest.mark.parametrize`: a case for `make test-slow` alone, as cheaper ones beside it show the same."""
    return pytest.param(*values, marks=pytest.mark.slow)


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


class Accelerators:
    """Lets torch report several accelerators of a kind, which are not there; what is made on them is on the CPU.

    Attributes:
        current: the index of the current one.
        switches: every index that was made the current one.
        generators: the global generator of each.
        module: the backend's module, such as torch.xpu.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: str, n: int = 2, *, current: int = 0) -> None:
        self.current, self.switches = current, list[int]()
        self.generators = [torch.Generator().manual_seed(100 + i) for i in range(n)]
        self.module = SimpleNamespace(
            default_generators=tuple(self.generators),
            manual_seed=lambda seed: self.generators[self.current].manual_seed(seed),
            get_rng_state=lambda device: self.generators[device.index].get_state(),
            set_rng_state=lambda state, device: self.generators[device.index].set_state(state),
        )
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: n)
        monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: self.current)
        monkeypatch.setattr(torch.accelerator, "set_device_index", self._switch)
        monkeypatch.setattr(torch, "get_device_module", lambda device: self.module)
        for name in ("empty", "ones"):
            monkeypatch.setattr(torch, name, self._on_cpu(getattr(torch, name)))

    def _switch(self, index: int) -> None:
        self.current = index
        self.switches.append(index)

    def _on_cpu(self, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **options: make(*args, **{**options, "device": "cpu"})


class Ops(TorchDispatchMode):
    """Notes what torch computes inside, also on devices that are not there (with torch's FakeTensorMode)."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[str, dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._calls.append((str(func), kwargs or {}))
        return func(*args, **(kwargs or {}))

    def named(self, name: str) -> list[dict[str, Any]]:
        """The keywords of every call of an operation, such as `_local_scalar_dense`, which reads a number."""
        return [kwargs for called, kwargs in self._calls if called.split(".")[1] == name]


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path | str = "ran") -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)
