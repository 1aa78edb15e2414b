"""Fixtures of the reliability tests: small image trees, fast learners, interrupted fits, expected errors."""

import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import Callback, DataBunch, ImageDataBunch, Learner
from learnkit.errors import LearnkitError

Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]
FullDisk = Callable[[int], AbstractContextManager[None]]
Network = Callable[..., nn.Module]


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "off")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make a tree {train,valid}/CLASS/0.png… of noise: its root."""

    def make(
        classes: Sequence[str] = ("ant", "bee"), n: int = 3, name: str = "images", size: tuple[int, int] = (16, 16)
    ) -> Path:
        numbers = np.random.default_rng(0)
        root = tmp_path / name
        for split in ("train", "valid"):
            for label in classes:
                (root / split / label).mkdir(parents=True)
                for i in range(n):
                    pixels = numbers.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / split / label / f"{i}.png")
        return root

    return make


@pytest.fixture
def refused() -> Refusal:
    """Expect a LearnkitError that is also this built-in error; its one-line message contains all of these parts."""

    @contextmanager
    def expect(builtin: type[BaseException], *parts: str) -> Iterator[Any]:
        with pytest.raises(LearnkitError) as caught:
            yield caught
        assert isinstance(caught.value, builtin)
        for part in parts:
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)

    return expect


@pytest.fixture
def full_disk() -> FullDisk:
    """Inside the block no file can grow beyond this many bytes, as on a full disk.

    The limit is the whole process's, so it must not outlast the block: pytest writes a line after each test, and its
    own output may be a long file.
    """

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)

    return limit


@pytest.fixture
def numbers() -> DataBunch:
    """36 items of two features and two classes, in batches of 4."""
    x = torch.randn(36, 2, generator=torch.Generator().manual_seed(0))
    y = torch.arange(36) % 2
    return DataBunch.from_tensors(x, y, x, y, bs=4)


@pytest.fixture
def learner(numbers: DataBunch, tmp_path: Path) -> Callable[..., Learner]:
    """Create a learner on these numbers; keywords are passed on."""

    def make(model: nn.Module | None = None, **options: Any) -> Learner:
        return Learner(options.pop("dls", numbers), model or nn.Linear(2, 2), path=tmp_path, seed=0, **options)

    return make


@pytest.fixture
def flat() -> Callable[[ImageDataBunch], nn.Module]:
    """The smallest model for an image bunch."""

    def make(dls: ImageDataBunch) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(dls.input_shape)), dls.c))

    return make


@pytest.fixture
def network() -> Network:
    """Create a model for the blobs that draws random numbers in training."""

    def make(width: int = 8, dropout: float = 0.3) -> nn.Module:
        return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 2))

    return make


@pytest.fixture
def make(blobs: Any, network: Network, tmp_path: Path) -> Callable[..., Learner]:
    """A learner with 4 batches per epoch; its weights depend on `init` alone."""

    def made(
        *,
        folder: str = "run",
        init: int = 0,
        bs: int = 16,
        n: int = 64,
        width: int = 8,
        dropout: float = 0.3,
        **options: Any,
    ) -> Learner:
        torch.manual_seed(init)
        x_train, y_train, x_valid, y_valid = blobs
        dls = DataBunch.from_tensors(x_train[:n], y_train[:n], x_valid, y_valid, bs=bs, device="cpu")
        options = {"seed": 0, "metrics": "accuracy", **options}
        return Learner(dls, options.pop("model", None) or network(width, dropout), path=tmp_path / folder, **options)

    return made


class At(Callback):
    """Acts once: after a batch of the fit (4 per epoch), or at another hook of an epoch."""

    order = 99

    def __init__(self, number: int, act: Callable[[], object], hook: str = "after_batch") -> None:
        self.number, self.act, self.hook = number, act, hook

    def after_batch(self, state: Any) -> None:
        self._reached("after_batch", 4 * state.epoch + state.batch)

    def before_validate(self, state: Any) -> None:
        self._reached("before_validate", state.epoch)

    def after_epoch(self, state: Any) -> None:
        self._reached("after_epoch", state.epoch)

    def _reached(self, hook: str, number: int) -> None:
        if (hook, number) == (self.hook, self.number):
            self.act()


def crash() -> None:
    raise ZeroDivisionError


@pytest.fixture
def act_at() -> Callable[..., Callback]:
    """Create a callback that acts at a batch of a fit, or at another hook of an epoch."""
    return At


@pytest.fixture
def crash_at() -> Callable[..., Callback]:
    """Create a callback that ends a fit with a ZeroDivisionError, like `act_at`."""
    return lambda number, hook="after_batch": At(number, crash, hook)


@pytest.fixture
def broken() -> Callable[..., Learner]:
    """Fit a learner for 3 epochs that fail at a batch; returns the learner."""

    def fit(learn: Learner, at: int, **options: Any) -> Learner:
        with pytest.raises(ZeroDivisionError):
            learn.fit(3, 1e-2, callbacks=At(at, crash), **{"checkpoint_every": 3, **options})
        return learn

    return fit


@pytest.fixture
def checkpoint_folder() -> Callable[..., Path]:
    """The checkpoint folder of a learner's fit."""
    return lambda learn, fit=0: learn.path / "models" / "checkpoints" / f"fit-{fit}"


@pytest.fixture
def everything() -> Callable[[Learner], list[Any]]:
    """Everything in which two equal fits agree: weights, optimizer, history, and the learner's counters."""

    def listed(learn: Learner) -> list[Any]:
        assert learn.opt is not None
        of_optimizer = [list(state.values()) for state in learn.opt.state_dict()["state"].values()]
        rows = [{name: value for name, value in row.items() if name != "time"} for row in learn.recorder.rows]
        recorder = learn.recorder.losses, learn.recorder.smooth_losses, learn.recorder.lrs, learn.recorder.moms
        tensors = [*learn.model.state_dict().values(), *(part for state in of_optimizer for part in state)]
        return [
            [t.tolist() for t in tensors],
            rows,
            recorder,
            learn.recorder.epoch_ends,
            learn.epoch,
            learn.counter.n_fits,
        ]

    return listed
